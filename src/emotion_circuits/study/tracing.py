"""The trace stage: where an emotion is written, who looks at its words, who reads it.

Components are chosen on validation sentences and reported on test sentences.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions import (
    DirectionSet,
    averaged_traces,
    save_trace,
    shuffled_vectors,
    trace,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import write_json, write_table
from emotion_circuits.prompts import Prompt, load_prompts, prompts_sha256
from emotion_circuits.record.parts import PARTS
from emotion_circuits.statistics import Claim, fdr, judge
from emotion_circuits.study.running import Context, Stage

__all__ = ["TRACE", "trace_claims", "traced_directions"]


def _sentences(context: Context, split: str) -> list[Prompt]:
    """Sentences of the traced corpus in the study's emotions, of some groups spread over the corpus."""
    config = context.config
    rows = load_prompts(config.trace.set, labels=(*config.emotions, "neutral"), split=split)
    groups = list(dict.fromkeys(p.group for p in rows))
    if len(groups) < 8:
        raise EmotionCircuitsError(
            f"trace.set: {config.trace.set} has {len(groups)} groups in its {split} split, a trace needs 8"
        )
    wanted = min(config.trace.groups, len(groups))
    kept = {groups[i * len(groups) // wanted] for i in range(wanted)}
    return [p for p in rows if p.group in kept]


def _text(context: Context) -> tuple[str, str]:
    """The sentence traced alone and the emotion drawn."""
    emotion = context.config.emotions[0]
    if context.config.trace.text is not None:
        return context.config.trace.text, emotion
    return next(p.text for p in _sentences(context, "test") if p.label == emotion), emotion


def _inputs(context: Context) -> dict[str, Any]:
    return {
        "trace": context.config.trace.model_dump(mode="json"),
        "sentences": [prompts_sha256(_sentences(context, split)) for split in ("validation", "test")],
        "seed": context.config.seed,
    }


def traced_directions(run: Path, name: str) -> DirectionSet:
    """The set of a run that is traced (``extractor.pooling``), at the residual stream, with its chosen layer."""
    extractor, _, pooling = name.partition(".")
    return DirectionSet.load(run / "directions" / f"{extractor}.resid_post.{pooling}.json")


def _run(context: Context, folder: Path) -> None:
    config, model, seed = context.config.trace, context.model, context.config.seed
    store = ActivationStore.open(context.path("capture"))
    directions = traced_directions(context.folder, config.directions)
    layer = directions.chosen_layer
    assert layer is not None
    # The last layer's states have no reader in the model but the unembedding.
    layer = min(layer, model.n_layers - 2)
    nulls = shuffled_vectors(store, directions, layer, draws=config.null_draws, seed=seed)
    sentences = {split: _sentences(context, split) for split in ("validation", "test")}
    joined = averaged_traces(
        model, sentences, directions, layer, nulls=nulls, seed=seed, folder=folder / PARTS, engine=context.engine
    )
    for name, table in joined.items():
        write_table(table, folder / f"{name}.parquet")
    shutil.rmtree(folder / PARTS)
    claims = trace_claims(joined, config.top, layer)
    write_json(folder / "claims.json", [claim.model_dump(mode="json") for claim in claims])
    text, emotion = _text(context)
    save_trace(trace(model, text, directions, layer), folder / "example")
    write_json(folder / "choice.json", {"layer": layer, "directions": directions.name, "text": text, "drawn": emotion})


_QUESTIONS = {
    "writers": (
        "difference", "difference of the projection, residual norms",
        "{name} writes {emotion} at the last token: more along its direction (layer {layer}) than in the neutral "
        "sentence of the same group.",
    ),
    "readers": (
        "difference", "relative change of its output",
        "{name} reads {emotion}: taking the direction out after layer {layer} changes its output more than taking out "
        "as much along directions of shuffled labels.",
    ),
    "attention": (
        "difference", "attention",
        "{name} attends from the last token to {emotion} words more than to the same place of a neutral sentence of "
        "the same length.",
    ),
}  # fmt: skip


def trace_claims(tables: dict[str, pd.DataFrame], top: int, layer: int) -> list[Claim]:
    """Claims about the components that stand out on validation, with their figures from test.

    Args:
        tables: ``writers``, ``readers``, ``attention`` with columns ``emotion`` and ``split``.
        top: how many components per emotion and question.
        layer: whose directions were traced.
    """
    rows: list[tuple[str, str, str, dict[str, Any]]] = []
    for name, table in tables.items():
        table = table.assign(component=_names(table))
        for emotion, part in table.groupby("emotion", sort=False):
            order = part[part["split"] == "validation"].set_index("component")
            # A writer may write against the emotion; who reads or looks less is not asked.
            size = order["difference"].abs() if name == "writers" else order["difference"]
            test = part[part["split"] == "test"].set_index("component")
            for component in size.sort_values(ascending=False, kind="stable").index[:top]:
                rows.append((name, str(emotion), str(component), test.loc[component].to_dict()))
    claims = []
    for name in tables:
        chosen = [r for r in rows if r[0] == name]
        family = f"trace, {name} on test: {len(chosen)} chosen on validation"
        q = fdr({f"{e} {c}": float(v["p"]) for _, e, c, v in chosen}, family=family).q
        for _, emotion, component, v in chosen:
            column, unit, statement = _QUESTIONS[name]
            interval = (float(v["low"]), float(v["high"]))
            null: dict[str, Any] = {}
            if "null_low" in v:
                ends = (float(v["null_low"]), float(v["null_high"]))
                null = {"null": "directions of shuffled labels", "null_interval": ends}
            claims.append(
                judge(
                    id=f"trace.{name}.{emotion}.{component}",
                    station="trace",
                    statement=statement.format(name=component, emotion=emotion, layer=layer),
                    estimate=float(v[column]),
                    interval=interval,
                    unit=unit,
                    chance=0.0,
                    p=float(v["p"]),
                    q=q[f"{emotion} {component}"],
                    n=int(v["n"]),
                    unit_of_n="groups of sentences",
                    direction="different" if name == "writers" else "greater",
                    notes=f"Family: {family}."
                    + (" Attention is a screen, not a cause." if name == "attention" else ""),
                    **null,
                )
            )
    return claims


def _names(table: pd.DataFrame) -> list[str]:
    if "component" in table:
        return [str(v) for v in table["component"]]
    return [f"L{layer}H{head}" for layer, head in zip(table["layer"], table["head"], strict=True)]


TRACE = Stage("trace", "Tracing emotion through the model", 1, ("capture", "directions"), _inputs, _run)
