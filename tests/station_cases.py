"""Every station whose work is kept in parts, small enough to be run many times."""

import shutil
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from emotion_circuits.activations import ActivationStore, capture
from emotion_circuits.circuits.claims import node_effects
from emotion_circuits.directions import (
    averaged_traces,
    choose_layer,
    compare_extractors,
    evaluate_directions,
    fit_extractors,
    shuffled_vectors,
)
from emotion_circuits.heads import all_nodes, pair_task
from emotion_circuits.model import Sampling, load_model
from emotion_circuits.paths import write_table
from emotion_circuits.prompts import Pair, Prompt, load_prompts
from emotion_circuits.record.engines.processes import Processes
from emotion_circuits.record.parts import PARTS
from emotion_circuits.steering import SteeringVectors, grid, sweep

EXTRACTOR_NAMES = ("mean_difference", "paired", "pca", "lda", "logistic")
LABELS = ("gratitude", "anger", "apology", "neutral")


def pairs():
    """Token-aligned for a tokenizer of characters."""
    return [
        Pair(
            id=str(i), group=str(i), text=f"a {good}{rest}", corrupted=f"a {bad}{rest}", label="gratitude",
            corrupted_label="anger", spans=((2, 5),), corrupted_spans=((2, 5),), answers=("a", "b"),
            corrupted_answers=("c",), split="test", language="en", set="t",
        )
        for i, (good, bad, rest) in enumerate(
            [("joy", "mud", " is it"), ("win", "rag", " then we go"), ("sun", "fog", " x")]
        )
    ]  # fmt: skip


def openings(count=6):
    return [
        Prompt(id=f"p{i}", text=f"Opening {i} {'of ' * i}", label="neutral", group=f"g{i}", split="test", language="en", set="t")
        for i in range(count)
    ]  # fmt: skip


def prepared(root):
    """What directions and traces begin with: a capture of the tiny model in ``root``."""
    capture(load_model(root / "tiny"), load_prompts("core"), root / "states", kinds=("resid_post",), pooling=("mean",))


def _fitted(root):
    store = ActivationStore.open(root / "states")
    found = fit_extractors(store, EXTRACTOR_NAMES, pooling="mean", kind="resid_post")
    return store, found, evaluate_directions(store, found, splits=("validation",))


def states(model, root, out, engine):
    capture(model, load_prompts("core")[:160], out, kinds=("resid_post", "z"), shard_rows=16, engine=engine)


def texts(model, root, out, engine):
    g = torch.Generator().manual_seed(0)
    raw = {n: torch.randn(model.n_layers, model.d_model, generator=g) * 2 for n in LABELS[:3]}
    vectors = SteeringVectors.from_raw(raw, torch.ones(model.n_layers))
    arms = grid(["gratitude", "anger"], [0, 2], [1.0, 3.0])
    how = Sampling(max_new_tokens=6, temperature=1.0)
    sweep(model, openings(), arms, vectors, folder=out, sampling=how, samples=2, batch_rows=9, seed=5, engine=engine)


def scan(model, root, out, engine):
    task = pair_task(model, pairs())
    found = node_effects(model, task, all_nodes(model), draws=20, batch_rows=6, folder=out / PARTS, engine=engine)
    tensors = {
        "effect": found.scan.effect,
        "kl": found.scan.kl,
        "gap": found.scan.gap,
        "null": torch.from_numpy(found.null),
    }
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "scan.safetensors")
    shutil.rmtree(out / PARTS)


def extractors(model, root, out, engine):
    store, found, table = _fitted(root)
    write_table(
        compare_extractors(store, found, table, null_draws=2, folder=out / PARTS, engine=engine), out / "table.parquet"
    )
    shutil.rmtree(out / PARTS)


def trace(model, root, out, engine):
    store, found, table = _fitted(root)
    directions = found[0]
    layer = min(choose_layer(table, extractor="mean_difference"), model.n_layers - 2)
    rows = load_prompts("core", labels=LABELS)
    groups = {split: sorted({p.group for p in rows if p.split == split})[:8] for split in ("validation", "test")}
    sentences = {split: [p for p in rows if p.split == split and p.group in kept] for split, kept in groups.items()}
    nulls = shuffled_vectors(store, directions, layer, draws=3, seed=0)
    for name, part in averaged_traces(
        model, sentences, directions, layer, nulls=nulls, folder=out / PARTS, engine=engine
    ).items():
        write_table(part, out / f"{name}.parquet")
    shutil.rmtree(out / PARTS)


STATIONS = {"capture": states, "sweep": texts, "scan": scan, "comparison of extractors": extractors, "trace": trace}
"""By the word that messages use."""


def run(name, root, out, engine=None, slow=0.0):
    """A station's artefacts into ``out``; each commit takes ``slow`` seconds longer on either side."""
    if slow:
        from emotion_circuits.record import parts

        class Slow(parts.Ledger):
            def record(self, name, ready):
                time.sleep(slow)
                super().record(name, ready)
                time.sleep(slow)

        parts.Ledger = Slow
    Path(out).mkdir(exist_ok=True)
    if engine == "processes":
        with Processes(2) as workers:
            STATIONS[name](load_model(root / "tiny"), root, out, workers)
    else:
        STATIONS[name](load_model(root / "tiny"), root, out, engine)


def artefacts(out):
    return {
        str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file() and p.name != ".lock"
    }


def committed(out):
    return sorted(p for pattern in ("part-*", "shard-*") for p in out.rglob(pattern))
