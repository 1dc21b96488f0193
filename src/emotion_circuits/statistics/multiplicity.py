"""One declared family per false-discovery correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.multitest import multipletests

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["Family", "fdr"]


@dataclass(frozen=True)
class Family:
    """A declared family of tests, corrected together.

    Attributes:
        name: what the family is, e.g. ``"steering on test: 3 emotions x 2 evaluators"``.
        method: statsmodels' name of the correction.
        p: p-value by test.
        q: corrected value by test, in the same order.
    """

    name: str
    method: str
    p: dict[str, float]
    q: dict[str, float]


def fdr(
    p_values: Mapping[str, float] | Sequence[float],
    *,
    family: str,
    method: str = "fdr_bh",
) -> Family:
    """Benjamini–Hochberg q-values (statsmodels) of one family.

    Args:
        p_values: by test, or a sequence (tests are then named by their index).
        family: the declared name of the family.
        method: ``fdr_bh``; ``fdr_by`` under arbitrary dependence; or another of statsmodels' ``multipletests``.

    Raises:
        EmotionCircuitsError: no test, no family name, or a p-value outside [0, 1].

    Example:
        >>> fdr({"a": 0.01, "b": 0.04}, family="two").q
        {'a': 0.02, 'b': 0.04}
    """
    named = dict(p_values) if isinstance(p_values, Mapping) else {str(i): p for i, p in enumerate(p_values)}
    if not family.strip():
        raise EmotionCircuitsError("fdr: name the family of tests that is corrected together")
    if not named:
        raise EmotionCircuitsError(f"fdr: the family {family!r} holds no test")
    for test, p in named.items():
        if not 0 <= p <= 1:
            raise EmotionCircuitsError(f"fdr: family {family!r}: the p-value of {test!r} is {p}")
    values = np.array(list(named.values()), dtype=np.float64)
    corrected = multipletests(values, method=method)[1]
    return Family(
        family,
        method,
        {test: float(p) for test, p in named.items()},
        {test: float(q) for test, q in zip(named, corrected, strict=True)},
    )
