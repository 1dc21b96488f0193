"""Shares of texts corrected by prediction-powered inference: all texts judged by a machine, some of them labelled by a person.

A judge that is right on four texts in five gives a share that may be off by as much. Labels of a random sample of the same texts
tell by how much, and the judge's answers on all of them make the estimate more precise than the sample alone would be. Which of
both weighs how much follows from the data, so that a judge at chance does no harm (Angelopoulos et al. 2023, *Prediction-powered
inference*, Science 382; Angelopoulos, Duchi & Zrnic 2023, *PPI++*).

The point estimate is that of ``ppi_py.ppi_mean_pointestimate``. Its normal interval covers 78 to 91 % of shares of a tenth or
less at 40 labels; here the estimate's variance makes an effective number of texts (Korn & Graubard 1998), and the interval is
Wilson's with that number (Dean & Pagano 2015).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["CorrectedShare", "corrected_share"]


class CorrectedShare(NamedTuple):
    """A share of texts.

    Attributes:
        raw: what the judge says, over all texts.
        estimate: corrected.
        low: lower end of its interval.
        high: upper end.
        n: texts, or openings where several texts on one are averaged.
        labelled: of these, how many a person labelled.
        weight: how much the judge's answers count, from 0 (the labels alone) to 1.
    """

    raw: float
    estimate: float
    low: float
    high: float
    n: int
    labelled: int
    weight: float


def corrected_share(judged: ArrayLike, labels: ArrayLike, *, confidence: float = 0.95) -> CorrectedShare:
    """The share of texts that are of a kind, from a judge's answers on all and a person's on a random sample.

    Args:
        judged: ``[unit]`` 1 where the judge calls the text so, else 0; a mean where a unit is several texts on one opening.
        labels: ``[unit]`` the same by a person who did not know the arm; NaN where the unit was not labelled. Which ones are
            labelled must be drawn at random.
        confidence: of the interval.

    Raises:
        EmotionCircuitsError: other lengths, values outside [0, 1], fewer than 8 labelled units.

    Example:
        >>> import numpy as np
        >>> judged = np.array([1] * 60 + [0] * 40)
        >>> labels = np.full(100, np.nan)
        >>> labels[::4] = judged[::4]
        >>> labels[0] = 0  # the judge was wrong once
        >>> found = corrected_share(judged, labels)
        >>> found.raw, round(found.estimate, 2), round(found.low, 2), round(found.high, 2), found.labelled
        (0.6, 0.56, 0.44, 0.67, 25)
    """
    from scipy.stats import norm

    called, known = np.asarray(judged, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    _check(called, known, confidence)
    seen = ~np.isnan(known)
    y, f, rest = known[seen], called[seen], called[~seen]
    estimate, variance, weight = _rectified(y, f, rest)
    # Few errors of either kind may put the estimate a little outside.
    share = min(max(estimate, 0.0), 1.0)
    texts = len(y) if variance <= 0 or share in (0.0, 1.0) else min(share * (1 - share) / variance, len(called))
    z = float(norm.ppf((1 + confidence) / 2))
    centre = (share + z**2 / (2 * texts)) / (1 + z**2 / texts)
    half = z / (1 + z**2 / texts) * np.sqrt(share * (1 - share) / texts + z**2 / (4 * texts**2))
    return CorrectedShare(
        raw=float(called.mean()),
        estimate=share,
        low=float(max(0.0, centre - half)),
        high=float(min(1.0, centre + half)),
        n=len(called),
        labelled=len(y),
        weight=weight,
    )


def _check(called: Float[np.ndarray, " unit"], known: Float[np.ndarray, " unit"], confidence: float) -> None:
    if called.shape != known.shape or called.ndim != 1:
        raise EmotionCircuitsError(
            f"corrected_share: judged is {list(called.shape)}, labels {list(known.shape)}: one value per text, in both"
        )
    for name, values in (("judged", called), ("labels", known[~np.isnan(known)])):
        if not ((values >= 0) & (values <= 1)).all():
            raise EmotionCircuitsError(f"corrected_share: {name} holds values that are no share between 0 and 1")
    if (~np.isnan(known)).sum() < MINIMUM_LABELS:
        raise EmotionCircuitsError(
            f"corrected_share: {int((~np.isnan(known)).sum())} labelled texts, at least {MINIMUM_LABELS} are needed"
        )
    if not 0 < confidence < 1:
        raise EmotionCircuitsError(f"confidence must lie between 0 and 1, got {confidence}")


MINIMUM_LABELS = 8
"""Fewer labelled texts of an arm correct nothing."""


def _rectified(
    y: Float[np.ndarray, " labelled"], f: Float[np.ndarray, " labelled"], rest: Float[np.ndarray, " unlabelled"]
) -> tuple[float, float, float]:
    """Estimate, its variance, and the judge's weight.

    Args:
        y: labels.
        f: the judge on the labelled texts.
        rest: the judge on the others; none where all are labelled.
    """
    n, others = len(y), len(rest)
    if not others:
        return float(y.mean()), float(y.var(ddof=1) / n), 0.0
    spread = np.concatenate([f, rest]).var(ddof=1)
    together = float(((y - y.mean()) * (f - f.mean())).mean())
    weight = 0.0 if spread == 0 else float(np.clip(together / ((1 + n / others) * spread), 0.0, 1.0))
    estimate = weight * rest.mean() + (y - weight * f).mean()
    variance = weight**2 * (rest.var(ddof=1) if others > 1 else 0.0) / others + (y - weight * f).var(ddof=1) / n
    return float(estimate), float(variance), weight
