"""Choose a condition on validation prompts; the report is then made once, on test prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.steering.scoring import BUDGET, REPEATS, condition_table

__all__ = ["OBJECTIVE", "Choice", "choose_condition", "choose_together", "pareto"]

OBJECTIVE = (
    "largest mean classifier probability of the emotion, among conditions whose perplexity ratio stays at most "
    "{budget:g} up to the end of its 95 % interval and whose repetition rises by less than 0.1"
)

CHOOSING = ("validation", "train")
"""Splits a choice may be made on. Nothing is ever fitted on the openings themselves, so those of the train split are
as unseen as the validation ones; those of the test split are refused."""


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
    judge: str = "emotion",
    budget: float = BUDGET,
    table: pd.DataFrame | None = None,
) -> Choice:
    """The strongest fluent condition for an emotion.

    A ratio measured on a few openings is uncertain by a tenth or two; picking the strongest of many conditions whose
    *estimate* lies within the budget picks those whose cost was underestimated. So the whole 95 % interval must lie
    within it.

    Args:
        scored: a scored sweep (:func:`score_sweep`) on openings of :data:`CHOOSING`.
        emotion: which.
        judge: the evaluator whose probabilities decide.
        budget: largest perplexity ratio.
        table: :func:`condition_table` of the sweep where it is there already.

    Raises:
        EmotionCircuitsError: the sweep holds rows of another split, or no condition for the emotion.
    """
    figures = _figures(scored, table, judge)
    ordered = _candidates(figures, emotion, budget).sort_values(
        ["within_budget", "p", "ratio"], ascending=[False, False, True], kind="stable"
    )
    best = ordered.iloc[0]
    name = str(best["condition"]) if bool(best["within_budget"]) else None
    return Choice(emotion, name, OBJECTIVE.format(budget=budget), ordered.reset_index(drop=True))


def choose_together(
    scored: pd.DataFrame,
    emotions: Sequence[str],
    *,
    judge: str = "emotion",
    budget: float = BUDGET,
    slack: float = 1.0,
    table: pd.DataFrame | None = None,
) -> list[Choice]:
    """As few places and strengths as the figures allow, so that emotions share their random directions.

    An emotion may take any condition within its budget whose mean probability is at most so many standard errors below
    its best one's; with one, these cannot be told apart on the openings there are. The place that most emotions may
    take is given to them (of equals, the one with the largest sum of probabilities), and so on with the emotions that
    are left.

    Args:
        scored: as for :func:`choose_condition`.
        emotions: which.
        judge: as for :func:`choose_condition`.
        budget: largest perplexity ratio.
        slack: standard errors; infinity lets an emotion take whatever is within the budget, so that all share one
            place if there is one.
        table: :func:`condition_table` of the sweep where it is there already.

    Raises:
        EmotionCircuitsError: as :func:`choose_condition`.
    """
    figures = _figures(scored, table, judge)
    single = {emotion: choose_condition(scored, emotion, budget=budget, table=figures) for emotion in emotions}
    open_to = []
    for choice in single.values():
        fits = choice.table[choice.table["within_budget"]]
        if len(fits):
            best = fits.iloc[0]
            open_to.append(fits[fits["p"] >= best["p"] - slack * max(best["p_se"], 1e-12)])
    if not open_to:
        return list(single.values())
    rows = pd.concat(open_to, ignore_index=True)
    place = [column for column in ("layers", "alpha", "how") if column in rows]
    which = "of these" if np.isinf(slack) else f"of conditions within {slack:g} standard errors of the best"
    rule = f"{OBJECTIVE.format(budget=budget)}; {which}, one shared by most"
    found = dict(single)
    while len(rows):
        groups = rows.groupby(place, sort=False).agg(emotions=("emotion", "nunique"), p=("p", "sum")).reset_index()
        best_place = groups.sort_values(["emotions", "p"], ascending=False, kind="stable").iloc[0][place]
        taken = rows[(rows[place] == best_place).all(axis=1)]
        for row in taken.to_dict("records"):
            emotion = str(row["emotion"])
            found[emotion] = Choice(emotion, str(row["condition"]), rule, single[emotion].table)
        rows = rows[~rows["emotion"].isin(taken["emotion"])]
    return list(found.values())


def _figures(scored: pd.DataFrame, table: pd.DataFrame | None, judge: str) -> pd.DataFrame:
    found = sorted(set(scored["split"]) - set(CHOOSING))
    if found:
        raise EmotionCircuitsError(
            f"the choice is made on the splits {' and '.join(CHOOSING)}, but the sweep holds rows of: "
            f"{', '.join(found)}"
        )
    return condition_table(scored, judge=judge) if table is None else table


def _candidates(figures: pd.DataFrame, emotion: str, budget: float) -> pd.DataFrame:
    rows = figures[(figures["kind"] == "emotion") & (figures["emotion"] == emotion)]
    if rows.empty:
        raise EmotionCircuitsError(f"the sweep holds no condition that steers towards {emotion!r}")
    return rows.assign(within_budget=(rows["ratio_high"] <= budget) & (rows["repetition_gain"] < REPEATS))


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
