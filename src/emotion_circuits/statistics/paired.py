"""Treated against control on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.effects import cohens_dz, wrong_way_share
from emotion_circuits.statistics.intervals import ends_of_means, fractions
from emotion_circuits.statistics.permutation import Alternative, permutation_ps
from emotion_circuits.statistics.resampling import cluster_means, finite_matrix

__all__ = ["PairedDifference", "paired_difference", "paired_differences"]


class PairedDifference(NamedTuple):
    """Treated minus control over prompts.

    Attributes:
        estimate: mean difference, in the unit of the values.
        low: lower end of its interval (:mod:`emotion_circuits.statistics.intervals`).
        high: upper end.
        p: sign-flip permutation p-value.
        dz: standardised effect (:func:`cohens_dz`).
        wrong_way: share of prompts that move against the intended direction.
        n: number of prompts.
        treated: mean of the treated arm.
        control: mean of the control arm.
    """

    estimate: float
    low: float
    high: float
    p: float
    dz: float
    wrong_way: float
    n: int
    treated: float
    control: float


def paired_differences(
    treated: ArrayLike,
    control: ArrayLike,
    *,
    clusters: Sequence[object] | None = None,
    direction: int = 1,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[PairedDifference]:
    """One :class:`PairedDifference` per condition.

    Args:
        treated: ``[row]`` or ``[row, condition]``.
        control: the same rows' control values; one column is compared with every condition.
        clusters: the prompt of each row; rows of one prompt are averaged first.
        direction: +1 where an increase is intended, -1 where a decrease is.
        alternative: of the permutation test.
        confidence: coverage of the interval.
        resamples: of the permutation test.
        seed: of the permutation test; every condition sees the same draws.

    Raises:
        EmotionCircuitsError: the arms have different rows, or a value is not finite.
    """
    a, b = finite_matrix(treated, "treated"), finite_matrix(control, "control")
    if len(a) != len(b) or b.shape[1] not in (1, a.shape[1]):
        raise EmotionCircuitsError(
            f"treated is {list(a.shape)}, control {list(b.shape)}: both arms need the same rows, paired by prompt"
        )
    a, _ = cluster_means(a, clusters)
    b, _ = cluster_means(np.broadcast_to(b, (len(b), a.shape[1])), clusters)
    differences = a - b
    both = np.concatenate([a, b])
    shares = fractions(both) & (both >= 0).all(axis=0)
    low, high = ends_of_means(differences, confidence=confidence, differences=shares, scale=np.ptp(both, axis=0))
    ps = permutation_ps(differences, resamples=resamples, alternative=alternative, seed=seed + 1)
    return [
        PairedDifference(
            float(differences[:, i].mean()),
            float(low[i]),
            float(high[i]),
            float(ps[i]),
            cohens_dz(differences[:, i]),
            wrong_way_share(differences[:, i], direction=direction),
            len(differences),
            float(a[:, i].mean()),
            float(b[:, i].mean()),
        )
        for i in range(differences.shape[1])
    ]


def paired_difference(
    treated: ArrayLike,
    control: ArrayLike,
    *,
    clusters: Sequence[object] | None = None,
    direction: int = 1,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """As :func:`paired_differences` for one condition.

    Args:
        treated: value per prompt, or per row where ``clusters`` are given.
        control: values of the same rows without the treatment.
        clusters: prompt or group of each row; the unit that is resampled. By default every row is one.
        direction: +1 or −1: which way the treatment should move the value; counts what moves the wrong way.
        alternative: ``two-sided``, ``greater`` or ``less``, of the p-value.
        confidence: of the interval.
        resamples: of the permutation test.
        seed: of the permutation test.

    Example:
        >>> paired_difference([2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0]).estimate
        1.0
    """
    found = paired_differences(
        treated,
        control,
        clusters=clusters,
        direction=direction,
        alternative=alternative,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    if len(found) != 1:
        raise EmotionCircuitsError("paired_difference compares two arms; for more conditions, paired_differences")
    return found[0]
