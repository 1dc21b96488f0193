"""Fit directions on train, choose extractors and layers on validation, report on test; and how the directions lie."""

from __future__ import annotations

from typing import Any

import pandas as pd

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
    words_of,
)
from emotion_circuits.language import N_
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.claims import cosine_claims, reading_claims
from emotion_circuits.stations.directions.folder import Choice, DirectionsFolder, set_name
from emotion_circuits.stations.directions.settings import DirectionsSettings, possible_settings, unmarked
from emotion_circuits.statistics import corrected

__all__ = ["inputs", "run"]

NO_WORDS = N_("no training sentence of {values} has marked words")


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the values and the seed."""
    return {
        "directions": context.config.of(DirectionsSettings).model_dump(mode="json"),
        "emotions": list(context.about.values),
        "seed": context.config.seed,
    }


def run(context: Context, folder: DirectionsFolder) -> None:
    """Fit, choose on validation, report on test."""
    store = context.of(CaptureFolder).store()
    config, seed, about = possible_settings(context.config), context.config.seed, context.about
    if config != context.config.of(DirectionsSettings):
        values = {"values": ", ".join(unmarked(context.config))}
        folder.leave_out(NotMeasured(reason=NO_WORDS, values=values, what="directions of emotion words"))
    of: dict[str, Any] = {"labels": about.values, "reference": about.reference}
    fitted: list[DirectionSet] = []
    for kind in config.kinds:
        for pooling in config.poolings:
            extractors = [e for e, p in config.pairs() if p == pooling]
            fitted += fit_extractors(store, extractors, pooling=pooling, kind=kind, **of)
    words = words_of(store, names=about.labels, model=context.model)
    validated = evaluate_directions(store, fitted, splits=("validation",), words=words)
    # Other kinds are compared; what later stations use lives in the residual stream.
    residual = [d for d in fitted if d.kind == "resid_post"]
    single = choose_directions(validated, residual)
    assert single.chosen_layer is not None
    layers = {d.name: choose_layer(validated, extractor=d.extractor, pooling=d.pooling, kind=d.kind) for d in fitted}
    fitted = [d.with_layer(layers[d.name]) for d in fitted]
    for directions in fitted:
        directions.save(folder.path)
    tested = evaluate_directions(store, [single], splits=("test",), words=words)
    folder.evaluation.write(pd.concat([validated, tested], ignore_index=True))
    compared = compare_extractors(
        store, fitted, validated, null_draws=config.null_draws, seed=seed, folder=folder.parts, engine=context.engine,
        words=words,
    )  # fmt: skip
    folder.extractors.write(compared)
    folder.drop_parts()
    own = (compared["extractor"] == single.extractor) & (compared["pooling"] == single.pooling)
    best = compared[own & (compared["kind"] == single.kind)].reset_index(drop=True)
    folder.single.write(best)

    reader = fit_reader(store, extractors=config.reading, poolings=config.poolings, fitted=fitted, **of)
    reader.save(folder.path)
    folder.candidates.write(reader.candidates)
    report = reader_report(store, reader, seed=seed, words=words)
    folder.reader.write(report)

    steering = next(d for d in fitted if d.name == set_name(config.steering))
    assert steering.chosen_layer is not None
    cosines = cosines_by_layer(store, steering, seed=seed)
    folder.cosines.write(cosines)
    beside = [
        cosines_by_layer(
            store, d, layers=None if config.geometry == "all" else [layers[d.name]], resamples=100, seed=seed
        ).assign(extractor=d.extractor, pooling=d.pooling, kind=d.kind)
        for d in fitted
        if d.pooling == steering.pooling or d.extractor == "token"
    ]
    folder.cosines_by_extractor.write(pd.concat(beside, ignore_index=True))
    norms = [norms_by_layer(d).assign(extractor=d.extractor, pooling=d.pooling, kind=d.kind) for d in fitted]
    folder.norms.write(pd.concat(norms, ignore_index=True))
    stability = split_half_stability(store, steering, splits=5, seed=seed)
    folder.stability.write(stability)
    subspaces = subspace_reliability(
        store, steering.chosen_layer, pooling=steering.pooling, extractor=steering.extractor, seed=seed,
        reference=about.reference,
    )  # fmt: skip
    folder.subspaces.write(subspaces.assign(layer=steering.chosen_layer))

    groups = int(store.rows[store.rows["split"] == "train"].groupby(["set", "group"]).ngroups)
    folder.write_claims(
        corrected(
            [
                *reading_claims(report, kind="directions.reading"),
                *reading_claims(best, kind="directions.single", method=single.name),
                *cosine_claims(cosines, layer=steering.chosen_layer, groups=groups),
            ]
        )
    )
    folder.choice.write(
        Choice(
            single=single.name,
            layer=single.chosen_layer,
            steering=steering.name,
            steering_layer=steering.chosen_layer,
            reader=tuple((d.name, layer) for d, layer in reader.members),
        )
    )
