"""What words alone carry over to another model: features of texts mapped as states are, judged on the same sentences.

Any model lets words through, one with random weights too: what tells two texts apart in it tells them apart in another, and a
map of neutral sentences carries that over. So mapped directions are held against directions of word features that went the same
way: **n-grams** (tf-idf of words and of characters, on their leading axes) and **static embeddings** (the means of both
models' embedding layers), each with its own map, fitted by the same method on the same neutral sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.decomposition import TruncatedSVD
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from emotion_circuits.directions.baseline import NGRAM_FEATURES, NGRAMS, STATIC
from emotion_circuits.directions.correspondence import mean_auroc, mean_auroc_draws

__all__ = ["carried_words"]

_AXES = 256
"""Leading axes of n-grams: more than neutral training sentences can tell apart would only slow the map."""
_FEATURES = ("words", "words 1-2 and characters 2-5")


def carried_words(
    texts: Sequence[str],
    train: Tensor,
    scored: Callable[[Float[Tensor, "row feature"]], Float[Tensor, "test label"]],
    mapped: Float[Tensor, "test label"],
    truth: Tensor,
    groups: Tensor,
    *,
    static: Mapping[str, Float[Tensor, "row d"]],
    draws: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """How well directions of words do what mapped directions of states do, and by how much those are ahead.

    Args:
        texts: of all rows.
        train: which of them features are learned on (boolean).
        scored: from features of all rows to the test rows' scores along the features' mapped directions.
        mapped: the same scores of the states' mapped directions.
        truth: place of the label of each test row.
        groups: number of the group of each test row.
        static: static embeddings of all rows by the name of their model; without any, n-grams stand alone.
        draws: of the bootstrap over groups.
        seed: of the axes and the bootstrap.

    Returns:
        One row per feature set: ``family, features, auroc``, and ``difference`` (the states' minus theirs) with its 95 % interval
        ``difference_low, difference_high``.
    """
    rows = []
    features = [
        *((NGRAMS, name, _ngrams(texts, train, name, seed)) for name in _FEATURES),
        *((STATIC, name, values) for name, values in static.items()),
    ]
    reached, drawn = mean_auroc(mapped, truth), mean_auroc_draws(mapped, truth, groups, draws=draws, seed=seed)
    for family, name, values in features:
        scores = scored(values.double())
        apart = drawn - mean_auroc_draws(scores, truth, groups, draws=draws, seed=seed)
        low, high = np.nanquantile(apart, [0.025, 0.975])
        auroc = mean_auroc(scores, truth)
        rows.append(
            {
                "family": family, "features": name, "auroc": auroc, "difference": reached - auroc,
                "difference_low": float(low), "difference_high": float(high),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _ngrams(texts: Sequence[str], train: Tensor, name: str, seed: int) -> Tensor:
    fitted = NGRAM_FEATURES[name]()
    learned = fitted.fit_transform([t for t, inside in zip(texts, train.tolist(), strict=True) if inside])
    with threadpool_limits(1):
        axes = TruncatedSVD(min(_AXES, *(n - 1 for n in learned.shape)), random_state=seed).fit(learned)
        found: np.ndarray = axes.transform(fitted.transform(list(texts)))
    return torch.tensor(found)
