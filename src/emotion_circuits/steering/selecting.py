"""Choose a condition on validation prompts; the report is then made once, on test prompts."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.steering.scoring import BUDGET, condition_table

__all__ = ["OBJECTIVE", "Choice", "choose_condition", "pareto"]

OBJECTIVE = (
    "largest mean classifier probability of the emotion over validation prompts, among conditions whose perplexity "
    "ratio is at most {budget:g} and whose repetition rises by less than 0.1"
)


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and from what.

    Attributes:
        emotion: the emotion.
        condition: name of the chosen condition; ``None`` where none is within the budget.
        objective: the rule, in words.
        table: every candidate with its figures, best first.
    """

    emotion: str
    condition: str | None
    objective: str
    table: pd.DataFrame


def choose_condition(
    scored: pd.DataFrame,
    emotion: str,
    *,
    budget: float = BUDGET,
    split: str = "validation",
    table: pd.DataFrame | None = None,
) -> Choice:
    """The strongest fluent condition for an emotion.

    Args:
        scored: a scored sweep (:func:`score_sweep`).
        emotion: which.
        budget: largest perplexity ratio.
        split: the only split the sweep may hold; choosing on the rows that are reported is refused.
        table: :func:`condition_table` of the sweep where it is there already.

    Raises:
        EmotionCircuitsError: the sweep holds rows of another split, or no condition for the emotion.
    """
    found = sorted(set(scored["split"]) - {split})
    if found:
        raise EmotionCircuitsError(
            f"the choice is made on the {split} split, but the sweep holds rows of: {', '.join(found)}"
        )
    figures = condition_table(scored) if table is None else table
    rows = figures[(figures["kind"] == "emotion") & (figures["emotion"] == emotion)]
    if rows.empty:
        raise EmotionCircuitsError(f"the sweep holds no condition that steers towards {emotion!r}")
    fits = (rows["ratio"] <= budget) & (rows["repetition_gain"] < 0.1)
    ordered = rows.assign(within_budget=fits).sort_values(
        ["within_budget", "p", "ratio"], ascending=[False, False, True], kind="stable"
    )
    best = ordered.iloc[0]
    name = str(best["condition"]) if bool(best["within_budget"]) else None
    return Choice(emotion, name, OBJECTIVE.format(budget=budget), ordered.reset_index(drop=True))


def pareto(table: pd.DataFrame, *, effect: str = "share", cost: str = "ratio") -> pd.DataFrame:
    """The conditions that no other one beats in both effect and cost, cheapest first.

    Args:
        table: rows of :func:`condition_table`, of one emotion.
        effect: column to be large.
        cost: column to be small.
    """
    ordered = table.dropna(subset=[effect, cost]).sort_values([cost, effect], ascending=[True, False], kind="stable")
    best = float("-inf")
    keep = []
    for value in ordered[effect]:
        keep.append(value > best)
        best = max(best, float(value))
    return ordered[keep].reset_index(drop=True)
