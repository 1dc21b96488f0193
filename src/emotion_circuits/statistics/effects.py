"""Effect sizes of paired and independent comparisons."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.resampling import finite_matrix

__all__ = ["cohens_dz", "wrong_way_share"]


def cohens_dz(differences: ArrayLike) -> float:
    """Mean of paired differences over their standard deviation (Cohen 1988; Lakens 2013, ``d_z``).

    ``inf`` (with the sign of the mean) where all differences are the same and not 0; 0 where all are 0.

    Args:
        differences: ``[unit]``, one per prompt.
    """
    d = finite_matrix(differences, "cohens_dz")[:, 0]
    if len(d) < 2:
        raise EmotionCircuitsError("an effect size needs at least 2 prompts")
    mean, spread = float(d.mean()), float(d.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return float(np.copysign(np.inf, mean)) if mean else 0.0
    return mean / spread


def wrong_way_share(differences: ArrayLike, *, direction: int = 1) -> float:
    """Share of prompts that move against the intended direction (unmoved ones do not count as wrong).

    Args:
        differences: ``[unit]``, treated minus control per prompt.
        direction: +1 where an increase is intended, -1 where a decrease is.
    """
    if direction not in (1, -1):
        raise EmotionCircuitsError(f"direction must be 1 or -1, got {direction}")
    return float((finite_matrix(differences, "wrong_way_share")[:, 0] * direction < 0).mean())
