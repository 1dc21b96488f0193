"""A null that goes through the same selection as what it is held against.

The parts of a claim are the ones that stand out among hundreds on validation sentences. Held against what a *given* part does
along a direction of shuffled labels, the largest of many is called special far more often than the level says. So every null
direction chooses its own parts, by the same rule, on the same validation sentences, and is read where it chose, on the same
test sentences. A direction that was itself fitted on shuffled labels cannot be told from its nulls: each of the ``draws + 1``
is as likely as any other to stand in any place, and

    p of rank r = (1 + number of nulls whose r-th part stands out at least as far) / (1 + draws)

is at most α with probability at most α, whatever the parts' spread and however they depend on each other (Phipson & Smyth
2010; Westfall & Young 1993 for the idea of resampling the selection with the test).

Rank by rank rather than by the largest of all: the first part of a direction that means something would otherwise be the bar
for its second and third, and each rank's p is exact by itself. That several are asked is what the false discovery rate over
values and ranks is for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["Asked", "Selected", "marked", "through_selection"]


@dataclass(frozen=True, eq=False)
class Asked:
    """One question's answer on the sentences of one split.

    Attributes:
        table: one row per part, of the real direction.
        by_group: ``[direction, group, part]`` how far each part stands out in each group, in the table's unit; entry 0 is the
            real direction, the others are nulls.
    """

    table: pd.DataFrame
    by_group: Float[np.ndarray, "direction group part"]

    @property
    def figures(self) -> Float[np.ndarray, "direction part"]:
        """Means over groups; entry 0 is the table's ``difference``."""
        means: Float[np.ndarray, "direction part"] = self.by_group.mean(axis=1)
        return means


@dataclass(frozen=True, eq=False)
class Selected:
    """The parts a direction chose on validation, read on test, beside those its nulls chose.

    Attributes:
        parts: ``[rank]`` index of the part chosen first, second …
        null: ``[draw, rank]`` test figure of each null's own part of that rank.
        p: ``[rank]`` see the module.
    """

    parts: Int[np.ndarray, " rank"]
    null: Float[np.ndarray, "draw rank"]
    p: Float[np.ndarray, " rank"]

    def ends(self) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, " rank"]]:
        """Where the middle 95 % of the nulls' figures lie, rank by rank."""
        low, high = np.quantile(self.null, [0.025, 0.975], axis=0)
        return low, high


def through_selection(
    validation: Float[np.ndarray, "direction part"],
    test: Float[np.ndarray, "direction part"],
    *,
    top: int,
    two_sided: bool,
) -> Selected:
    """Let every direction choose its parts on validation and be read on test.

    Args:
        validation: figures on validation sentences; row 0 the real direction, the rest nulls.
        test: the same on test sentences.
        top: how many parts are chosen; at most all of them.
        two_sided: chosen by size rather than by value. What counts on test is then the figure towards the side it had on
            validation: a part that changes sides confirms nothing.

    Raises:
        EmotionCircuitsError: no null, different shapes, or figures that are not finite.

    Example:
        >>> real, null = [0.0, 3.0], [2.0, 0.0]
        >>> found = through_selection(np.array([real, null]), np.array([real, null]), top=1, two_sided=False)
        >>> found.parts.tolist(), found.p.tolist()
        ([1], [0.5])
    """
    validation, test = np.asarray(validation, dtype=np.float64), np.asarray(test, dtype=np.float64)
    if validation.ndim != 2 or validation.shape != test.shape or len(validation) < 2 or not validation.shape[1]:
        raise EmotionCircuitsError(
            f"a selection needs figures [direction, part] of one real direction and at least one null on either split, got "
            f"{list(validation.shape)} and {list(test.shape)}"
        )
    if not (np.isfinite(validation).all() and np.isfinite(test).all()):
        raise EmotionCircuitsError("a selection needs finite figures; load the model with dtype='float32'")
    size = np.abs(validation) if two_sided else validation
    order = np.argsort(-size, axis=1, kind="stable")[:, :top]
    read = np.take_along_axis(test, order, axis=1)
    towards = read * np.sign(np.take_along_axis(validation, order, axis=1)) if two_sided else read
    # A null that ties with the real one up to rounding counts as reaching it.
    slack = 1e-9 * np.abs(towards[0])
    p = (1 + (towards[1:] >= towards[0] - slack).sum(axis=0)) / len(towards)
    return Selected(order[0], read[1:], p)


def marked(asked: Asked, selected: Selected, *, test: bool) -> pd.DataFrame:
    """The table with what was chosen, in columns of their own.

    Returns:
        The table and ``rank`` (place among the parts chosen on validation; 0: not chosen), ``selected_p``, ``selected_low``,
        ``selected_high`` (NaN where nothing was chosen, and on validation), ``draws``.
    """
    rank = np.zeros(len(asked.table), dtype=np.int64)
    rank[selected.parts] = np.arange(1, len(selected.parts) + 1)
    columns = dict(zip(("selected_p", "selected_low", "selected_high"), (selected.p, *selected.ends()), strict=True))
    table = asked.table.assign(rank=rank, **dict.fromkeys(columns, np.nan), draws=len(selected.null))
    if test:
        for name, values in columns.items():
            table.loc[table.index[selected.parts], name] = values
    return table
