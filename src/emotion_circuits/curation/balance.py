"""Whether labels, lengths and punctuation are balanced, so that none of them gives the label away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_circuits.curation.surface import Accuracy, across_groups, length_only, punctuation, punctuation_only, words
from emotion_circuits.prompts.picking import evenly_by_group
from emotion_circuits.prompts.schema import Prompt

__all__ = ["SURFACE_BAR", "Balance", "balance", "surface_bar"]

SURFACE_BAR = 0.35
"""The most that punctuation alone or length alone may reach (chance with four labels is 0.25, with three 0.33)."""

# Fewer rows or groups than this cannot show a difference of a tenth.
_ENOUGH_ROWS, _ENOUGH_GROUPS = 100, 20
_READ_ROWS = 3000


def surface_bar(labels: Sequence[str]) -> float:
    """The bar for punctuation and length: 0.35, or a tenth above the commonest label's share where that alone is more.

    Args:
        labels: of every row.

    Example:
        >>> surface_bar(["a", "b", "c", "d"]), surface_bar(["a", "b"])
        (0.35, 0.6)
    """
    chance = max(Counter(labels).values()) / len(labels)
    return SURFACE_BAR if chance < SURFACE_BAR else chance + 0.1


class Balance(BaseModel):
    """Figures of a labelled corpus.

    Attributes:
        per_split: split → label → rows.
        length: label → mean and standard deviation of the number of words (characters in Japanese and Chinese).
        length_gap: largest difference of two labels' mean lengths, in pooled standard deviations.
        punctuation: mark → label → how often it stands in a text, on average.
        surface: punctuation alone and length alone across held-out groups; empty where the corpus is too small.
    """

    model_config = ConfigDict(frozen=True)

    per_split: dict[str, dict[str, int]]
    length: dict[str, tuple[float, float]]
    length_gap: float
    punctuation: dict[str, dict[str, float]]
    surface: tuple[Accuracy, ...]

    def problems(self) -> Iterator[tuple[Literal["error", "warning"], str, str]]:
        """``(severity, field, message)`` of every figure out of balance.

        An error only where a bar is stated and chance lies well below it: four labels or more.
        """
        for split, counts in self.per_split.items():
            if max(counts.values()) > 1.5 * min(counts.values()):
                figures = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
                yield "warning", "label", f"labels are unbalanced in {split}: {figures}"
        if self.length_gap > 0.5:
            figures = ", ".join(f"{label} {mean:.1f} ± {sd:.1f}" for label, (mean, sd) in self.length.items())
            gap = f" by {self.length_gap:.2f} standard deviations" if math.isfinite(self.length_gap) else ""
            yield "warning", "text", f"lengths differ{gap}: {figures}"
        for mark, per_text in self.punctuation.items():
            if max(per_text.values()) - min(per_text.values()) > 0.15:
                figures = ", ".join(f"{label} {count:.2f}" for label, count in per_text.items())
                yield "warning", "text", f"{mark!r} per text differs: {figures}"
        for figure in self.surface:
            if figure.bar is not None and figure.accuracy > figure.bar:
                severity: Literal["error", "warning"] = "error" if figure.chance < 0.3 else "warning"
                low, high = figure.interval
                message = (
                    f"{figure.name} tells the label in {figure.accuracy:.3f} [{low:.3f}, {high:.3f}] of the rows of "
                    f"held-out groups; the bar is {figure.bar:.2f}, chance {figure.chance:.3f}"
                )
                yield severity, "text", message


def balance(rows: Sequence[Prompt]) -> Balance | None:
    """Measure the balance of a corpus; ``None`` where it has fewer than two labels."""
    labels = sorted({row.label for row in rows})
    if len(labels) < 2:
        return None
    splits = Counter((row.split, row.label) for row in rows)
    sizes = {label: [len(words(r.text, r.language)) for r in rows if r.label == label] for label in labels}
    spread = float(np.sqrt(np.mean([np.var(values) for values in sizes.values()])))
    means = {label: float(np.mean(values)) for label, values in sizes.items()}
    gap = max(means.values()) - min(means.values())
    marks = {label: Counter(m for r in rows if r.label == label for m in punctuation(r.text)) for label in labels}
    per_text = {
        mark: {label: marks[label][mark] / len(sizes[label]) for label in labels}
        for mark in sorted(set().union(*marks.values()))
    }
    return Balance(
        per_split={
            split: {label: splits[split, label] for label in labels}
            for split in ("train", "validation", "test")
            if any(splits[split, label] for label in labels)
        },
        length={label: (means[label], float(np.std(sizes[label]))) for label in labels},
        length_gap=gap / spread if spread else (0.0 if gap == 0 else float("inf")),
        punctuation=per_text,
        surface=_surface(rows),
    )


def _surface(rows: Sequence[Prompt]) -> tuple[Accuracy, ...]:
    if len(rows) < _ENOUGH_ROWS or len({row.group for row in rows}) < _ENOUGH_GROUPS:
        return ()
    # Whole groups, evenly over the corpus: more rows would not tell more, and thirty classifiers are fitted.
    groups = len({row.group for row in rows})
    rows = (
        evenly_by_group(rows, max(_ENOUGH_GROUPS, groups * _READ_ROWS // len(rows))) if len(rows) > _READ_ROWS else rows
    )
    bar = surface_bar([row.label for row in rows])
    language = rows[0].language
    return (
        across_groups("punctuation alone", punctuation_only, rows, bar=bar),
        across_groups("length alone", lambda: length_only(language), rows, bar=bar),
    )
