"""Parts are scored on train pairs, sized on validation pairs, and reported on test pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from emotion_circuits.circuits.attribution import Attribution, attribute
from emotion_circuits.circuits.claims import Effects, node_effects, task_claim
from emotion_circuits.circuits.finding import Search, measure_circuit, ranking, split_task
from emotion_circuits.circuits.joint import dissociation
from emotion_circuits.circuits.overlap import emotion_overlap
from emotion_circuits.circuits.weights import weights_table
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, Scan, all_nodes, head_nodes
from emotion_circuits.heads.screening import Screen, delta_attention
from emotion_circuits.ledger import Ledger
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import replacing
from emotion_circuits.prompts import load_pairs
from emotion_circuits.record.station import Context
from emotion_circuits.stations.circuits.claims import attention_claim, dissociation_claim, overlap_claim, patched_claims
from emotion_circuits.stations.circuits.folder import CircuitsFolder, Skipped
from emotion_circuits.stations.circuits.patched import patched_texts
from emotion_circuits.stations.circuits.settings import CircuitsSettings, pairs_of
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.statistics import Draft, corrected

__all__ = ["inputs", "run"]


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the pairs, the emotions and the seed."""
    config, name = context.config, pairs_of(context.config)
    return {
        "circuits": {**config.of(CircuitsSettings).model_dump(mode="json"), "pairs": name},
        "pairs": [] if name is None else [p.model_dump(mode="json") for p in load_pairs(name)],
        "emotions": list(context.about.values),
        "seed": config.seed,
    }


def run(context: Context, folder: CircuitsFolder) -> None:
    """Score, find and measure a circuit, and compare the emotions' heads."""
    config, model, c = context.config, context.model, context.config.of(CircuitsSettings)
    about, name = context.about, pairs_of(config)
    if name is None:
        _skip(folder, f"{about.attribute.where} names no minimal pairs")
        return
    pairs = [p for p in load_pairs(name) if {p.label, p.corrupted_label} <= set(about.labels)]
    limits = {"train": c.train_pairs, "validation": c.validation_pairs, "test": c.test_pairs}
    try:
        tasks = {split: split_task(model, pairs, split, limit) for split, limit in limits.items()}
    except EmotionCircuitsError as error:
        # A tokenizer under which no pair aligns must not end a study; the report says why the station is empty.
        _skip(folder, str(error))
        return
    train, test = tasks["train"].one_way(), tasks["test"]
    scored = attribute(model, train, steps=c.steps)
    links = attribute(model, train.select(range(min(c.edge_pairs, len(train)))), steps=min(c.steps, 3), edges=True)
    ranked = ranking(scored)
    screen = delta_attention(model, tasks["train"], reference=about.reference)
    effects = _effects(context, test, ranked if c.exact is None else ranked[: c.exact], folder, name)
    circuit = measure_circuit(
        model, tasks, scored, links, effects, name=name, search=_search(c), batch_rows=c.batch_rows, seed=config.seed
    )
    folder.save_circuit(circuit)
    folder.heads.write(_heads_table(model, scored, screen, effects, config.seed))
    drafts = [attention_claim(screen, effects, scored, seed=config.seed)]
    drafts += _emotions(model, context, train, test, scored, folder)
    if c.thorough:
        chosen = [n for n in ranked if n.kind == "head"][: c.emotion_heads]
        steering = context.of(DirectionsFolder).chosen_set()
        folder.weights.write(weights_table(model, chosen, steering, seed=config.seed))
    if c.generation_prompts:
        texts = patched_texts(model, config, about, test, _emotion_heads(scored, train, about.values, c.emotion_heads))
        folder.patched.write(texts)
        drafts += patched_claims(texts, about.values, seed=config.seed)
    # What the circuit claims was corrected where it was found: its families are its own.
    folder.write_claims([*circuit.claims, *corrected(drafts)])


def _skip(folder: CircuitsFolder, reason: str) -> None:
    folder.skipped.write(Skipped(reason=reason))
    folder.write_claims([])


def _search(c: CircuitsSettings) -> Search:
    return Search(sizes=c.sizes, n_random=c.n_random, samples=c.samples, roles=c.roles, thorough=c.thorough)


# -- the exact scan, which takes longest and is kept when a run is interrupted ---------------------------------------


