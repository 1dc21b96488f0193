"""The station's claims where labels mean nothing: how often would it be wrong?

Labels are shuffled within groups, on every split, and everything after the capture is done again: directions of every
kind, the choice of layer, set and reader, the baselines of words, the claims. What groups share (topic, people, length)
stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.activations import group_numbers
from emotion_circuits.directions import (
    choose_directions,
    choose_layer,
    cosines_by_layer,
    evaluate_directions,
    fit_extractors,
    fit_reader,
    held_out_report,
    reader_report,
    words_of,
)
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.claims import cosine_claims, reading_claims
from emotion_circuits.stations.directions.folder import set_name
from emotion_circuits.stations.directions.settings import DirectionsSettings
from emotion_circuits.statistics import Claim, corrected

__all__ = ["shuffled_claims", "shuffled_within_groups"]


def shuffled_within_groups(rows: pd.DataFrame, draw: int) -> list[str]:
    """Labels of a capture's rows, permuted within each group of sentences.

    Args:
        rows: of the capture.
        draw: number of the shuffle; the same number gives the same labels.
    """
    groups, rng = group_numbers(rows).numpy(), np.random.default_rng([8191, draw])
    labels = rows["label"].to_numpy(dtype=object)
    found = labels.copy()
    found[np.argsort(groups, kind="stable")] = labels[np.lexsort((rng.random(len(labels)), groups))]
    return [str(label) for label in found]


def shuffled_claims(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """What the station claims after each of some shuffles.

    Args:
        context: of a finished run.
        draws: numbers of the shuffles.
    """
    return [_shuffled_once(context, draw) for draw in draws]


def _shuffled_once(context: Context, draw: int) -> list[Claim]:
    config, about, seed = context.config.of(DirectionsSettings), context.about, context.config.seed
    whole = context.of(CaptureFolder).store()
    store = whole.relabelled(shuffled_within_groups(whole.rows, draw))
    of: dict[str, Any] = {"labels": about.values, "reference": about.reference}
    words = words_of(store, names=(*about.values, about.reference), model=context.model)
    reader = fit_reader(store, extractors=config.reading, poolings=config.poolings, **of)
    claims = reading_claims(reader_report(store, reader, seed=seed, words=words), kind="directions.reading")

    fitted = [
        directions
        for pooling in config.poolings
        for directions in fit_extractors(
            store, [e for e, p in config.pairs() if p == pooling], pooling=pooling, kind="resid_post", **of
        )
    ]
    validated = evaluate_directions(store, fitted, splits=("validation",), words=words)
    single = choose_directions(validated, fitted)
    assert single.chosen_layer is not None
    # Nulls stand beside the figures and decide nothing here.
    best = held_out_report(store, single, single.chosen_layer, null_draws=2, seed=seed, words=words)
    claims += reading_claims(best, kind="directions.single", method=single.name)

    steering = next(d for d in fitted if d.name == set_name(config.steering))
    layer = choose_layer(validated, extractor=steering.extractor, pooling=steering.pooling, kind=steering.kind)
    cosines = cosines_by_layer(store, steering, layers=[layer], seed=seed)
    groups = int(store.rows[store.rows["split"] == "train"].groupby(["set", "group"]).ngroups)
    return corrected([*claims, *cosine_claims(cosines, layer=layer, groups=groups)])
