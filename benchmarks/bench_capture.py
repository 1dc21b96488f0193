"""What capture costs beside a plain forward without unembedding, and what memory it takes.

python benchmarks/bench_capture.py cost   --model smollm2-135m
python benchmarks/bench_capture.py read   --rows 10000
python benchmarks/bench_capture.py memory --sentences 1000000
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from emotion_circuits.activations import ActivationStore, capture, capture_moments
from emotion_circuits.activations.pooling import token_batches
from emotion_circuits.model import load_model
from emotion_circuits.prompts import Prompt, load_prompts

LABELS = ("gratitude", "anger", "apology", "neutral")


def median_seconds(work, repeats):
    """Median process time: other programs on the machine do not count."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def cost(args):
    model = load_model(args.model)
    prompts = load_prompts("core")[: args.rows]
    ids = model.tokenizer([p.text for p in prompts])["input_ids"]
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))

    @torch.inference_mode()
    def plain():
        for start in range(0, len(order), 256):
            for rows in token_batches(order[start : start + 256], ids, 1024):
                model.hidden(model.collate([ids[i] for i in rows], side="right"))

    def pooled():
        folder = Path(tempfile.mkdtemp())
        capture(model, prompts, folder, kinds=("resid_post",), pooling=("last", "mean"))
        shutil.rmtree(folder)

    def moments():
        capture_moments(model, prompts, LABELS, pooling="last", layers=range(0, model.n_layers, 6))

    plain()
    arms = {"plain": plain, "capture": pooled, "moments": moments}
    seconds = {name: median_seconds(work, args.repeats) for name, work in arms.items()}
    return {**seconds, **{f"{n} / plain": seconds[n] / seconds["plain"] for n in ("capture", "moments")}}


def read(args):
    """One layer of pooled states against reading as many bytes of the same files from the page cache."""
    from families import tiny_model

    model = tiny_model("llama", hidden_size=256, num_attention_heads=4, num_hidden_layers=8)
    with tempfile.TemporaryDirectory() as folder:
        store = capture(model, list(sentences(args.rows)), folder, pooling=("last",), shard_rows=2048)
        store = ActivationStore.open(folder)
        size = args.rows * store.d_model * 4
        shards = sorted(Path(folder).glob("shard-*"))

        def layer():
            store.pooled("resid_post", "last", 5)

        def raw():
            left = size
            for shard in shards:
                with shard.open("rb") as stream:
                    left -= len(stream.read(min(left, shard.stat().st_size)))

        layer()
        raw()
        found = {name: size / wall(work) / 1e6 for name, work in (("layer MB/s", layer), ("raw MB/s", raw))}
        return {**found, "share": found["layer MB/s"] / found["raw MB/s"]}


def wall(work, repeats=15):
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def sentences(count) -> Iterator[Prompt]:
    """Synthetic sentences, made one at a time."""
    for i in range(count):
        yield Prompt(
            id=str(i), text=f"s{i} {'ab' * (i % 3)}", label=LABELS[i % 4], group=str(i // 4), split="train",
            language="en", set="synthetic",
        )  # fmt: skip


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def memory(args):
    """Resident memory while moments of many sentences run through a model of reduced width."""
    from families import tiny_model

    model = tiny_model("llama", num_hidden_layers=2)
    curve = []

    def watched():
        for i, prompt in enumerate(sentences(args.sentences)):
            if i % (args.sentences // 20) == 0:
                curve.append({"sentences": i, "resident_mb": round(resident_mb(), 1)})
            yield prompt

    found = capture_moments(model, watched(), LABELS, pooling="mean", batch_tokens=16384, chunk=8192)
    curve.append({"sentences": args.sentences, "resident_mb": round(resident_mb(), 1)})
    assert int(found["resid_post"].count.sum()) == args.sentences
    return {"curve": curve}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "read", "memory"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.rows = args.rows or {"cost": 272, "read": 10_000}.get(args.what, 0)
    result = {"cost": cost, "read": read, "memory": memory}[args.what](args)
    print(json.dumps({"what": args.what, **result}, indent=2))


if __name__ == "__main__":
    main()
