"""What steering costs in vLLM, and how near its texts are to our own engine's.

EMOTION_CIRCUITS_VLLM_PYTHON=…/bin/python python benchmarks/bench_vllm.py

Sixty-four texts with sixty-four different steerings at once, against the same texts unsteered, in turns in one service. The ratio
is of process time, summed over all of vLLM's processes, so that a busy machine disturbs both alike; tokens per second are by the
clock.
Agreement is of greedy texts and log-probabilities with this program's own engine, in the dtype named.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch

from emotion_circuits.model import REST, Add, Positions, Sampling, Site, load_model
from emotion_circuits.model.stepping import Along, Stepper, Task
from emotion_circuits.model.vllm import PYTHON, Asking, Service
from emotion_circuits.prompts import load_prompts


def session_seconds(pid):
    """Process time of all processes of a session, by its leader."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == pid:
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def pushes(model, count):
    """So many different steerings: another direction and strength each, with the first token, at a middle layer."""
    generator = torch.Generator().manual_seed(0)
    site = Site("resid_post", model.n_layers // 2)
    for number in range(count):
        unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=generator), dim=0)
        strength = 2.0 + number / 8
        rest = Add(site=site, vector=unit, alpha=strength, positions=REST)
        first = Add(site=site, vector=unit, alpha=4 * strength, positions=Positions.at(0))
        yield (rest, first), (Along(site, unit),)


def agreement(model, rows):
    """Largest difference of log-probabilities up to where texts part, share of equal texts, and how close parted tokens were."""
    worst, parts = [], []
    for row in rows:
        with Stepper(model) as batch:
            (own,) = batch.join([row.task])
            while batch.rows:
                batch.step()
        for mine, theirs in zip(own.tokens, row.tokens, strict=True):
            if mine.id != theirs.id:
                parts.append(mine.logprob - dict(mine.top).get(theirs.id, float("nan")))
                break
            worst.append(abs(mine.logprob - theirs.logprob))
    return {
        "largest_difference": max(worst),
        "texts": len(rows),
        "equal": len(rows) - len(parts),
        "margins_where_parted": parts,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compared", type=int, default=16, help="texts compared with our own engine's")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not os.environ.get(PYTHON):
        print(json.dumps({"skipped": f"{PYTHON} names no environment with vLLM"}))
        return
    model = load_model(options.model, dtype=options.dtype)
    texts = [p.text for p in load_prompts("continuations")]
    how = Sampling(max_new_tokens=options.tokens, min_new_tokens=options.tokens)
    ids = model.encode([texts[n % len(texts)] for n in range(options.requests)]).ids
    plain = [Task(ids=row, sampling=how) for row in ids]
    steered = [
        Task(ids=row, sampling=how, interventions=done, along=along)
        for row, (done, along) in zip(ids, pushes(model, options.requests), strict=True)
    ]
    service = Service(os.environ[PYTHON], model, dtype=options.dtype, rows=options.requests, longest=512)
    arms = {"unsteered": plain, "steered": steered}
    cpu, clock = {name: [] for name in arms}, {name: [] for name in arms}
    with service as client:
        about = client.about()
        for turn in range(options.repeats + 1):
            for name, tasks in arms.items():
                before, start = session_seconds(service.pid), time.monotonic()
                rows = Asking(client, model, tasks).run(lambda *_: None)
                assert all(row.reason == "length" for row in rows), [row.error for row in rows if row.error][:1]
                if turn:  # the first warms up
                    cpu[name].append(session_seconds(service.pid) - before)
                    clock[name].append(time.monotonic() - start)
        compared = [
            Task(ids=t.ids, sampling=t.sampling, interventions=t.interventions, along=t.along, logprobs=5)
            for t in (steered + plain)[:: max(1, 2 * options.requests // options.compared)]
        ]
        near = agreement(model, Asking(client, model, compared).run(lambda *_: None))
    tokens = options.requests * options.tokens
    result = {
        "vllm": about["vllm"], "dtype": options.dtype, "cpu_seconds": cpu, "seconds": clock,
        "steered_over_unsteered": min(cpu["steered"]) / min(cpu["unsteered"]),
        "steered_over_unsteered_by_the_clock": min(clock["steered"]) / min(clock["unsteered"]),
        "tokens_per_second": {name: tokens / min(times) for name, times in clock.items()},
        "agreement": near, "bars": {"steered_over_unsteered": "<= 1.3"},
    }  # fmt: skip
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name in arms:
        print(f"{name:12} {min(cpu[name]):7.2f} s of processes {tokens / min(clock[name]):8.0f} tokens/s by the clock")
    print(
        f"{options.requests} steerings at once / unsteered {result['steered_over_unsteered']:6.2f} (bar: at most 1.3)"
    )
    print(f"agreement with our own engine: {near}")


if __name__ == "__main__":
    main()
