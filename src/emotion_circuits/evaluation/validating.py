"""Accuracy, confusion and calibration of an evaluator on labelled held-out text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import CalibrationBin, Evaluator, Validation
from emotion_circuits.prompts import Attribute, Prompt, load_prompts
from emotion_circuits.prompts.attribute_parts import Labelled
from emotion_circuits.statistics import bootstrap_mean_interval

__all__ = [
    "WRITTEN",
    "calibration",
    "labelled_text",
    "validate",
    "validate_on_bundled",
    "validate_together",
]

WRITTEN = ("continuations-labelled-2", "continuations-labelled", "languages/ja/continuations-labelled")
"""Continuations that models wrote, steered, prompted and neither; the judge of such texts is to be judged on them. The
first comes from more writers; it and the Japanese ones were labelled twice."""

_OTHER_AXES: dict[str, Labelled] = {
    "politeness": Labelled(
        sets=("attributes/politeness",), labels={"positive": "polite", "negative": "impolite", "neutral": "neutral"}
    ),
}
"""Labelled text for evaluators whose axis is their own."""


def labelled_text(axis: str, attribute: Attribute) -> Labelled | None:
    """Labelled text for judges of an axis, and what its labels are called on the axis; ``None`` where there is none.

    Args:
        axis: of an evaluator.
        attribute: whose texts are judged.
    """
    return attribute.labelled(axis) or _OTHER_AXES.get(axis)


def calibration(
    probabilities: np.ndarray, labels: Sequence[str], truth: Sequence[str], bins: int = 10
) -> tuple[float, tuple[CalibrationBin, ...]]:
    """Expected calibration error and reliability table of the top probability.

    Args:
        probabilities: ``[text, label]``.
        labels: the columns' labels.
        truth: true label of each text.
        bins: equal bins of [0, 1].
    """
    top = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(top)), top]
    right = np.array([labels[t] == true for t, true in zip(top, truth, strict=True)], dtype=float)
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    table = []
    error = 0.0
    for b in range(bins):
        inside = place == b
        if not inside.any():
            continue
        c, a = float(confidence[inside].mean()), float(right[inside].mean())
        error += float(inside.mean()) * abs(c - a)
        table.append(CalibrationBin(low=b / bins, high=(b + 1) / bins, n=int(inside.sum()), confidence=c, accuracy=a))
    return error, tuple(table)


def validate(
    evaluator: Evaluator,
    prompts: Sequence[Prompt],
    *,
    labels: Mapping[str, str] | None = None,
    data: str = "",
    split: str = "",
    seed: int = 0,
) -> Validation:
    """Judge labelled texts and compare.

    Args:
        evaluator: the evaluator.
        prompts: labelled texts it was not fitted on.
        labels: label of a text → label the evaluator should give; labels left out are excluded (and named in the
            result). Default: the evaluator's labels are the texts'.
        data: name of the set, for the record.
        split: name of the split, for the record.
        seed: of the bootstrap.

    Raises:
        EmotionCircuitsError: no text is left, or the evaluator never gives any of the expected labels' names.
    """
    mapping = dict(labels) if labels is not None else {p.label: p.label for p in prompts}
    kept = [p for p in prompts if p.label in mapping]
    excluded = tuple(sorted({p.label for p in prompts} - set(mapping)))
    if len(kept) < 2:
        raise EmotionCircuitsError(
            f"evaluator {evaluator.name}: no labelled text to validate on in {data or 'the set'}"
        )
    truth = [mapping[p.label] for p in kept]
    scores = evaluator.score([p.text for p in kept])
    judged = evaluator.decide(scores)
    if not set(judged) & set(truth):
        raise EmotionCircuitsError(
            f"evaluator {evaluator.name} answers {sorted(set(judged))}, the texts are labelled {sorted(set(truth))}: "
            "their label names do not match; give a label map"
        )
    right = np.array([a == b for a, b in zip(judged, truth, strict=True)], dtype=float)
    interval = bootstrap_mean_interval(right, clusters=[p.group for p in kept], resamples=2000, seed=seed)
    table = pd.crosstab(pd.Series(truth), pd.Series(judged))
    names = sorted(set(truth))
    error: float | None = None
    bins: tuple[CalibrationBin, ...] = ()
    if all(f"p_{name}" in scores for name in names):
        all_names = [c.removeprefix("p_") for c in scores.columns if c.startswith("p_")]
        probabilities = scores[[f"p_{n}" for n in all_names]].to_numpy(dtype=float)
        # Calibration is a statement about one distribution over labels; independent sigmoids have none.
        if np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
            error, bins = calibration(probabilities, all_names, truth)
    return Validation(
        evaluator=evaluator.name,
        version=evaluator.version,
        axis=evaluator.axis,
        data=data,
        split=split,
        n=len(kept),
        accuracy=float(right.mean()),
        interval=(interval.low, interval.high),
        majority=max(truth.count(name) for name in names) / len(truth),
        recall={name: float(right[[t == name for t in truth]].mean()) for name in names},
        confusion={str(a): {str(b): int(table.loc[a, b]) for b in table.columns} for a in table.index},
        calibration_error=error,
        bins=bins,
        excluded=excluded,
    )


def validate_on_bundled(
    evaluator: Evaluator, attribute: Attribute, *, split: str = "test", seed: int = 0
) -> list[Validation]:
    """One :class:`Validation` per labelled set of the evaluator's axis that has texts in the held-out split.

    Args:
        evaluator: the evaluator.
        attribute: whose labelled texts.
        split: of the texts.
        seed: of the bootstrap.

    Raises:
        EmotionCircuitsError: no set is labelled along this axis.
    """
    found = _labelled(evaluator, attribute)
    texts = {name: load_prompts(name, split=split) for name in found.sets}
    return [
        validate(evaluator, rows, labels=found.labels, data=name, split=split, seed=seed)
        for name, rows in texts.items()
        if rows
    ]


def validate_together(evaluator: Evaluator, attribute: Attribute, *, split: str = "test", seed: int = 0) -> Validation:
    """One :class:`Validation` over all labelled sets of the evaluator's axis; as :func:`validate_on_bundled`.

    Raises:
        EmotionCircuitsError: no set is labelled along this axis.
    """
    found = _labelled(evaluator, attribute)
    rows = load_prompts(found.sets, split=split)
    return validate(evaluator, rows, labels=found.labels, data=" + ".join(found.sets), split=split, seed=seed)


def _labelled(evaluator: Evaluator, attribute: Attribute) -> Labelled:
    found = labelled_text(evaluator.axis, attribute)
    if found is None:
        raise EmotionCircuitsError(
            f"evaluator {evaluator.name}: no bundled set is labelled for {evaluator.axis}; pass your own with --data, or name "
            f"some in the attribute's file (validation: {{{evaluator.axis}: …}})"
        )
    return found


def validate_sentiment(evaluator: Evaluator, attribute: Attribute, *, split: str = "test", seed: int = 0) -> Validation:
    """:func:`validate_together` for a sentiment evaluator."""
    if evaluator.axis != "sentiment":
        raise EmotionCircuitsError(f"evaluator {evaluator.name} judges {evaluator.axis}, not sentiment")
    return validate_together(evaluator, attribute, split=split, seed=seed)
