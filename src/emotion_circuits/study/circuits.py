"""The circuits stage: parts are scored on train pairs, sized on validation pairs, and reported on test pairs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

from emotion_circuits.circuits.attribution import Attribution, attribute
from emotion_circuits.circuits.claims import Effects, node_effects, task_claim
from emotion_circuits.circuits.comparing import Dissociation, EmotionOverlap, dissociation, emotion_overlap
from emotion_circuits.circuits.finding import Search, measure_circuit, ranking, split_task
from emotion_circuits.circuits.weights import weights_table
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, Scan, all_nodes, head_nodes
from emotion_circuits.heads.screening import Screen, delta_attention
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.ledger import Ledger
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import replacing, write_json, write_table
from emotion_circuits.prompts import load_pairs
from emotion_circuits.record.parts import PARTS
from emotion_circuits.statistics import Claim, judge
from emotion_circuits.study.config import CircuitsConfig, StudyConfig
from emotion_circuits.study.patched import patched_claims, patched_texts
from emotion_circuits.study.running import Context, Stage

__all__ = ["CIRCUITS"]


def _inputs(context: Context) -> dict[str, Any]:
    config = context.config
    pairs = load_pairs(config.circuits.pairs)
    return {
        "circuits": config.circuits.model_dump(mode="json"),
        "pairs": [p.model_dump(mode="json") for p in pairs],
        "emotions": list(config.emotions),
        "seed": config.seed,
    }


def _run(context: Context, folder: Path) -> None:
    config, model, c = context.config, context.model, context.config.circuits
    pairs = [p for p in load_pairs(c.pairs) if {p.label, p.corrupted_label} <= {*config.emotions, "neutral"}]
    limits = {"train": c.train_pairs, "validation": c.validation_pairs, "test": c.test_pairs}
    try:
        tasks = {split: split_task(model, pairs, split, limit) for split, limit in limits.items()}
    except EmotionCircuitsError as error:
        # A tokenizer under which no pair aligns must not end a study; the report says why the stage is empty.
        write_json(folder / "skipped.json", {"reason": str(error)})
        write_json(folder / "claims.json", [])
        return
    train, test = tasks["train"].one_way(), tasks["test"]
    scored = attribute(model, train, steps=c.steps)
    links = attribute(model, train.select(range(min(c.edge_pairs, len(train)))), steps=min(c.steps, 3), edges=True)
    ranked = ranking(scored)
    screen = delta_attention(model, tasks["train"])
    effects = _effects(context, test, ranked if c.exact is None else ranked[: c.exact], folder)
    circuit = measure_circuit(
        model, tasks, scored, links, effects, name=c.pairs, search=_search(c), batch_rows=c.batch_rows, seed=config.seed
    )
    circuit.save(folder / "circuit.json")
    write_table(_heads_table(model, scored, screen, effects, config.seed), folder / "heads.parquet")
    claims = [*circuit.claims, attention_claim(screen, effects, scored, seed=config.seed)]
    claims += _emotions(model, config, train, test, scored, folder)
    if c.thorough:
        chosen = [n for n in ranked if n.kind == "head"][: c.emotion_heads]
        write_table(weights_table(model, chosen, _directions(context), seed=config.seed), folder / "weights.parquet")
    if c.generation_prompts:
        texts = patched_texts(model, config, test, _emotion_heads(scored, train, config), folder)
        claims += patched_claims(texts, config)
    write_json(folder / "claims.json", [claim.model_dump(mode="json") for claim in claims])


def _search(c: CircuitsConfig) -> Search:
    return Search(sizes=c.sizes, n_random=c.n_random, samples=c.samples, roles=c.roles, thorough=c.thorough)


def _directions(context: Context) -> Any:
    from emotion_circuits.study.stations import load_chosen_set

    return load_chosen_set(context.folder, "steering")


# -- the exact scan, which takes longest and is kept when a run is interrupted ---------------------------------------


def _effects(context: Context, test: PairTask, nodes: list[Node], folder: Path) -> Effects:
    model, config = context.model, context.config
    c, path, draws = config.circuits, folder / "scan.safetensors", 400
    task = task_claim(model, test, draws=draws, seed=config.seed, name=c.pairs)
    ledger = Ledger(folder)
    if not ledger.trusts(path, "the scan is made anew"):
        common: dict[str, Any] = {"seed": config.seed, "name": c.pairs, "batch_rows": c.batch_rows}
        found = node_effects(model, test, nodes, draws=draws, folder=folder / PARTS, engine=context.engine, **common)
        tensors = {"effect": found.scan.effect, "kl": found.scan.kl, "gap": found.scan.gap}
        tensors["null"] = torch.from_numpy(found.null)
        with replacing(path) as temporary:
            save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary)
            ledger.record(path.name, temporary)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    kept = load_file(path)
    sets = tuple((node,) for node in nodes)
    scan = Scan(sets, "noising z", kept["effect"], kept["kl"], kept["gap"], test.groups)
    return Effects(task, scan, kept["null"].numpy(), draws, c.pairs)


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


def attention_claim(screen: Screen, effects: Effects, scored: Attribution, *, seed: int = 0) -> Claim:
    """Do heads that attend to the emotion word do more? Rank correlation over heads, resampled by group of pairs.

    Against the exact effect where every head was noised, else against attribution on train pairs.

    Args:
        screen: of train pairs.
        effects: exact effects on test pairs.
        scored: attribution of every head.
        seed: of the bootstrap.
    """
    layers, heads, _ = screen.clean.shape
    nodes = [Node("head", layer, head) for layer in range(layers) for head in range(heads)]
    attention = by_group((screen.clean - screen.corrupted).flatten(0, 1).T.double().cpu().numpy(), screen.groups)
    place = {node: i for i, (node,) in enumerate(effects.scan.sets)}
    exact = all(n in place for n in nodes)
    if exact:
        every = by_group(effects.scan.effect.T.double().cpu().numpy(), effects.scan.groups)
        values = every[:, [place[n] for n in nodes]]
    else:
        score = scored.node_scores.mean(0)[[scored.nodes.index(n) for n in nodes]].double().cpu().numpy()
        values = score[None]
    rng = np.random.default_rng(seed)

    def drawn(table: np.ndarray) -> np.ndarray:
        mean: np.ndarray = table[rng.integers(0, len(table), len(table))].mean(0)
        return np.abs(mean)  # type: ignore[no-any-return]

    count = len(attention)
    draws = [float(spearmanr(drawn(attention), drawn(values)).statistic) for _ in range(500)]
    low, high = np.quantile(draws, [0.025, 0.975])
    sizes = np.abs(attention.mean(0)), np.abs(values.mean(0))
    best = [set(np.argsort(-size)[:10].tolist()) for size in sizes]
    null = [float(spearmanr(sizes[0], rng.permutation(sizes[1])).statistic) for _ in range(500)]
    what = "exact noising effect" if exact else "attribution on train pairs"
    return judge(
        id="circuits.attention",
        station="circuits",
        statement=f"Heads whose attention to the emotion word grows more are the heads that matter more ({what}).",
        estimate=float(spearmanr(*sizes).statistic),
        interval=(float(low), float(high)),
        unit="Spearman correlation of sizes over heads",
        n=count,
        unit_of_n="groups of train pairs of an emotion against neutral",
        chance=0.0,
        null="heads permuted",
        null_interval=tuple(np.quantile(null, [0.025, 0.975]).tolist()),
        notes=f"Of the 10 heads with the largest Δattention, {len(best[0] & best[1])} are among the 10 with the largest "
        f"effect (chance {100 / len(nodes):.1f}).",
    )


# -- emotions against one another ------------------------------------------------------------------------------------


def _emotion_heads(scored: Attribution, train: PairTask, config: StudyConfig) -> dict[str, list[Node]]:
    """The strongest heads per emotion, by attribution on the train pairs that involve it."""
    found = {}
    for emotion in config.emotions:
        rows = [i for i, p in enumerate(train.pairs) if emotion in (p.label, p.corrupted_label)]
        size = scored.node_scores[rows].mean(0).abs()
        order = [scored.nodes[i] for i in size.argsort(descending=True).tolist()]
        found[emotion] = [n for n in order if n.kind == "head"][: config.circuits.emotion_heads]
    return found


def _emotions(
    model: LanguageModel, config: StudyConfig, train: PairTask, test: PairTask, scored: Attribution, folder: Path
) -> list[Claim]:
    counted = [len({p.group for p in train.pairs if e in (p.label, p.corrupted_label)}) for e in config.emotions]
    if len(counted) < 2 or min(counted) < 4:
        return []
    heads = [i for i, n in enumerate(scored.nodes) if n.kind == "head"]
    k = config.circuits.emotion_heads
    found = emotion_overlap(scored.node_scores[:, heads], train, config.emotions, k=k, seed=config.seed)
    write_table(found.table, folder / "overlap.parquet")
    claims = [_overlap_claim(found)]
    tasks = {e: test.select([i for i, p in enumerate(test.pairs) if p.label == e]) for e in config.emotions}
    circuits = dict(_emotion_heads(scored, train, config))
    rng = np.random.default_rng(config.seed)
    pool = head_nodes(model)
    for index in range(3):
        circuits[f"random {index + 1}"] = [pool[i] for i in rng.choice(len(pool), k, replace=False)]
    matrix = dissociation(model, tasks, circuits, batch_rows=config.circuits.batch_rows, seed=config.seed)
    write_table(matrix.table, folder / "dissociation.parquet")
    return [*claims, _dissociation_claim(matrix, k)]


def _overlap_claim(found: EmotionOverlap) -> Claim:
    within = found.table[found.table["a"] == found.table["b"]]["jaccard"].mean()
    between = found.table[found.table["a"] != found.table["b"]]["jaccard"].mean()
    return judge(
        id="circuits.emotions.overlap",
        station="circuits",
        statement=f"The {found.k} strongest heads of one emotion agree more between disjoint halves of the pairs than those "
        "of two emotions do.",
        estimate=found.specificity,
        interval=found.interval,
        unit="Jaccard index within emotions minus between",
        n=found.n,
        unit_of_n="groups of pairs",
        chance=0.0,
        null="emotions of the groups shuffled",
        null_interval=found.null_interval,
        p=found.p,
        notes=f"Within {within:.3f}, between {between:.3f}, random sets {float(found.table['chance'].iloc[0]):.3f}.",
    )


def _dissociation_claim(found: Dissociation, k: int) -> Claim:
    return judge(
        id="circuits.emotions.dissociation",
        station="circuits",
        statement=f"Taking out the {k} strongest heads of an emotion hurts that emotion's pairs more than the others' heads "
        "do.",
        estimate=found.specificity,
        interval=found.interval,
        unit="share of the gap, own heads minus others' (mean ablation)",
        n=found.n,
        unit_of_n="groups of pairs",
        chance=0.0,
        smallest_effect=0.05,
    )


CIRCUITS = Stage("circuits", "Heads and circuits", 1, ("directions",), _inputs, _run)
