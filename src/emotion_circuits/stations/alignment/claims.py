"""Claims about two models, at the layer pair and method that predict neutral validation sentences best."""

from __future__ import annotations

from emotion_circuits.directions import Comparison
from emotion_circuits.statistics import About, Draft, draft

__all__ = ["alignment_claims"]


def alignment_claims(found: Comparison) -> list[Draft]:
    """That mapped directions read in the other model, and that they lie where its own lie.

    Args:
        found: of :func:`emotion_circuits.directions.compare_models`.
    """
    row = found.chosen()
    about = About(layers=(int(row["layer_a"]), int(row["layer_b"])), method=str(row["method"]))
    reading = draft(
        "alignment.reading",
        "alignment.reading",
        about,
        family="alignment.reading",
        estimate=float(row["auroc"]),
        interval=(float(row["auroc_low"]), float(row["auroc_high"])),
        chance=0.5,
        null=(float(row["auroc_shuffled_low"]), float(row["auroc_shuffled_high"])),
        p=float(row["p"]),
        smallest=0.05,
        n=found.groups,
        beside={"own": float(row["auroc_own"])},
    )
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
