"""How far two people who labelled the same texts agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.loading import corpora_dir, load_prompts
from emotion_circuits.prompts.tables import read_table
from emotion_circuits.statistics import resample_counts

__all__ = ["Agreement", "agreement", "agreement_of_set", "labelled_twice"]

_DRAWS = 2000
LABELS = "labels"
"""Folder of the bundled corpora in which ``SET.csv`` keeps both people's labels."""


class Agreement(BaseModel):
    """Agreement of two labellings.

    Attributes:
        texts: number of texts.
        same: how many got the same label twice.
        kappa: kappa of Cohen (1960): agreement beyond what both people's shares of labels would give by chance.
        interval: 95 %, by resampling groups of texts.
        each: label → how many texts the first and the second person, and both of them, gave it.
    """

    model_config = ConfigDict(frozen=True)

    texts: int
    same: int
    kappa: float
    interval: tuple[float, float]
    each: dict[str, tuple[int, int, int]]


def agreement(first: Sequence[str], second: Sequence[str], groups: Sequence[str], *, seed: int = 0) -> Agreement:
    """Agreement of two labellings of the same texts.

    Args:
        first: ``[text]`` labels of one person.
        second: ``[text]`` labels of another.
        groups: ``[text]`` what belongs together, the unit that is resampled.
        seed: of the resampling.

    Raises:
        EmotionCircuitsError: lengths differ, or no text.

    Example:
        >>> found = agreement(["a", "a", "b", "b"], ["a", "b", "b", "b"], ["1", "2", "3", "4"])
        >>> found.same, found.kappa
        (3, 0.5)
    """
    if not len(first) == len(second) == len(groups) or not len(first):
        raise EmotionCircuitsError(f"agreement: {len(first)} and {len(second)} labels of {len(groups)} texts")
    a, b = np.array(list(first), dtype=object), np.array(list(second), dtype=object)
    labels = sorted({*a, *b})
    names, place = np.unique(np.array(list(groups)), return_inverse=True)
    tables = np.zeros((len(names), len(labels), len(labels)))
    for group, one, other in zip(place, a, b, strict=True):
        tables[group, labels.index(one), labels.index(other)] += 1
    drawn = resample_counts(len(names), _DRAWS, seed)
    resampled = _kappa(np.einsum("dg,gij->dij", drawn, tables))
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Agreement(
        texts=len(a),
        same=int((a == b).sum()),
        kappa=float(_kappa(tables.sum(axis=0)[None])[0]),
        interval=(float(low), float(high)),
        each={x: (int((a == x).sum()), int((b == x).sum()), int(((a == x) & (b == x)).sum())) for x in labels},
    )


def _kappa(tables: Float[np.ndarray, "draw label label"]) -> Float[np.ndarray, " draw"]:
    """Cohen's kappa of contingency tables; NaN where one label throughout leaves no chance level to be beyond."""
    texts = tables.sum(axis=(1, 2))
    same = np.trace(tables, axis1=1, axis2=2) / texts
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / texts**2
    found: np.ndarray = np.where(chance < 1, (same - chance) / np.where(chance < 1, 1 - chance, 1), np.nan)
    return found


def labelled_twice() -> list[str]:
    """Bundled sets whose texts two people labelled."""
    folder = corpora_dir() / LABELS
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.csv"))


def agreement_of_set(name: str) -> Agreement:
    """Agreement on a bundled set.

    Args:
        name: one of :func:`labelled_twice`.

    Raises:
        EmotionCircuitsError: it was not labelled twice, or its file and the set do not hold the same texts.
    """
    path: Path = corpora_dir() / LABELS / f"{name}.csv"
    if not path.is_file():
        raise EmotionCircuitsError(
            f"{name} was not labelled twice; these were: {', '.join(labelled_twice()) or 'none'}"
        )
    rows = {row["id"]: row for _, row in read_table(path).rows}
    texts = load_prompts(name)
    if set(rows) != {text.id for text in texts}:
        raise EmotionCircuitsError(f"{path}: does not hold the labels of the texts of {name}")
    both = [rows[text.id] for text in texts]
    return agreement([r["first"] for r in both], [r["second"] for r in both], [text.group for text in texts])
