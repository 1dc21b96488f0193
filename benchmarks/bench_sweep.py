"""One sweep, every row with its own steering, written by our own engine and by vLLM; and llama.cpp on the same file.

python benchmarks/bench_sweep.py --vllm …/bin/python --llama-cpp …/bin/python

The same openings, conditions and lengths go through the same :func:`emotion_circuits.steering.sweep`, in turns: by our engine
with the writing dtype chosen for this machine, by it in float32, and by vLLM in that chosen dtype. Tokens per second are by the
clock and need a quiet machine. llama.cpp reads the bundled GGUF file, in whose 4 bits it multiplies, has one control vector for
all rows (it knows no other) and chooses greedily. Peers without an environment are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from bench_steering import some_vectors, the_grid
from emotion_circuits.model import BUNDLED, LanguageModel, Sampling, load_model
from emotion_circuits.model.fetching import fetch
from emotion_circuits.model.vllm import Writer
from emotion_circuits.prompts import load_prompts
from emotion_circuits.steering import sweep


def llama_cpp_seconds(given: argparse.Namespace, model: LanguageModel, texts: list[str]) -> list[float]:
    """By llama.cpp, in its own environment: the same openings and lengths."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {
            "file": str(fetch(BUNDLED[given.model], Path(folder))), "rows": [list(row) for row in model.encode(texts).ids],
            "tokens": given.tokens, "at_once": given.batch_rows, "threads": torch.get_num_threads(), "repeats": given.repeats,
            "control": [[0.01] * model.d_model] * (model.n_layers - 1),
        }  # fmt: skip
        script = Path(__file__).with_name("peer_llama_cpp.py")
        done = subprocess.run(
            [given.llama_cpp, script], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True
        )
    found: list[float] = json.loads(done.stdout)["seconds"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=128, help="texts, each with its own condition and opening")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--temperature", type=float, default=1.0, help="0: greedy")
    parser.add_argument("--batch-rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vllm", help="Python of an environment with vLLM and our plugin")
    parser.add_argument(
        "--llama-cpp", help="Python of an environment with llama-cpp-python; needs a bundled model's file"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    how = Sampling(max_new_tokens=given.tokens, min_new_tokens=given.tokens, temperature=given.temperature)
    models: dict[str, LanguageModel] = {
        "ours": load_model(given.model),
        "ours, float32": load_model(given.model, writing_dtype="float32"),
    }
    v = some_vectors(models["ours"])
    arms = the_grid(models["ours"])[1:17]  # sixteen steered conditions
    prompts = load_prompts("continuations", split="train")[: max(1, given.rows // len(arms))]
    writer = None
    if given.vllm:
        models["vLLM"] = load_model(given.model)
        models["vLLM"].written_by = writer = Writer(given.vllm, rows=given.rows)

    clock: dict[str, list[float]] = {name: [] for name in models}
    try:
        for turn in range(given.repeats + 1):
            for name in sorted(models, reverse=bool(turn % 2)):
                start = time.monotonic()
                with tempfile.TemporaryDirectory() as folder:
                    table = sweep(
                        models[name], prompts, arms, v, folder=Path(folder), sampling=how, batch_rows=given.batch_rows
                    )
                # A text may lose its last tokens, where they are part of a character.
                assert not table["finished"].any()
                if turn:  # the first warms up, and starts the service
                    clock[name].append(time.monotonic() - start)
    finally:
        if writer:
            writer.close()
    if given.llama_cpp:
        clock["llama.cpp"] = llama_cpp_seconds(given, models["ours"], [p.text for p in prompts for _ in arms])
    tokens = len(prompts) * len(arms) * given.tokens
    result = {
        "model": given.model, "texts": len(prompts) * len(arms), "tokens": given.tokens, "temperature": given.temperature,
        "threads": torch.get_num_threads(), "writes": str(models["ours"].writes).removeprefix("torch."),
        "tokens_per_second": {name: tokens / min(times) for name, times in clock.items()},
        "times_ours_on_the_clock": {name: min(times) / min(clock["ours"]) for name, times in clock.items()},
        "seconds": clock,
    }  # fmt: skip
    if given.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['texts']} texts x {given.tokens} tokens, {given.model}, writing in {result['writes']}")
    for name, rate in result["tokens_per_second"].items():  # type: ignore[attr-defined]
        print(f"{name:16} {rate:8.0f} tokens/s")


if __name__ == "__main__":
    main()
