"""Claims about two models, at the layer pair and method that predict neutral validation sentences best."""

from __future__ import annotations

from typing import Any

import pandas as pd

from emotion_circuits.directions import Comparison
from emotion_circuits.directions.baseline import STATIC
from emotion_circuits.statistics import About, Draft, draft, holding, interval_p

__all__ = ["alignment_claims"]


def alignment_claims(found: Comparison, *, whole: bool = True) -> list[Draft]:
    """That mapped directions read in the other model, and that they lie where its own lie.

    Args:
        found: of :func:`emotion_circuits.directions.compare_models`.
        whole: both models' static embeddings were had; that states carry over more than words stays open where not.
    """
    row = found.chosen()
    about = About(layers=(int(row["layer_a"]), int(row["layer_b"])), method=str(row["method"]))
    reading = _reading(found, row, about, whole=whole)
    geometry = draft(
        "alignment.geometry",
        "alignment.geometry",
        about,
        family="alignment.geometry",
        estimate=float(row["cos2_apart"]),
        interval=(float(row["cos2_apart_low"]), float(row["cos2_apart_high"])),
        chance=float(row["cos2_chance"]),
        null=(float(row["apart_shuffled_low"]), float(row["apart_shuffled_high"])),
        p=float(row["p_apart"]),
        smallest=0.05,
        n=found.groups,
        beside={
            "same": float(row["cos2"]),
            "same_shuffled_low": float(row["cos2_shuffled_low"]),
            "same_shuffled_high": float(row["cos2_shuffled_high"]),
        },
    )
    return [reading, geometry]


def _reading(found: Comparison, row: pd.Series, about: About, *, whole: bool) -> Draft:
    """Beyond words that were carried over alike, and beyond labels that mean nothing: p is the larger of both."""
    words = found.words.iloc[int(found.words["auroc"].to_numpy().argmax())]
    # Every kind of words is to be beaten: the one that does best is not always the one that is least surely beaten.
    ends = [
        holding(*row)
        for row in found.words[["difference", "difference_low", "difference_high"]].to_numpy(float).tolist()
    ]
    interval = min(low for low, _ in ends), min(high for _, high in ends)
    tested: dict[str, Any] = {}
    # Without an embedding layer to hold them against, what is left could be words that n-grams do not know.
    if whole and STATIC in set(found.words["family"]):
        past = [
            interval_p(float(d), own, n=max(found.groups, 2)) if d > 0 else 1.0
            for d, own in zip(found.words["difference"], ends, strict=True)
        ]
        tested = {"interval": interval, "p": max(*past, float(row["p"]))}
    return draft(
        "alignment.reading",
        "alignment.reading",
        about,
        family="alignment.reading",
        estimate=float(words["difference"]),
        chance=0.0,
        smallest=0.02,
        n=found.groups,
        beside={
            "auroc": float(row["auroc"]),
            "words": float(words["auroc"]),
            "shuffled_low": float(row["auroc_shuffled_low"]),
            "shuffled_high": float(row["auroc_shuffled_high"]),
            "own": float(row["auroc_own"]),
        },
        **tested,
    )
