"""What steering costs beside a plain Hugging Face generate, and what full batches save.

python benchmarks/bench_generation.py

All arms in one process on the same prompts, medians of process time; ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from emotion_circuits.model import Add, Sampling, Site, generate, load_model
from emotion_circuits.prompts import load_prompts

LAYERS, STRENGTHS = (10, 12, 14, 16, 18), (5.0, 10.0, 20.0, 30.0)


def medians(arms, repeats):
    """Median process seconds per arm, the arms taking turns so that a noisy moment meets all of them."""
    seen = {name: [] for name in arms}
    for repeat in range(repeats + 1):
        for name, work in arms.items():
            start = time.process_time()
            work()
            if repeat:  # the first round warms up
                seen[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in seen.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    model = load_model(options.model)
    texts = [p.text for p in load_prompts("continuations")[: options.prompts]]
    how = Sampling(max_new_tokens=options.tokens, min_new_tokens=options.tokens)
    vector = torch.nn.functional.normalize(
        torch.randn(model.d_model, generator=torch.Generator().manual_seed(0)), dim=0
    )
    batch = model.tokenize(texts)
    grid = [(layer, alpha) for layer in LAYERS for alpha in STRENGTHS]

    def edit(layer, alpha, rows=None):
        return Add(site=Site("resid_post", layer), vector=vector, alpha=alpha, rows=rows)

    @torch.inference_mode()
    def plain():
        model.hf.generate(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=options.tokens,
            min_new_tokens=options.tokens, do_sample=False, pad_token_id=model.pad_id,
        )  # fmt: skip

    def steered():
        generate(model, texts, how, interventions=[edit(14, 20.0)])

    def one_at_a_time():
        for layer, alpha in grid:
            generate(model, texts, how, interventions=[edit(layer, alpha)])

    def full_batch():
        n = len(texts)
        edits = [edit(*cell, rows=tuple(range(i * n, i * n + n))) for i, cell in enumerate(grid)]
        generate(model, texts * len(grid), how, interventions=edits)

    single = medians({"plain generate": plain, "steered": steered}, options.repeats)
    many = medians({"one condition at a time": one_at_a_time, "full batch": full_batch}, max(1, options.repeats // 2))
    result = {
        "seconds": {**single, **many},
        "steered_over_plain": single["steered"] / single["plain generate"],
        "grid_speedup": many["one condition at a time"] / many["full batch"],
        "bars": {"steered_over_plain": "<= 1.1", "grid_speedup": ">= 3"},
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, seconds in result["seconds"].items():
        print(f"{name:26} {seconds:7.2f} s")
    print(f"steered / plain generate   {result['steered_over_plain']:7.2f}   (bar: at most 1.1)")
    print(f"{len(grid)} conditions, full batch  {result['grid_speedup']:7.2f} x (bar: at least 3)")


if __name__ == "__main__":
    main()
