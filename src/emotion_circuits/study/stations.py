"""The stages of a study, in the order of the plan: capture, directions, steering, circuits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.activations import ActivationStore, capture
from emotion_circuits.directions import (
    DirectionSet,
    choose_directions,
    choose_layer,
    compare_extractors,
    cosines_by_layer,
    evaluate_directions,
    fit_extractors,
    fit_reader,
    norms_by_layer,
    reader_report,
    split_half_stability,
    subspace_reliability,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import weights_sha256
from emotion_circuits.paths import write_json, write_table
from emotion_circuits.prompts import Prompt, load_prompts, prompts_sha256
from emotion_circuits.record.parts import PARTS
from emotion_circuits.study.circuits import CIRCUITS
from emotion_circuits.study.claims import cosine_claims, reading_claims
from emotion_circuits.study.config import StudyConfig
from emotion_circuits.study.running import Context, Stage
from emotion_circuits.study.steering import STEERING
from emotion_circuits.study.tracing import TRACE

__all__ = ["STAGES", "load_chosen_set", "study_prompts"]


def study_prompts(config: StudyConfig) -> list[Prompt]:
    """The sentences of a study: its corpora, restricted to its emotions and neutral."""
    rows = load_prompts(config.prompts, labels=(*config.emotions, "neutral"))
    present = {row.label for row in rows if row.split == "train"}
    missing = [label for label in (*config.emotions, "neutral") if label not in present]
    if missing:
        raise EmotionCircuitsError(
            f"prompts {', '.join(config.prompts)}: no training sentence is labelled {', '.join(missing)}"
        )
    return rows


# -- capture -------------------------------------------------------------------------------------------------------


def _capture_inputs(context: Context) -> dict[str, Any]:
    model = context.model
    return {
        "capture": context.config.capture.model_dump(mode="json"),
        "model": [model.name, model.revision, weights_sha256(model), str(model.dtype), model.device.type],
        "prompts": prompts_sha256(study_prompts(context.config)),
    }


def _capture(context: Context, folder: Path) -> None:
    c = context.config.capture
    capture(
        context.model,
        study_prompts(context.config),
        folder,
        kinds=c.kinds,
        pooling=c.poolings,
        batch_tokens=c.batch_tokens,
        engine=context.engine,
    )


# -- directions ----------------------------------------------------------------------------------------------------


def _directions_inputs(context: Context) -> dict[str, Any]:
    return {
        "directions": context.config.directions.model_dump(mode="json"),
        "emotions": list(context.config.emotions),
        "seed": context.config.seed,
    }


def _named(pair: str) -> str:
    """Name of a direction set of the residual stream from ``extractor.pooling``."""
    extractor, _, pooling = pair.partition(".")
    return f"{extractor}.resid_post.{pooling}"


def _directions(context: Context, folder: Path) -> None:
    store = ActivationStore.open(context.path("capture"))
    config, seed = context.config.directions, context.config.seed
    fitted: list[DirectionSet] = []
    for kind in config.kinds:
        for pooling in config.poolings:
            extractors = [e for e, p in config.pairs() if p == pooling]
            fitted += fit_extractors(store, extractors, pooling=pooling, kind=kind)
    validated = evaluate_directions(store, fitted, splits=("validation",))
    # Other kinds are compared; what later stages use lives in the residual stream.
    residual = [d for d in fitted if d.kind == "resid_post"]
    single = choose_directions(validated, residual)
    assert single.chosen_layer is not None
    layers = {d.name: choose_layer(validated, extractor=d.extractor, pooling=d.pooling, kind=d.kind) for d in fitted}
    fitted = [d.with_layer(layers[d.name]) for d in fitted]
    for directions in fitted:
        directions.save(folder)
    tested = evaluate_directions(store, [single], splits=("test",))
    write_table(pd.concat([validated, tested], ignore_index=True), folder / "evaluation.parquet")
    compared = compare_extractors(
        store, fitted, validated, null_draws=config.null_draws, seed=seed, folder=folder / PARTS, engine=context.engine
    )
    write_table(compared, folder / "extractors.parquet")
    shutil.rmtree(folder / PARTS)
    own = (compared["extractor"] == single.extractor) & (compared["pooling"] == single.pooling)
    best = compared[own & (compared["kind"] == single.kind)].reset_index(drop=True)
    write_table(best, folder / "single.parquet")

    reader = fit_reader(store, extractors=config.reading, poolings=config.poolings)
    reader.save(folder)
    write_table(reader.candidates, folder / "candidates.parquet")
    report = reader_report(store, reader, seed=seed)
    write_table(report, folder / "reader.parquet")

    steering = next(d for d in fitted if d.name == _named(config.steering))
    assert steering.chosen_layer is not None
    cosines = cosines_by_layer(store, steering, seed=seed)
    write_table(cosines, folder / "cosines.parquet")
    beside = [
        cosines_by_layer(
            store, d, layers=None if config.geometry == "all" else [layers[d.name]], resamples=100, seed=seed
        ).assign(extractor=d.extractor, pooling=d.pooling, kind=d.kind)
        for d in fitted
        if d.pooling == steering.pooling or d.extractor == "token"
    ]
    write_table(pd.concat(beside, ignore_index=True), folder / "cosines_by_extractor.parquet")
    norms = [norms_by_layer(d).assign(extractor=d.extractor, pooling=d.pooling, kind=d.kind) for d in fitted]
    write_table(pd.concat(norms, ignore_index=True), folder / "norms.parquet")
    stability = split_half_stability(store, steering, splits=5, seed=seed)
    write_table(stability, folder / "stability.parquet")
    subspaces = subspace_reliability(
        store, steering.chosen_layer, pooling=steering.pooling, extractor=steering.extractor, seed=seed
    )
    write_table(subspaces.assign(layer=steering.chosen_layer), folder / "subspaces.parquet")

    groups = int(store.rows[store.rows["split"] == "train"].groupby(["set", "group"]).ngroups)
    claims = [
        *reading_claims(report, id="directions.reading", what="reader of several layers and poolings"),
        *reading_claims(best, id="directions.single", what=f"single direction set {single.name}"),
        *cosine_claims(cosines, layer=steering.chosen_layer, groups=groups),
    ]
    write_json(folder / "claims.json", [claim.model_dump(mode="json") for claim in claims])
    write_json(
        folder / "choice.json",
        {
            "single": single.name,
            "layer": single.chosen_layer,
            "steering": steering.name,
            "steering_layer": steering.chosen_layer,
            "reader": [[d.name, layer] for d, layer in reader.members],
        },
    )


def load_chosen_set(run: Path, role: str = "steering") -> DirectionSet:
    """The directions a run steers with (``"steering"``), or the best single set of its reading (``"single"``).

    Raises:
        EmotionCircuitsError: not the folder of a run whose directions are finished.
    """
    import json

    choice = run / "directions" / "choice.json"
    try:
        name = json.loads(choice.read_text(encoding="utf-8"))[role]
    except (OSError, ValueError, KeyError) as error:
        raise EmotionCircuitsError(
            f"{run}: holds no finished directions ({choice.name} is missing or damaged); run "
            f"'emotion-circuits run --out {run}' first"
        ) from error
    return DirectionSet.load(run / "directions" / f"{name}.json")


STAGES: tuple[Stage, ...] = (
    Stage("capture", "Capturing activations", 2, (), _capture_inputs, _capture),
    Stage("directions", "Fitting and testing directions", 3, ("capture",), _directions_inputs, _directions),
    TRACE,
    STEERING,
    CIRCUITS,
)
