"""From a station's table to claims; the verdict is always :func:`emotion_circuits.statistics.judge`'s."""

from __future__ import annotations

import pandas as pd

from emotion_circuits.statistics import Claim, fdr, judge

__all__ = ["cosine_claims", "reading_claims"]


def reading_claims(report: pd.DataFrame, *, id: str, what: str) -> list[Claim]:
    """One claim per corpus: the states tell more about the emotion than the words do.

    Args:
        report: :func:`emotion_circuits.directions.reader_report` or ``held_out_report`` on test sentences.
        id: first part of the claims' ids.
        what: what reads, in words.
    """
    tests = {str(row["set"]): float(row["p"]) for row in report.to_dict("records")}
    family = f"{what} on test: {len(tests)} corpora, against bag of words"
    corrected = fdr(tests, family=family).q
    return [
        judge(
            id=f"{id}.{row['set']}",
            station="directions",
            statement=f"On held-out '{row['set']}' sentences the model's states tell the emotion better than a bag of "
            f"words fitted on the same training sentences ({what}).",
            estimate=float(row["difference"]),
            interval=(float(row["difference_low"]), float(row["difference_high"])),
            unit="difference of accuracy",
            chance=0.0,
            p=float(row["p"]),
            q=corrected[str(row["set"])],
            n=int(row["groups"]),
            unit_of_n="groups of sentences",
            smallest_effect=0.05,
            notes=f"Accuracy {row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}], bag of words "
            f"{row['bag_of_words']:.3f}, chance {row['chance']:.3f}, {row['n']} sentences. Family: {family}.",
        )
        for row in report.to_dict("records")
    ]


def cosine_claims(cosines: pd.DataFrame, *, layer: int, groups: int) -> list[Claim]:
    """One claim per pair of emotions at one layer: their directions share more than label shuffles do.

    Args:
        cosines: :func:`emotion_circuits.directions.cosines_by_layer`.
        layer: the layer that reads best on validation.
        groups: number of groups the directions were fitted on.
    """
    part = cosines[cosines["layer"] == layer]
    claims = []
    for row in part.to_dict("records"):
        pair = str(row["pair"])
        claims.append(
            judge(
                id="directions.cosine." + ".".join(pair.split(" – ")),
                station="directions",
                statement=f"The directions of {pair} (layer {layer}) are more alike than those of shuffled labels, "
                "which share the neutral mean too.",
                estimate=float(row["cosine"]),
                interval=(float(row["low"]), float(row["high"])),
                unit="cosine",
                chance=float(row["shared"]),
                n=groups,
                unit_of_n="groups of sentences",
                notes=f"95 % of unrelated random directions lie within ±{row['chance']:.3f}.",
            )
        )
    return claims
