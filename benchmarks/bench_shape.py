"""What capture and steering cost on a model's shape, and how costs grow.

python benchmarks/bench_shape.py cost   --shape llama-8b
python benchmarks/bench_shape.py curves

``cost`` compares capture with the same forward passes without it, and steered generation with Hugging Face's own. The
8B shape runs in bfloat16 on a CUDA device and is left out, with a line that says so, where there is none. ``curves``
repeats capture and steering on more sentences, conditions, heads and width, and gives the slope of log cost against log
size: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion_circuits.activations import capture
from emotion_circuits.activations.pooling import token_batches
from emotion_circuits.heads import Node, ablation_scan, pair_task
from emotion_circuits.model import Add, LanguageModel, Sampling, Site, generate
from emotion_circuits.prompts import Prompt
from shapes import SHAPES, pairs, random_llama, text

LABELS = ("gratitude", "anger", "apology", "neutral")
NEEDED_GIB = 24


def seconds(model: LanguageModel, work: Callable[[], Any]) -> float:
    """Process time on a CPU, wall time up to the last kernel on a GPU."""
    if model.device.type != "cuda":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def medians(model: LanguageModel, arms: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds per arm; the arms take turns, and the first round warms up."""
    seen: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(repeats + 1):
        for name, work in arms.items():
            taken = seconds(model, work)
            if repeat:
                seen[name].append(taken)
    return {name: statistics.median(found) for name, found in seen.items()}


def prompts(count: int, tokens: int) -> list[Prompt]:
    return [
        Prompt(id=str(i), text=text(i, tokens), label=LABELS[i % 4], group=str(i // 4), split="train", language="en", set="bench")
        for i in range(count)
    ]  # fmt: skip


def captured(model: LanguageModel, rows: list[Prompt], batch_tokens: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        capture(model, rows, folder, kinds=("resid_post",), pooling=("last", "mean"), batch_tokens=batch_tokens)
    finally:
        shutil.rmtree(folder)


def edits(model: LanguageModel, conditions: int, rows: int) -> list[Add]:
    """One condition after the other, each on ``rows`` rows of the batch."""
    vector = torch.nn.functional.normalize(
        torch.randn(model.d_model, generator=torch.Generator().manual_seed(0)), dim=0
    )
    return [
        Add(
            site=Site("resid_post", c % model.n_layers), vector=vector, alpha=1.0 + c,
            rows=tuple(range(c * rows, (c + 1) * rows)),
        )
        for c in range(conditions)
    ]  # fmt: skip


def cost(options: argparse.Namespace) -> dict[str, Any]:
    wants_gpu = options.shape == "llama-8b"
    if wants_gpu and not torch.cuda.is_available():
        return {"skipped": f"shape {options.shape} needs a CUDA device with {NEEDED_GIB} GiB; there is none here"}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if wants_gpu and (free := torch.cuda.mem_get_info()[0] / 2**30) < NEEDED_GIB:
        return {"skipped": f"shape {options.shape} needs {NEEDED_GIB} GiB of GPU memory; {free:.0f} GiB are free"}
    model = random_llama(options.shape, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    rows, batch_tokens = prompts(options.rows, options.tokens), 8192 if device == "cuda" else 1024
    ids = model.tokenizer([p.text for p in rows])["input_ids"]
    texts = [p.text for p in rows[: options.written]]
    batch = model.tokenize(texts)
    how = Sampling(max_new_tokens=options.new_tokens, min_new_tokens=options.new_tokens)
    n_conditions = 4

    @torch.inference_mode()
    def plain() -> None:
        for some in token_batches(range(len(ids)), ids, batch_tokens):
            model.hidden(model.collate([ids[i] for i in some], side="right"))

    @torch.inference_mode()
    def hf() -> None:
        model.hf.generate(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=options.new_tokens,
            min_new_tokens=options.new_tokens, do_sample=False, pad_token_id=model.pad_id,
        )  # fmt: skip

    steering = edits(model, n_conditions, len(texts) // n_conditions)
    found = medians(
        model,
        {
            "plain forward": plain,
            "capture": lambda: captured(model, rows, batch_tokens),
            "Hugging Face generate": hf,
            "steered generate": lambda: generate(model, texts, how, interventions=steering),
        },
        options.repeats,
    )
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "dtype": str(model.dtype).removeprefix("torch."),
        "seconds": found,
        "capture / plain": found["capture"] / found["plain forward"],
        "steered / generate": found["steered generate"] / found["Hugging Face generate"],
        "captured tokens per second": sum(map(len, ids)) / found["capture"],
        "written tokens per second": len(texts) * options.new_tokens / found["steered generate"],
        **({"peak_gib": torch.cuda.max_memory_allocated() / 2**30} if device == "cuda" else {}),
    }


def curves(options: argparse.Namespace) -> dict[str, Any]:
    model = random_llama("tiny", hidden_size=256, intermediate_size=680, num_hidden_layers=6)
    how = Sampling(max_new_tokens=options.new_tokens, min_new_tokens=options.new_tokens)
    task = pair_task(model, pairs(8))
    heads = [Node("head", layer, head) for head in range(model.n_heads) for layer in range(model.n_layers)]

    def steered(conditions: int) -> None:
        texts = [text(i, 12) for i in range(4)] * conditions
        generate(model, texts, how, interventions=edits(model, conditions, 4))

    def wide(width: int) -> Callable[[], None]:
        other = random_llama("tiny", hidden_size=width, intermediate_size=width * 5 // 2)
        return lambda: captured(other, prompts(128, 16), 1024)

    works: dict[str, dict[int, Callable[[], Any]]] = {
        "sentences captured": {n: (lambda n=n: captured(model, prompts(n, 16), 1024)) for n in (128, 256, 512, 1024)},
        "conditions written": {n: (lambda n=n: steered(n)) for n in (8, 16, 32, 64)},
        "heads scanned": {n: (lambda n=n: ablation_scan(model, task, heads[:n])) for n in (6, 12, 24)},
        "model width": {n: wide(n) for n in (256, 512, 1024)},
    }
    found: dict[str, Any] = {}
    for name, sizes in works.items():
        taken = medians(model, {str(n): work for n, work in sizes.items()}, options.repeats)
        slope = np.polyfit(np.log([float(n) for n in taken]), np.log(list(taken.values())), 1)[0]
        found[name] = {"seconds": taken, "slope": float(slope)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "curves"))
    parser.add_argument("--shape", choices=tuple(SHAPES), default="tiny")
    parser.add_argument("--rows", type=int, default=128, help="sentences captured")
    parser.add_argument("--tokens", type=int, default=24, help="tokens per sentence")
    parser.add_argument("--written", type=int, default=32, help="rows written at once")
    parser.add_argument("--new-tokens", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    result = cost(options) if options.what == "cost" else curves(options)
    print(json.dumps({"what": options.what, "shape": options.shape, **result}, indent=2))


if __name__ == "__main__":
    main()
