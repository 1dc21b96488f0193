"""Methods on one scale: effect against cost by strength, the effect at equal cost, and whether two effects add up.

The unit is the opening: its texts are averaged, and openings are resampled for all methods and strengths alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import holding, interval_p, mean_intervals, paired_difference, resample_counts
from emotion_circuits.steering import NONE
from emotion_circuits.steering.scoring import per_prompt

__all__ = ["AtCost", "added", "arm_rows", "at_cost", "compared_at_cost", "interpolated"]

_DRAWS = 4000


@dataclass(frozen=True)
class AtCost:
    """A method's effect where it costs so much.

    Attributes:
        effect: change of the judge's probability.
        low: lower end of its 95 % interval.
        high: upper end.
        reached: whether any of its strengths costs so much; else it is the effect of the strongest.
        reached_share: of the draws in which it does.
    """

    effect: float
    low: float
    high: float
    reached: bool
    reached_share: float


def arm_rows(
    scored: pd.DataFrame,
    arms: Mapping[str, Mapping[str, Any]],
    value: str,
    *,
    judge: str,
    base: str = NONE.name,
    reference: str | None = None,
) -> pd.DataFrame:
    """One row of figures per arm, each against the base, paired by opening.

    Args:
        scored: all texts, scored, with fluency.
        arms: name of the condition → what stands beside its figures (``method``, ``strength`` …).
        value: that is meant.
        judge: the evaluator whose labels and probabilities decide.
        base: condition that all are compared with; unsteered text by default.
        reference: label that says nothing where another one moves, since what one gains it loses.

    Returns:
        Columns of ``arms``; ``condition n``; ``p change low high p_change`` of the judge's probability; ``share`` and
        ``base_share`` of texts called the value; ``words words_low words_high`` where words of a lexicon were counted (change of
        the share with one); ``ratio ratio_low ratio_high`` of perplexities; ``repetition`` (rise); ``astray astray_change`` (the
        other label that moves most but the reference, and by how much; the reference where there is no other).
    """
    column, label = f"p_{value}", f"{judge}_label"
    rows = []
    marked = scored.assign(hit=(scored[label] == value).astype(float))
    if f"n_{value}" in scored:
        marked = marked.assign(worded=(scored[f"n_{value}"] > 0).astype(float))
    others = [str(c) for c in scored if str(c).startswith("p_") and c != column]
    others = [c for c in others if c != f"p_{reference}"] or others
    plain = {c: per_prompt(marked, base, c) for c in (column, "hit", "nats", "repetition", *others)}
    for name, about in arms.items():
        found = paired_difference(per_prompt(marked, name, column), plain[column], direction=1)
        nats = per_prompt(marked, name, "nats")
        both = nats.index.intersection(plain["nats"].index)
        (cost,) = mean_intervals((nats.loc[both] - plain["nats"].loc[both]).to_numpy(float))
        moved = {c: float((per_prompt(marked, name, c) - plain[c]).mean()) for c in others}
        astray = max(moved, key=lambda c: abs(moved[c]), default="")
        row: dict[str, Any] = {
            **about, "condition": name, "n": found.n, "probability": found.treated, "change": found.estimate,
            "low": found.low, "high": found.high, "p_change": found.p,
            "share": float(per_prompt(marked, name, "hit").mean()), "base_share": float(plain["hit"].mean()),
            "ratio": float(np.exp(cost.estimate)), "ratio_low": float(np.exp(cost.low)),
            "ratio_high": float(np.exp(cost.high)),
            "repetition": float((per_prompt(marked, name, "repetition") - plain["repetition"]).mean()),
            "astray": astray.removeprefix("p_"), "astray_change": moved.get(astray, float("nan")),
        }  # fmt: skip
        if "worded" in marked:
            words = paired_difference(per_prompt(marked, name, "worded"), per_prompt(marked, base, "worded"))
            row |= {"words": words.estimate, "words_low": words.low, "words_high": words.high}
        rows.append(row)
    return pd.DataFrame(rows)


def interpolated(
    effects: Float[np.ndarray, "strength draw"], costs: Float[np.ndarray, "strength draw"], cost: float
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """The effect where the cost first reaches a value, on the line through no method at all and the strengths in order.

    Args:
        effects: by strength, weakest first.
        costs: the same strengths', in units in which no method costs 0.
        cost: at which.

    Returns:
        Effects, those of the strongest where no strength costs so much; and 1 where one does, else 0.

    Example:
        >>> interpolated(np.array([[0.2], [0.6]]), np.array([[0.1], [0.3]]), 0.2)
        (array([0.4]), array([1.]))
    """
    zero = np.zeros((1, effects.shape[1]))
    y, x = np.concatenate([zero, effects]), np.concatenate([zero, costs])
    found, reached = y[-1].copy(), np.zeros(effects.shape[1])
    for k in range(len(x) - 1):
        here = (reached == 0) & (x[k] < cost) & (x[k + 1] >= cost)
        share = np.where(here, (cost - x[k]) / np.where(here, x[k + 1] - x[k], 1.0), 0.0)
        found = np.where(here, y[k] + share * (y[k + 1] - y[k]), found)
        reached = np.where(here, 1.0, reached)
    return found, reached


def _drawn(
    scored: pd.DataFrame, names: Sequence[str], column: str, weights: Float[np.ndarray, "draw opening"]
) -> Float[np.ndarray, "arm draw"]:
    """Mean change of each arm against unsteered text: on all openings first, then in every draw of them."""
    openings = np.unique(scored["prompt_id"].astype(str))
    base = per_prompt(scored, NONE.name, column).reindex(openings)
    # An opening on which one of them wrote nothing has no cost.
    table = np.stack([(per_prompt(scored, name, column).reindex(openings) - base).to_numpy(float) for name in names])
    every = np.concatenate([np.ones((1, table.shape[1])), weights])
    known = np.isfinite(table)
    total = np.where(known, table, 0.0) @ every.T
    return total / np.maximum(known @ every.T, 1e-12)  # type: ignore[no-any-return]


def at_cost(
    scored: pd.DataFrame, methods: Mapping[str, Sequence[str]], value: str, *, ratio: float, seed: int = 0
) -> dict[str, tuple[AtCost, Float[np.ndarray, " draw"]]]:
    """Every method's effect at one perplexity ratio, with its draws, the same openings in each draw of every method.

    Args:
        scored: all texts, scored, with fluency.
        methods: method → its conditions' names, weakest first.
        value: that is meant.
        ratio: of perplexities, above 1.
        seed: of the draws.

    Raises:
        EmotionCircuitsError: a ratio that is no cost.
    """
    if ratio <= 1:
        raise EmotionCircuitsError(f"equal cost needs a perplexity ratio above 1, got {ratio:g}")
    weights = resample_counts(scored["prompt_id"].nunique(), _DRAWS, seed).astype(float)
    found = {}
    for method, names in methods.items():
        effects, costs = (_drawn(scored, names, column, weights) for column in (f"p_{value}", "nats"))
        effect, reached = interpolated(effects, costs, float(np.log(ratio)))
        ends = holding(effect[0], *np.quantile(effect[1:], [0.025, 0.975]))
        figures = AtCost(float(effect[0]), *ends, bool(reached[0]), float(reached[1:].mean()))
        found[method] = (figures, effect)
    return found


def compared_at_cost(
    found: Mapping[str, tuple[AtCost, Float[np.ndarray, " draw"]]], method: str, other: str, n: int
) -> tuple[float, float, float, float]:
    """One method's effect less another's at the same cost: estimate, ends of the 95 % interval, p.

    Args:
        found: by :func:`at_cost`.
        method: whose effect.
        other: less whose.
        n: openings.
    """
    difference = found[method][1] - found[other][1]
    estimate = float(difference[0])
    ends = holding(estimate, *np.quantile(difference[1:], [0.025, 0.975]))
    return estimate, *ends, interval_p(estimate, ends, n=n)


def added(scored: pd.DataFrame, both: str, first: str, second: str, value: str) -> dict[str, float]:
    """Whether two effects add up: that of both together less the sum of each alone, by opening.

    Args:
        scored: all texts, scored.
        both: condition of both together.
        first: of one alone.
        second: of the other alone.
        value: that is meant.

    Returns:
        ``together first second difference low high p n``.
    """
    column = f"p_{value}"
    base = per_prompt(scored, NONE.name, column)
    change = {name: per_prompt(scored, name, column) - base for name in (both, first, second)}
    found = paired_difference(change[both], change[first] + change[second], direction=1)
    return {
        "together": float(change[both].mean()), "first": float(change[first].mean()),
        "second": float(change[second].mean()), "difference": found.estimate, "low": found.low, "high": found.high,
        "p": found.p, "n": found.n,
    }  # fmt: skip
