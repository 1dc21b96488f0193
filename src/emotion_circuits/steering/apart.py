"""Which tokens make an effect: the push at the first token and the push at all others, each without the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.statistics import bootstrap_mean_intervals, paired_difference
from emotion_circuits.steering.conditions import Condition
from emotion_circuits.steering.effects import Sides, marked_for, metrics_of
from emotion_circuits.steering.scoring import aligned

__all__ = ["FIRST_ONLY", "REST_ONLY", "taken_apart", "token_effects"]

REST_ONLY = "rest only"
"""The push on every token but the first."""
FIRST_ONLY = "first token only"
"""The push on the first token alone, an attention sink."""


def taken_apart(condition: Condition) -> dict[str, Condition]:
    """The two halves of a condition that pushes the first token and the others: by what they push.

    Nothing for a condition that leaves one of them alone.

    Args:
        condition: of kind ``emotion``.

    Example:
        >>> both = Condition(name="a", emotion="anger", layers=(3,), alpha=0.1, positions="rest", first=6.0)
        >>> [(name, part.alpha, part.first) for name, part in taken_apart(both).items()]
        [('rest only', 0.1, 0.0), ('first token only', 0.0, 6.0)]
    """
    if not condition.alpha or not condition.first:
        return {}
    return {
        REST_ONLY: replace(condition, name=f"{condition.name} | {REST_ONLY}", first=0.0),
        FIRST_ONLY: replace(condition, name=f"{condition.name} | {FIRST_ONLY}", alpha=0.0),
    }


def token_effects(
    scored: pd.DataFrame,
    chosen: Mapping[str, Condition],
    *,
    sides: Sides,
    judge: str = "emotion",
    base: str = "none",
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Each chosen condition beside its two halves.

    One row per emotion, metric and arm (``both``, ``rest only``, ``first token only``): ``emotion metric side tokens condition
    treated change low high p n``, against no steering; ``ratio ratio_low ratio_high`` where fluency was scored; and of the halves
    ``missing missing_low missing_high p_missing``: both minus this arm, which is what the half left out adds.

    Args:
        scored: a scored sweep with the base, the chosen conditions and what :func:`taken_apart` makes of them.
        chosen: emotion → condition; one without halves has no rows.
        sides: as for :func:`emotion_circuits.steering.effects`.
        judge: as for :func:`emotion_circuits.steering.effects`.
        base: the unsteered condition.
        resamples: of bootstrap and permutation.
        seed: of bootstrap and permutation.

    Raises:
        EmotionCircuitsError: a missing condition.
    """
    rows: list[dict[str, Any]] = []
    for emotion, condition in chosen.items():
        halves = taken_apart(condition)
        if not halves:
            continue
        marked = marked_for(scored, emotion, judge)
        for metric, column, side in metrics_of(marked, emotion, sides, judge):
            how: dict[str, Any] = {"direction": side, "resamples": resamples, "seed": seed}
            for tokens, arm in {"both": condition, **halves}.items():
                found = paired_difference(*aligned(marked, arm.name, base, column), **how)
                row: dict[str, Any] = {
                    "emotion": emotion, "metric": metric, "side": side, "tokens": tokens, "condition": arm.name,
                    "treated": found.treated, "change": found.estimate, "low": found.low, "high": found.high,
                    "p": found.p, "n": found.n,
                }  # fmt: skip
                if "nats" in marked:
                    a, b = aligned(marked, arm.name, base, "nats")
                    (r,) = bootstrap_mean_intervals(a - b, resamples=resamples, seed=seed)
                    row |= {"ratio": np.exp(r.estimate), "ratio_low": np.exp(r.low), "ratio_high": np.exp(r.high)}
                lost = paired_difference(*aligned(marked, condition.name, arm.name, column), **how)
                nothing = tokens == "both"
                row |= {
                    "missing": np.nan if nothing else lost.estimate, "missing_low": np.nan if nothing else lost.low,
                    "missing_high": np.nan if nothing else lost.high, "p_missing": np.nan if nothing else lost.p,
                }  # fmt: skip
                rows.append(row)
    return pd.DataFrame(rows)
