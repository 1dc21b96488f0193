"""The stages of a study, in the order of the plan: capture, directions, steering, circuits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.activations import ActivationStore, capture
from emotion_circuits.directions import (
    DirectionSet,
    choose_directions,
    cosines_by_layer,
    evaluate_directions,
    fit_directions,
    fit_reader,
    held_out_report,
    norms_by_layer,
    reader_report,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import weights_sha256
from emotion_circuits.paths import replacing, write_json
from emotion_circuits.prompts import Prompt, load_prompts, prompts_sha256
from emotion_circuits.study.circuits import CIRCUITS
from emotion_circuits.study.claims import cosine_claims, reading_claims
from emotion_circuits.study.config import StudyConfig
from emotion_circuits.study.running import Context, Stage
from emotion_circuits.study.steering import STEERING

__all__ = ["STAGES", "load_chosen_set", "study_prompts", "write_table"]


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


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write Parquet atomically."""
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


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
    )


# -- directions ----------------------------------------------------------------------------------------------------


def _directions_inputs(context: Context) -> dict[str, Any]:
    return {
        "directions": context.config.directions.model_dump(mode="json"),
        "emotions": list(context.config.emotions),
        "seed": context.config.seed,
    }


def _directions(context: Context, folder: Path) -> None:
    store = ActivationStore.open(context.path("capture"))
    config, seed = context.config.directions, context.config.seed
    kind = "resid_post" if "resid_post" in store.kinds else store.kinds[0]
    fitted = [
        fit_directions(store, extractor=extractor, pooling=pooling, kind=kind)
        for extractor in config.extractors
        for pooling in config.poolings
    ]
    table = evaluate_directions(store, fitted, splits=("validation", "test"))
    write_table(table, folder / "evaluation.parquet")
    single = choose_directions(table, fitted)
    assert single.chosen_layer is not None
    for directions in fitted:
        (single if directions.name == single.name else directions).save(folder)
    write_table(
        held_out_report(store, single, single.chosen_layer, null_draws=config.null_draws, seed=seed),
        folder / "single.parquet",
    )

    reader = fit_reader(store, extractors=config.extractors, poolings=config.poolings, kind=kind)
    reader.save(folder)
    write_table(reader.candidates, folder / "candidates.parquet")
    report = reader_report(store, reader, seed=seed)
    write_table(report, folder / "reader.parquet")

    extractor, _, pooling = config.steering.partition(".")
    steering = next(d for d in fitted if (d.extractor, d.pooling) == (extractor, pooling))
    cosines = cosines_by_layer(store, steering, seed=seed)
    write_table(cosines, folder / "cosines.parquet")
    write_table(norms_by_layer(steering), folder / "norms.parquet")
    groups = int(store.rows[store.rows["split"] == "train"].groupby(["set", "group"]).ngroups)
    claims = [*reading_claims(report), *cosine_claims(cosines, layer=single.chosen_layer, groups=groups)]
    write_json(folder / "claims.json", [claim.model_dump(mode="json") for claim in claims])
    write_json(
        folder / "choice.json",
        {
            "single": single.name,
            "layer": single.chosen_layer,
            "steering": steering.name,
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
    Stage("capture", "Capturing activations", 1, (), _capture_inputs, _capture),
    Stage("directions", "Fitting and testing directions", 2, ("capture",), _directions_inputs, _directions),
    STEERING,
    CIRCUITS,
)
