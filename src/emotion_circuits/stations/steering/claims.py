"""From effects on test openings to claims: does a direction move its metrics, and does the text stay fluent?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import About, Draft, draft, interval_p
from emotion_circuits.steering import FIRST_ONLY, REST_ONLY, Effects

__all__ = ["SMALLEST", "bound_claims", "steering_claims", "token_claims"]

SMALLEST = {"share": 0.1, "probability": 0.1, "words": 0.1, "vader": 0.1}
"""Smallest change of each metric that matters: one text in ten, or a twentieth of VADER's range."""

JUDGED = ("share", "probability")
"""Metrics that the deciding judge gives."""

_BESIDE = ("treated", "control", "wrong_way")
_RANDOM = ("n_random", "null_n", "p_random", "beats", "beats_low", "beats_high")
_SHUFFLED = ("n_shuffled", "p_shuffled", "shuffled_beats", "shuffled_beats_low", "shuffled_beats_high")


def steering_claims(
    found: Effects,
    *,
    budget: float,
    prefix: str = "steering",
    about: Mapping[str, Any] | None = None,
    given: str | None = None,
) -> list[Draft]:
    """Claims per emotion: the chosen direction moves each metric more than random ones do, at a bounded cost.

    Args:
        found: by :func:`emotion_circuits.steering.effects`.
        budget: largest perplexity ratio that counts as fluent.
        prefix: of ids and of the two families, effects and fluency; its first part is the station whose kinds ``effect`` and
            ``fluency`` the claims are.
        about: what else the claims are about.
        given: id of the claim that the judge is to be trusted, on which what it finds rests.
    """
    station, shared = prefix.partition(".")[0], dict(about or {})
    rows = found.table.to_dict("records")
    claims = [_effect(row, prefix, station, shared, given) for row in rows]
    costs = found.table.drop_duplicates("emotion").to_dict("records") if "ratio" in found.table else []
    return claims + [_fluency(row, budget, prefix, f"{station}.fluency", shared) for row in costs]


def _effect(row: Mapping[Any, Any], prefix: str, station: str, shared: Mapping[str, Any], given: str | None) -> Draft:
    random, shuffled = _has(row, "null_low"), _has(row, "n_shuffled")
    beside = (*_BESIDE, *(_RANDOM if random else ()), *(_SHUFFLED if shuffled else ()))
    metric = str(row["metric"])
    return draft(
        f"{prefix}.{row['emotion']}.{metric}",
        f"{station}.effect",
        About(value=str(row["emotion"]), metric=metric, condition=str(row["condition"]), **shared),
        family=f"{prefix}.effect",
        estimate=float(row["change"]),
        interval=(float(row["low"]), float(row["high"])),
        chance=0.0,
        null=(float(row["null_low"]), float(row["null_high"])) if random else None,
        p=float(row["p_claim"]),
        n=int(row["n"]),
        side="greater" if int(row["side"]) > 0 else "less",
        smallest=SMALLEST.get(metric),
        given=given if metric in JUDGED else None,
        beside={key: float(row[key]) for key in beside},
    )


def _has(row: Mapping[Any, Any], key: str) -> bool:
    return key in row and math.isfinite(row[key])


def _fluency(row: Mapping[Any, Any], budget: float, prefix: str, kind: str, shared: Mapping[str, Any]) -> Draft:
    """That the perplexity ratio of a row of figures lies within the bound."""
    ratio, low, high = (float(row[name]) for name in ("ratio", "ratio_low", "ratio_high"))
    return draft(
        f"{prefix}.{row['emotion']}.fluency",
        kind,
        About(value=str(row["emotion"]), metric="fluency", condition=str(row["condition"]), **shared),
        family=f"{prefix}.{kind.partition('.')[2]}",
        estimate=ratio,
        interval=(low, high),
        chance=budget,
        p=interval_p(math.log(ratio), (math.log(low), math.log(high)), zero=math.log(budget), n=int(row["n"])),
        n=int(row["n"]),
        side="less",
    )


_ADDED = {REST_ONLY: "first", FIRST_ONLY: "rest"}
"""Which push an arm lacks, so that the chosen condition minus the arm is what that push adds."""


def token_claims(table: pd.DataFrame, *, metric: str = "probability") -> list[Draft]:
    """Claims per emotion: what the push at the first token adds to that at the others, and the other way round.

    Each rests on the claim that both together have an effect at all.

    Args:
        table: by :func:`emotion_circuits.steering.token_effects`; empty where no condition has two pushes.
        metric: the one that is claimed on, so that the family holds two tests per emotion.
    """
    if not len(table):
        return []
    return [
        draft(
            f"steering.{row['emotion']}.tokens.{_ADDED[row['tokens']]}",
            "steering.tokens",
            About(value=str(row["emotion"]), metric=metric, arm=_ADDED[row["tokens"]], condition=str(row["condition"])),
            family="steering.tokens",
            estimate=float(row["missing"]),
            interval=(float(row["missing_low"]), float(row["missing_high"])),
            chance=0.0,
            p=float(row["p_missing"]),
            n=int(row["n"]),
            side="greater" if int(row["side"]) > 0 else "less",
            smallest=SMALLEST.get(metric),
            given=f"steering.{row['emotion']}.{metric}",
            beside={"alone": float(row["change"]), "alone_low": float(row["low"]), "alone_high": float(row["high"])},
        )
        for row in table[(table["metric"] == metric) & table["tokens"].isin(list(_ADDED))].to_dict("records")
    ]


def bound_claims(table: pd.DataFrame, emotions: Sequence[str], *, budget: float) -> list[Draft]:
    """Claims on emotions for which nothing was chosen: that the cheapest condition tried is within the bound.

    Args:
        table: :func:`emotion_circuits.steering.condition_table` of the sweep the choice was made on.
        emotions: which.
        budget: largest perplexity ratio that counts as fluent.

    Raises:
        EmotionCircuitsError: no condition was tried for an emotion.
    """
    claims = []
    for emotion in emotions:
        rows = table[(table["kind"] == "emotion") & (table["emotion"] == emotion)]
        if rows.empty:
            raise EmotionCircuitsError(f"the sweep holds no condition that steers towards {emotion!r}")
        row = rows.sort_values("ratio_high", kind="stable").iloc[0].to_dict()
        claims.append(_fluency(row, budget, "steering", "steering.bound", {}))
    return claims
