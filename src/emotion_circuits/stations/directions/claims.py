"""From tables of the directions station to its claims."""

from __future__ import annotations

import pandas as pd

from emotion_circuits.statistics import About, Draft, draft, interval_p

__all__ = ["MOST_PAIRS", "cosine_claims", "reading_claims"]

MOST_PAIRS = 15
"""Pairs of values that are claimed one by one: those of six."""


def reading_claims(report: pd.DataFrame, *, kind: str, method: str | None = None) -> list[Draft]:
    """One claim per corpus: the states tell more about the emotion than words alone, tuned alike, do.

    Args:
        report: :func:`emotion_circuits.directions.reader_report` or ``held_out_report`` on test sentences.
        kind: ``directions.reading`` (the reader) or ``directions.single`` (one direction set).
        method: name of the single direction set.
    """
    rows = report.to_dict("records")
    return [
        draft(
            f"{kind}.{row['set']}",
            kind,
            About(corpus=str(row["set"]), method=method, arm=str(row["words_family"])),
            family=kind,
            estimate=float(row["difference"]),
            interval=(float(row["difference_low"]), float(row["difference_high"])),
            chance=0.0,
            p=float(row["p"]),
            n=int(row["groups"]),
            smallest=0.05,
            beside={
                **{key: float(row[key]) for key in ("accuracy", "low", "high", "words_alone", "chance")},
                "sentences": float(row["n"]),
            },
        )
        for row in rows
    ]


_SAME = 1e-9


def cosine_claims(cosines: pd.DataFrame, *, layer: int, groups: int) -> list[Draft]:
    """One claim per pair of emotions at one layer: their directions share more than label shuffles do.

    Where shuffled labels all give the same cosine there is nothing to ask: two values without a reference are each compared with
    the other, so that their directions are opposites whatever the states are. Of more than :data:`MOST_PAIRS` pairs none is
    claimed: hundreds of them would be most of what a study says, and a reader asks of them together (:mod:`..map`).

    Args:
        cosines: :func:`emotion_circuits.directions.cosines_by_layer`.
        layer: the layer that reads best on validation.
        groups: number of groups the directions were fitted on.
    """
    claims: list[Draft] = []
    if cosines["pair"].nunique() > MOST_PAIRS:
        return claims
    for row in cosines[cosines["layer"] == layer].to_dict("records"):
        value, other = str(row["pair"]).split(" – ")
        cosine, ends = float(row["cosine"]), (float(row["low"]), float(row["high"]))
        if float(row["shared_high"]) - float(row["shared_low"]) < _SAME:
            continue
        claims.append(
            draft(
                f"directions.cosine.{value}.{other}",
                "directions.cosine",
                About(value=value, other=other, layer=layer),
                family="directions.cosine",
                estimate=cosine,
                interval=ends,
                chance=float(row["shared"]),
                null=(float(row["shared_low"]), float(row["shared_high"])),
                # The directions of shuffled labels are held to the fitted ones' sentences; both tests have to hold.
                p=max(float(row["p"]), interval_p(cosine, ends, zero=float(row["shared"]), n=groups)),
                smallest=0.1,
                n=groups,
                beside={"random": float(row["chance"])},
            )
        )
    return claims
