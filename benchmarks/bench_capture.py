"""What capture costs beside a plain forward without unembedding, and what memory it takes.

python benchmarks/bench_capture.py cost   --model smollm2-135m
python benchmarks/bench_capture.py read   --rows 10000
python benchmarks/bench_capture.py memory --sentences 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from emotion_circuits.activations import ActivationStore, capture, capture_moments
from emotion_circuits.activations.pooling import token_batches
from emotion_circuits.model import load_model
from emotion_circuits.prompts import Prompt, load_prompts

LABELS = ("gratitude", "anger", "apology", "neutral")


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

    def pooled_last():
        folder = Path(tempfile.mkdtemp())
        capture(model, prompts, folder, kinds=("resid_post",), pooling="last")
        shutil.rmtree(folder)

    def moments():
        capture_moments(model, prompts, LABELS, pooling="last")

    plain()
    arms = {"plain": plain, "capture": pooled, "capture of what moments see": pooled_last, "moments": moments}
    # The arms take turns, so that a machine that slows down slows all of them down.
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(args.repeats):
        for name, work in arms.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    return {
        **median,
        "capture / plain": median["capture"] / median["plain"],
        "moments / capture": median["moments"] / median["capture of what moments see"],
    }


def read(args):
    """One layer of pooled states against reading as many bytes of the same files, from the page cache and without it.

    Both arms end with the bytes in memory of their own: a buffer that is filled again and again would measure the
    processor's cache.
    """
    from families import tiny_model

    model = tiny_model("llama", hidden_size=args.width, num_attention_heads=4, num_hidden_layers=8)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        capture(model, list(sentences(args.rows)), folder, kinds=("resid_post",), pooling=("last",), shard_rows=2048)
        store = ActivationStore.open(folder)
        size = args.rows * store.d_model * 4
        shards = sorted(Path(folder).glob("shard-*"))

        def layer():
            return store.pooled("resid_post", "last", 5)

        def raw():
            kept = np.empty(size, dtype=np.uint8)
            at = 0
            for shard in shards:
                with shard.open("rb", buffering=0) as stream:
                    at += stream.readinto(memoryview(kept)[at : at + shard.stat().st_size])
            return kept

        def forget():
            for shard in shards:
                with shard.open("rb") as stream:
                    os.fsync(stream.fileno())
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        found = {}
        for name, before in (("page cache", lambda: None), ("disk", forget)):
            rates = {arm: size / wall(work, before) / 1e6 for arm, work in (("layer", layer), ("raw", raw))}
            found |= {f"{name}, {arm}, MB/s": rate for arm, rate in rates.items()}
            found[f"{name}, share"] = rates["layer"] / rates["raw"]
        return {"megabytes": size / 1e6, **found}


def wall(work, before, repeats=9):
    found = []
    for _ in range(repeats):
        before()
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
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--folder", help="where 'read' writes its files; the default is the system's temporary folder")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.rows = args.rows or {"cost": 272, "read": 10_000}.get(args.what, 0)
    result = {"cost": cost, "read": read, "memory": memory}[args.what](args)
    print(json.dumps({"what": args.what, **result}, indent=2))


if __name__ == "__main__":
    main()
