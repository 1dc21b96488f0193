"""Parts are scored on train pairs, sized on validation pairs, and reported on test pairs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from emotion_circuits.circuits.claims import Effects, node_effects, task_claim
from emotion_circuits.circuits.finding import ranking, split_task
from emotion_circuits.circuits.weights import weights_table
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, Scan, all_nodes
from emotion_circuits.language import N_
from emotion_circuits.ledger import Ledger
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import replacing
from emotion_circuits.prompts import load_pairs, prompts_sha256
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.station import Context
from emotion_circuits.stations.circuits.carried import agreement, agreement_drafts, carried, carrier_drafts
from emotion_circuits.stations.circuits.effects import pair_effects
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.circuits.patched import patched_drafts, patched_texts
from emotion_circuits.stations.circuits.program import Found, emotion_heads, measure
from emotion_circuits.stations.circuits.settings import NO_PAIRS, CircuitsSettings, measures_carried, pairs_of
from emotion_circuits.stations.directions.folder import DirectionsFolder, set_name
from emotion_circuits.stations.steering.plan import NO_OPENINGS
from emotion_circuits.stations.trace.settings import TraceSettings, traced_sentences
from emotion_circuits.stations.trace.station import traced_layer
from emotion_circuits.statistics import Claim, Draft, corrected

__all__ = ["inputs", "run"]

ERROR = N_("{error}")


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the pairs, the emotions and the seed; what is traced, where parts are asked what they carry."""
    config, name = context.config, pairs_of(context.config)
    traced: dict[str, Any] = {}
    if measures_carried(config, paired=isinstance(_tasks(context), dict)):
        traced = {
            "trace": config.of(TraceSettings).model_dump(mode="json", include={"directions", "null_draws", "top"}),
            "sentences": [prompts_sha256(traced_sentences(config, split)) for split in ("validation", "test")],
        }
    return {
        "circuits": {**config.of(CircuitsSettings).model_dump(mode="json"), "pairs": name},
        "pairs": [] if name is None else [p.model_dump(mode="json") for p in load_pairs(name)],
        "emotions": list(context.about.values),
        "seed": config.seed,
        **traced,
    }


def run(context: Context, folder: CircuitsFolder) -> None:
    """Score, find and measure a circuit, and compare the emotions' heads; or ask what parts carry to the directions."""
    config, about, left = context.config, context.about, list[NotMeasured]()
    found = _on_pairs(context, folder, left)
    claims: list[Claim] = []
    drafts: list[Draft] = []
    by_group: list[pd.DataFrame] = []
    if found is not None:
        by_group.append(pair_effects(found[0].scored, found[1]["train"].one_way(), about.values))
        # What the circuit claims was corrected where it was found: its families are its own.
        claims = list(found[0].circuit.claims)
        drafts = [*found[0].drafts, *_more(context, folder, *found, left)]
    if measures_carried(config, paired=found is not None):
        table, effects = carried(context, folder)
        folder.carriers.write(table)
        by_group.append(effects)
        layer = traced_layer(
            context.of(DirectionsFolder).load_set(set_name(config.of(TraceSettings).directions)), context.model
        )
        drafts += carrier_drafts(table, layer)
        if found is not None:
            agreed = agreement(table, found[0].scored, found[1]["train"].one_way(), about.values, seed=config.seed)
            if len(agreed):
                folder.agreement.write(agreed)
                drafts += agreement_drafts(agreed)
    elif found is None:
        # Nothing is measured at all: what lacks is told of the whole.
        left = [row.model_copy(update={"what": ""}) for row in left]
    if by_group:
        folder.effects.write(pd.concat(by_group, ignore_index=True))
    if left:
        folder.leave_out(*left)
    folder.write_claims([*claims, *corrected(drafts)])


def _on_pairs(
    context: Context, folder: CircuitsFolder, left: list[NotMeasured]
) -> tuple[Found, dict[str, PairTask]] | None:
    """Everything that minimal pairs tell; ``None``, with the reason in ``left``, where there are none."""
    config, model, c = context.config, context.model, context.config.of(CircuitsSettings)
    about, name = context.about, pairs_of(config)
    tasks = _tasks(context)
    if isinstance(tasks, NotMeasured):
        left.append(tasks)
        return None
    assert name is not None

    def scan(test: PairTask, nodes: list[Node]) -> Effects:
        return _effects(context, test, nodes, folder, name)

    found = measure(model, tasks, c, about.values, reference=about.reference, name=name, seed=config.seed, scan=scan)
    folder.save_circuit(found.circuit)
    folder.heads.write(_heads_table(model, found, config.seed))
    if found.overlap is not None and found.dissociation is not None:
        folder.overlap.write(found.overlap)
        folder.dissociation.write(found.dissociation)
    return found, tasks


def _tasks(context: Context) -> dict[str, PairTask] | NotMeasured:
    """The pairs of every split that fit the model, or why there are none."""
    c, about, name = context.config.of(CircuitsSettings), context.about, pairs_of(context.config)
    if name is None:
        return NotMeasured(reason=NO_PAIRS, values={"attribute": about.attribute.name}, what="minimal pairs")
    pairs = [p for p in load_pairs(name) if {p.label, p.corrupted_label} <= set(about.labels)]
    limits = {"train": c.train_pairs, "validation": c.validation_pairs, "test": c.test_pairs}
    try:
        return {split: split_task(context.model, pairs, split, limit) for split, limit in limits.items()}
    except EmotionCircuitsError as error:
        # A tokenizer under which no pair aligns must not end a study; the report says why.
        return NotMeasured(reason=ERROR, values={"error": str(error)}, what="minimal pairs")


def _more(
    context: Context, folder: CircuitsFolder, found: Found, tasks: dict[str, PairTask], left: list[NotMeasured]
) -> list[Draft]:
    """Weights of the strongest heads, and texts that are written with them."""
    config, model, c = context.config, context.model, context.config.of(CircuitsSettings)
    about = context.about
    if c.thorough:
        chosen = [n for n in ranking(found.scored) if n.kind == "head"][: c.emotion_heads]
        steering = context.of(DirectionsFolder).chosen_set()
        folder.weights.write(weights_table(model, chosen, steering, seed=config.seed))
    if not c.generation_prompts:
        return []
    if about.choose is None:
        left.append(NotMeasured(reason=NO_OPENINGS, values={"attribute": about.attribute.name}, what="patched texts"))
        return []
    heads = emotion_heads(found.scored, tasks["train"].one_way(), about.values, c.emotion_heads)
    texts = patched_texts(model, config, about, tasks["test"], heads)
    folder.patched.write(texts)
    return patched_drafts(texts, about.values, seed=config.seed)


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


def _heads_table(model: LanguageModel, found: Found, seed: int) -> pd.DataFrame:
    """One row per head and MLP: screen and attribution (train), exact effect with its null and verdict (test)."""
    scored, effects = found.scored, found.effects
    attention = found.screen.table(seed=seed).rename(columns={"delta": "attention", "q": "attention_q"})
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
