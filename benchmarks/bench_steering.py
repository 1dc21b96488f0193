"""The plan's steering grid in full batches, against one condition at a time.

The same continuations are written three ways in one run, in alternating order:

- ``sweep``: every row of a full batch carries its own condition;
- ``ours, one by one``: our own ``generate``, one condition per call, all prompts in its batch;
- ``hooks around generate``: transformers' own ``generate`` inside a forward hook that adds the vector, one condition
  per call, as steering libraries do.

Prints tokens per second and the ratio of process CPU times, which other work on the machine disturbs less than wall-clock
time; with ``--json`` one object:

    python benchmarks/bench_steering.py [--model smollm2-135m] [--prompts 16] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from emotion_circuits.model import LanguageModel, Sampling, generate, load_model
from emotion_circuits.model.generation import row_seed
from emotion_circuits.prompts import Prompt, load_prompts
from emotion_circuits.steering import Condition, SteeringVectors, grid, interventions_for, random_direction, sweep


def some_vectors(model: LanguageModel) -> SteeringVectors:
    """Unit directions of plausible norms: their values do not matter for the cost."""
    raw = {
        name: torch.stack([random_direction(model.d_model, 100 * k + layer) for layer in range(model.n_layers)])
        for k, name in enumerate(("gratitude", "anger", "apology"))
    }
    return SteeringVectors.from_raw(raw, torch.full((model.n_layers,), 10.0))


def the_grid(model: LanguageModel) -> list[Condition]:
    """The plan's 5 layers × 7 strengths for one emotion (strength 0 is the unsteered arm)."""
    layers = list(dict.fromkeys(round(f * (model.n_layers - 1)) for f in (0.3, 0.4, 0.5, 0.6, 0.7)))
    return grid(["gratitude"], layers, [-2, -1, -0.5, 0.5, 1, 2], when="all")


def ours_one_by_one(
    model: LanguageModel, prompts: Sequence[Prompt], arms: Sequence[Condition], v: SteeringVectors, how: Sampling
) -> int:
    """Tokens written."""
    total = 0
    for arm in arms:
        edits = interventions_for([arm] * len(prompts), v)
        seeds = [row_seed(0, p.id, 0) for p in prompts]
        total += sum(
            len(g.token_ids) for g in generate(model, [p.text for p in prompts], how, interventions=edits, seeds=seeds)
        )
    return total


def hooked_generate(
    model: LanguageModel, prompts: Sequence[Prompt], arms: Sequence[Condition], v: SteeringVectors, how: Sampling
) -> int:
    """Tokens written by transformers' own ``generate`` inside one hook per condition."""
    batch = model.tokenize([p.text for p in prompts], side="left")
    total = 0
    for arm in arms:
        handles = []
        for layer in arm.layers:
            delta = v.direction("gratitude", layer) * arm.alpha * float(v.norms[layer])

            def hook(_module: object, _inputs: object, output: object, delta: torch.Tensor = delta) -> object:
                if isinstance(output, tuple):
                    return (output[0] + delta.to(output[0]), *output[1:])
                return output + delta.to(output)  # type: ignore[operator]

            handles.append(model.blocks[layer].register_forward_hook(hook))
        try:
            with torch.inference_mode():
                written = model.hf.generate(
                    input_ids=batch.input_ids,
                    attention_mask=batch.attention_mask,
                    max_new_tokens=how.max_new_tokens,
                    min_new_tokens=how.min_new_tokens,
                    do_sample=how.temperature > 0,
                    temperature=how.temperature or None,
                    top_k=0,
                    pad_token_id=model.pad_id,
                )
        finally:
            for handle in handles:
                handle.remove()
        total += written[:, batch.input_ids.shape[1] :].numel()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--batch-rows", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = load_model(given.model)
    prompts = load_prompts("continuations", split="train")[: given.prompts]
    arms, v = the_grid(model), some_vectors(model)
    # Every arm writes the full length, so that all three ways do the same work.
    how = Sampling(max_new_tokens=given.tokens, min_new_tokens=given.tokens, temperature=1.0)

    def swept() -> int:
        with tempfile.TemporaryDirectory() as folder:
            table = sweep(model, prompts, arms, v, folder=Path(folder), sampling=how, batch_rows=given.batch_rows)
        return int(table["n_tokens"].sum())

    ways: dict[str, Callable[[], int]] = {
        "sweep": swept,
        "ours, one by one": lambda: ours_one_by_one(model, prompts, arms, v, how),
        "hooks around generate": lambda: hooked_generate(model, prompts, arms, v, how),
    }
    generate(model, [prompts[0].text], how)  # warm up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    tokens: dict[str, int] = {}
    for repeat in range(given.repeats):
        for name in sorted(ways, reverse=bool(repeat % 2)):
            started, began = time.process_time(), time.perf_counter()
            tokens[name] = ways[name]()
            seconds[name].append(time.process_time() - started)
            wall[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "model": model.name, "device": str(model.device), "threads": torch.get_num_threads(),
        "conditions": len(arms), "prompts": len(prompts), "new_tokens": given.tokens,
        "ways": {
            name: {
                "cpu_seconds": median[name], "all_cpu_seconds": seconds[name],
                "tokens_per_cpu_second": tokens[name] / median[name],
                "times_the_sweep": median[name] / median["sweep"],
                "times_the_sweep_on_the_clock": statistics.median(wall[name]) / statistics.median(wall["sweep"]),
            }
            for name in ways
        },
    }  # fmt: skip
    if given.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{len(arms)} conditions x {len(prompts)} prompts x {given.tokens} tokens, {model.name} on {model.device}")
    for name, row in result["ways"].items():  # type: ignore[attr-defined]
        print(
            f"{name:24} {row['cpu_seconds']:8.1f} CPU s {row['tokens_per_cpu_second']:8.0f} tokens per CPU s   "
            f"{row['times_the_sweep']:.2f} x the sweep's time, {row['times_the_sweep_on_the_clock']:.2f} x on the clock"
        )


if __name__ == "__main__":
    main()
