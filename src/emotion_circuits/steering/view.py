"""A sweep to look at: its texts side by side, and what a judge finds in them.

A sweep *is* a data frame, which a notebook already shows as one and whose ``plot`` belongs to pandas. So the frame stays what it
is, and whoever wants to read its texts puts this view around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.page.notebook import card, side_by_side
from emotion_circuits.statistics import bootstrap_mean_interval
from emotion_circuits.steering.scoring import aligned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["SweepView", "as_read"]

_NEEDED = ("condition", "kind", "emotion", "prompt_id", "prompt", "text")
_OF_NOTHING = ("random", "shuffled")
_SHOWN = 4
"""Conditions beside one another: more are too narrow to read."""


def as_read(table: pd.DataFrame) -> pd.Series:
    """Texts for a reader: where the length ended one, and not the model, it goes on.

    Example:
        >>> as_read(pd.DataFrame({"text": ["Thank", "Thanks."], "finished": [False, True]})).tolist()
        ['Thank …', 'Thanks.']
    """
    if "finished" not in table:
        return table["text"]
    return table["text"].where(table["finished"].astype(bool) | (table["text"] == ""), table["text"] + " …")


@dataclass(frozen=True, eq=False)
class SweepView:
    """A sweep's table as a notebook should show it: texts side by side; :meth:`plot` where a judge has read them.

    The table is kept as it is, in :attr:`table`; it may be any part of a sweep, e.g. one split's rows.

    Attributes:
        table: of :func:`emotion_circuits.steering.sweep`, or scored by :func:`emotion_circuits.steering.score_sweep`.
        judge: name of the evaluator whose labels are shown.
        base: the unsteered condition, which stands first.

    Raises:
        EmotionCircuitsError: a table without rows, or that lacks columns of a sweep.

    Example:
        >>> table = pd.DataFrame({
        ...     "condition": ["none", "joy α=0.2"], "kind": ["none", "emotion"], "emotion": ["", "joy"], "prompt_id": ["p", "p"],
        ...     "prompt": ["The door opened and"] * 2, "text": [" it was dark.", " they cheered!"],
        ... })
        >>> view = SweepView(table)
        >>> view
        SweepView(1 prompts x 2 conditions, 2 texts, not judged)
        >>> view.side_by_side().loc["The door opened and", "joy α=0.2"]
        ' they cheered!'
    """

    table: pd.DataFrame
    judge: str = "emotion"
    base: str = "none"

    def __post_init__(self) -> None:
        lacking = [name for name in _NEEDED if name not in self.table]
        if lacking:
            raise EmotionCircuitsError(
                f"SweepView: the table has no column {', '.join(lacking)}; give it what sweep or score_sweep returned"
            )
        if self.table.empty:
            raise EmotionCircuitsError("SweepView: the table has no rows")

    def __repr__(self) -> str:
        judged = f"judged by {self.judge!r}" if self._judged else "not judged"
        prompts = self.table["prompt_id"].nunique()
        return f"SweepView({prompts} prompts x {len(self.conditions)} conditions, {len(self.table)} texts, {judged})"

    def _repr_html_(self) -> str:
        shown = self.conditions[:_SHOWN]
        left = self.conditions[_SHOWN:]
        facts = {
            "prompts": self.table["prompt_id"].nunique(),
            "conditions": len(self.conditions),
            "texts": len(self.table),
            "below each text": f"what {self.judge!r} calls it" if self._judged else "",
            "not shown": ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""),
        }
        labels = self._wide(shown, self.table[f"{self.judge}_label"]) if self._judged else None
        return card("Sweep: first text of each prompt", facts, side_by_side(self.side_by_side(shown), labels))

    @property
    def conditions(self) -> list[str]:
        """Names of the arms as they are shown: the unsteered one, then in the table's order, directions of nothing last."""
        kinds = self.table.drop_duplicates("condition").set_index("condition")["kind"]
        return sorted(kinds.index, key=lambda name: (name != self.base, kinds[name] in _OF_NOTHING))

    def side_by_side(self, conditions: Sequence[str] | None = None) -> pd.DataFrame:
        """The first text of every prompt under each condition: one row per prompt, one column per condition.

        A text ends in ``…`` where its length ended it. Missing where a prompt was not written on under a condition.

        Args:
            conditions: names, in the order wanted; all of :attr:`conditions` by default.

        Raises:
            EmotionCircuitsError: no such condition.
        """
        names = self.conditions if conditions is None else list(conditions)
        unknown = [name for name in names if name not in self.conditions]
        if unknown:
            raise EmotionCircuitsError(
                f"the sweep holds no condition named {unknown[0]!r}; there are {', '.join(self.conditions)}"
            )
        return self._wide(names, as_read(self.table))

    def changes(self, *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
        """What each arm does to the judge's probability of its emotion, paired by prompt against :attr:`base`.

        Returns:
            A row per emotion and condition: ``emotion condition kind change low high n``; ``low high`` are the 95 % bootstrap
            interval over the ``n`` prompts that both were written on. Directions of nothing that belong to no emotion alone
            stand under every emotion.

        Args:
            resamples: of the bootstrap.
            seed: of the bootstrap.

        Raises:
            EmotionCircuitsError: the table is not scored for an emotion that was steered, or the base is not in it.
        """
        arms = self.table.drop_duplicates("condition").set_index("condition").loc[self.conditions]
        emotions = list(dict.fromkeys(e for e in arms["emotion"] if e))
        rows: list[dict[str, object]] = []
        for emotion in emotions:
            column = f"p_{emotion}"
            if column not in self.table:
                raise EmotionCircuitsError(
                    f"the sweep was not judged for {emotion!r} (no column {column!r}): score it first, "
                    "SweepView(score_sweep(table, [evaluator(…)]))"
                )
            shared = arms["kind"].isin(_OF_NOTHING) & (arms["emotion"] == "")
            for name, kind in arms[(arms["emotion"] == emotion) | shared]["kind"].items():
                treated, control = aligned(self.table, str(name), self.base, column)
                e = bootstrap_mean_interval(treated - control, resamples=resamples, seed=seed)
                figures = {"change": e.estimate, "low": e.low, "high": e.high, "n": len(treated)}
                rows.append({"emotion": emotion, "condition": name, "kind": kind, **figures})
        return pd.DataFrame(rows, columns=["emotion", "condition", "kind", "change", "low", "high", "n"])

    def shares(self) -> pd.DataFrame:
        """Share of each condition's texts that the judge gives each label: one row per condition, one column per label.

        Raises:
            EmotionCircuitsError: the table was not scored by that judge.
        """
        if not self._judged:
            raise EmotionCircuitsError(
                f"the sweep was not judged by {self.judge!r}: score it first, "
                f"SweepView(score_sweep(table, [evaluator({self.judge!r})]))"
            )
        found = pd.crosstab(self.table["condition"], self.table[f"{self.judge}_label"], normalize="index")
        return found.loc[self.conditions]

    def plot(self, kind: Literal["change", "labels"] = "change") -> Figure:
        """What a judge finds in the texts, condition by condition.

        Args:
            kind: ``change``: of the probability of each arm's emotion (:meth:`changes`), directions of nothing on one line below;
                ``labels``: share of texts by label (:meth:`shares`).

        Raises:
            EmotionCircuitsError: the table was not scored, holds no emotion to draw, or no such picture.
        """
        from emotion_circuits.steering.pictures import change_by_condition, labels_by_condition

        if kind == "labels":
            return labels_by_condition(self.shares())
        if kind != "change":
            raise EmotionCircuitsError(f"no picture {kind!r} of a sweep; there are change, labels")
        changes = self.changes()
        if changes.empty:
            raise EmotionCircuitsError("nothing in the sweep steers towards an emotion: plot(kind='labels')")
        return change_by_condition(changes)

    @property
    def _judged(self) -> bool:
        return f"{self.judge}_label" in self.table

    def _wide(self, names: Sequence[str], values: pd.Series) -> pd.DataFrame:
        rows = self.table[["prompt_id", "prompt", "condition"]].assign(value=values)
        rows = rows.drop_duplicates(["prompt_id", "condition"])  # of several samples the first
        openings = rows.drop_duplicates("prompt_id").set_index("prompt_id")["prompt"]
        wide = rows.pivot(index="prompt_id", columns="condition", values="value").reindex(
            index=openings.index, columns=list(names)
        )
        return wide.set_axis(pd.Index(openings, name="prompt"), axis=0)
