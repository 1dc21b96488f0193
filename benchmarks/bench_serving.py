"""What a running batch saves where many ask at once, and what steering each of them costs.

python benchmarks/bench_serving.py

Sixteen requests with sixteen different steerings, written by the server's engine: together, one after another, and together
without steering. Ratios are of process time, taken in turns in one process; times to the first token are by the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time

import torch

from emotion_circuits.model import REST, Add, Sampling, Site, load_model, writing_model
from emotion_circuits.model.stepping import Along, Task
from emotion_circuits.prompts import load_prompts
from emotion_circuits.serve.engine import Engine, Limits


def written(engine, tasks, together):
    """Process seconds and the median seconds to the first token of requests."""
    firsts = []
    start, clock = time.process_time(), time.monotonic()
    ends = []
    for task in tasks:
        done, seen = threading.Event(), []

        def news(_place, token, row, done=done, seen=seen):
            if token is not None and not seen:
                seen.append(time.monotonic() - clock)
            if token is None:
                assert row.reason in ("stop", "length"), row.error
                firsts.extend(seen)
                done.set()

        engine.submit([task], news)
        ends.append(done)
        if not together:
            done.wait()
    for done in ends:
        done.wait()
    return time.process_time() - start, statistics.median(firsts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    model = writing_model(load_model(options.model))
    texts = [p.text for p in load_prompts("continuations")[: options.requests]]
    how = Sampling(max_new_tokens=options.tokens, min_new_tokens=options.tokens)
    generator = torch.Generator().manual_seed(0)
    site = Site("resid_post", model.n_layers // 2)
    plain, steered = [], []
    for number, ids in enumerate(model.encode(texts).ids):
        unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=generator), dim=0)
        edit = Add(site=site, vector=unit, alpha=2.0 + number, positions=REST)
        plain.append(Task(ids=ids, sampling=how))
        steered.append(Task(ids=ids, sampling=how, interventions=(edit,), along=(Along(site, unit),)))
    arms = {"together": (steered, True), "one after another": (steered, False), "unsteered": (plain, True)}
    seconds, firsts = {name: [] for name in arms}, []
    limits = Limits(rows=options.requests, queue=options.requests, seconds=3600)
    with Engine(model, limits) as engine:
        written(engine, steered[:2], True)  # warms up
        for _ in range(options.repeats):
            for name, (tasks, together) in arms.items():
                spent, first = written(engine, tasks, together)
                seconds[name].append(spent)
                if name == "together":
                    firsts.append(first)
    # The least, not the median: what others do on the machine only ever adds.
    best = {name: min(times) for name, times in seconds.items()}
    result = {
        "seconds": best,
        "speedup": best["one after another"] / best["together"],
        "steered_over_unsteered": best["together"] / best["unsteered"],
        "first_token_seconds": min(firsts),
        "bars": {"speedup": ">= 4", "steered_over_unsteered": "<= 1.05"},
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, spent in best.items():
        print(f"{name:26} {spent:7.2f} s")
    print(f"{options.requests} together               {result['speedup']:7.2f} x (bar: at least 4)")
    print(f"steered / unsteered        {result['steered_over_unsteered']:7.2f}   (bar: at most 1.05)")
    print(f"first token, by the clock  {result['first_token_seconds']:7.2f} s")


if __name__ == "__main__":
    main()