def _effects(context: Context, test: PairTask, nodes: list[Node], folder: CircuitsFolder, name: str) -> Effects:
    model, config = context.model, context.config
    c, path, draws = config.of(CircuitsSettings), folder.path / "scan.safetensors", 400
    task = task_claim(model, test, draws=draws, seed=config.seed, name=name)
    ledger = Ledger(folder.path)
    if not ledger.trusts(path, "the scan is made anew"):
        common: dict[str, Any] = {"seed": config.seed, "name": name, "batch_rows": c.batch_rows}
        found = node_effects(model, test, nodes, draws=draws, folder=folder.parts, engine=context.engine, **common)
        tensors = {"effect": found.scan.effect, "kl": found.scan.kl, "gap": found.scan.gap}
        tensors["null"] = torch.from_numpy(found.null)
        with replacing(path) as temporary:
            save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary)
            ledger.record(path.name, temporary)
    folder.drop_parts()
    kept = load_file(path)
    sets = tuple((node,) for node in nodes)
    scan = Scan(sets, "noising z", kept["effect"], kept["kl"], kept["gap"], test.groups)
    return Effects(task, scan, kept["null"].numpy(), draws, name)


def _heads_table(
    model: LanguageModel, scored: Attribution, screen: Screen, effects: Effects, seed: int
) -> pd.DataFrame:
    """One row per head and MLP: screen and attribution (train), exact effect with its null and verdict (test)."""
    attention = screen.table(seed=seed).rename(columns={"delta": "attention", "q": "attention_q"})
    exact = effects.table(seed=seed).rename(columns={"nodes": "node"})
    # 'share' divides by one positive figure, so that signs and order stay.
    rows = pd.DataFrame(
        {
            "node": [str(n) for n in scored.nodes],
            "kind": [n.kind for n in scored.nodes],
            "layer": [n.layer for n in scored.nodes],
            "head": [n.head for n in scored.nodes],
            "attribution": scored.node_scores.mean(0).tolist(),
        }
    )
    columns = ["node", "effect", "low", "high", "share", "kl", "p", "q", "null_low", "null_high", "n", "verdict"]
    rows = rows.merge(attention[["node", "attention", "attention_q"]], on="node", how="left")
    rows = rows.merge(exact[columns], on="node", how="left")
    assert len(rows) == len(all_nodes(model))
    return rows


# -- emotions against one another ------------------------------------------------------------------------------------


def _emotion_heads(scored: Attribution, train: PairTask, values: Sequence[str], count: int) -> dict[str, list[Node]]:
    """The strongest heads per emotion, by attribution on the train pairs that involve it."""
    found = {}
    for emotion in values:
        rows = [i for i, p in enumerate(train.pairs) if emotion in (p.label, p.corrupted_label)]
        size = scored.node_scores[rows].mean(0).abs()
        order = [scored.nodes[i] for i in size.argsort(descending=True).tolist()]
        found[emotion] = [n for n in order if n.kind == "head"][:count]
    return found


def _emotions(
    model: LanguageModel,
    context: Context,
    train: PairTask,
    test: PairTask,
    scored: Attribution,
    folder: CircuitsFolder,
) -> list[Draft]:
    config, values = context.config, context.about.values
    counted = [len({p.group for p in train.pairs if e in (p.label, p.corrupted_label)}) for e in values]
    if len(counted) < 2 or min(counted) < 4:
        return []
    heads = [i for i, n in enumerate(scored.nodes) if n.kind == "head"]
    own = config.of(CircuitsSettings)
    k = own.emotion_heads
    found = emotion_overlap(scored.node_scores[:, heads], train, values, k=k, seed=config.seed)
    folder.overlap.write(found.table)
    tasks = {e: test.select([i for i, p in enumerate(test.pairs) if p.label == e]) for e in values}
    circuits = dict(_emotion_heads(scored, train, values, k))
    rng = np.random.default_rng(config.seed)
    pool = head_nodes(model)
    for index in range(3):
        circuits[f"random {index + 1}"] = [pool[i] for i in rng.choice(len(pool), k, replace=False)]
    matrix = dissociation(model, tasks, circuits, batch_rows=own.batch_rows, seed=config.seed)
    folder.dissociation.write(matrix.table)
    return [overlap_claim(found), dissociation_claim(matrix, k)]
