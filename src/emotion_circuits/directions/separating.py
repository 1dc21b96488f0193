"""How far apart a model keeps the labels of the same sentences, measured alike in models of any width.

The capacity of what reads is fixed: states are first brought onto the same number of principal axes, fitted on the reference's
training sentences, whatever the model's width. Directions are fitted on training sentences, the layer is chosen on validation
sentences, and figures are of test sentences that all models have.

What a model's words tell by themselves is no work of its layers: even a model that never learnt anything passes them on. So
models are compared by their **gain**: the AUROC at the chosen layer minus that at the first block's output. A difference between
two models is taken on scenes that are drawn together for both: what makes a scene hard, it makes hard for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from emotion_circuits.directions.evaluating import aurocs
from emotion_circuits.directions.labelled_states import LabelledStates, contrast_weights, rows_of_drawn_groups
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import holding, interval_p

__all__ = ["AXES", "Separation", "differences", "separations", "trend"]

AXES = 64
"""Principal axes at most; never more than a quarter of the reference's training sentences, nor than the narrowest model."""


@dataclass(frozen=True, eq=False)
class Separation:
    """One model's.

    Attributes:
        name: whose.
        layer: that was chosen.
        depth: of it, relative: 0 the first block's output, 1 the last one's.
        axes: principal axes it was read from.
        curve: per layer the AUROC on test sentences, mean over values.
        auroc: at the chosen layer.
        interval: its 95 % interval, over scenes.
        gain: the AUROC minus that at the first layer captured.
        gain_interval: its 95 % interval, over scenes.
        d_prime: distance of a value's mean score from the others', in pooled standard deviations, mean over values.
        ceiling: correlation of the scores of directions from disjoint halves of the training scenes, stepped up to whole ones
            (Spearman-Brown): what no figure of these sentences can be steadier than.
        drawn: the gain in every resample of scenes; the same resamples for all models.
    """

    name: str
    layer: int
    depth: float
    axes: int
    curve: Float[np.ndarray, " layer"]
    auroc: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    d_prime: float
    ceiling: float
    drawn: Float[np.ndarray, " resample"]


def separations(
    models: Sequence[LabelledStates], *, axes: int = AXES, resamples: int = 1000, seed: int = 0
) -> list[Separation]:
    """One per model, on the test sentences that all have.

    Args:
        models: captures of the same sentences.
        axes: principal axes at most.
        resamples: of the bootstrap over scenes.
        seed: of it.

    Raises:
        EmotionCircuitsError: models with other values, or fewer than 16 test sentences in common.
    """
    if len({(m.values, m.reference) for m in models}) > 1:
        raise EmotionCircuitsError("models are compared on the same values and reference")
    shared = set.intersection(*(set(m.ids[m.at("test")]) for m in models))
    if len(shared) < 16:
        raise EmotionCircuitsError(f"these captures share {len(shared)} test sentences; capture the same corpora")
    neutral = min(int((m.labels[m.at("train")] == m.reference).sum()) for m in models)
    if not any(m.reference for m in models):
        neutral = min(len(m.at("train")) for m in models)
    k = max(2, min(axes, neutral // 4, *(m.states.shape[-1] for m in models)))
    first = models[0]
    order = sorted(shared, key=lambda i: str(i))
    groups = pd.Series(first.groups, index=first.ids)[order].to_numpy()
    rng = np.random.default_rng([seed, 91])
    drawn = rows_of_drawn_groups(groups, resamples, rng)
    return [_separation(m, order, k, drawn, seed) for m in models]


def differences(found: Sequence[Separation], groups: int) -> pd.DataFrame:
    """Every later model's gain minus every earlier one's, on scenes drawn together.

    Args:
        found: of :func:`separations`.
        groups: test scenes they rest on.

    Returns:
        ``first second difference low high p``.
    """
    rows = []
    for a, b in combinations(found, 2):
        apart = b.drawn - a.drawn
        low, high = (float(v) for v in np.nanquantile(apart, [0.025, 0.975]))
        figure = b.gain - a.gain
        p = interval_p(figure, holding(figure, low, high), n=max(groups, 2))
        rows.append({"first": a.name, "second": b.name, "difference": figure, "low": low, "high": high, "p": p})
    return pd.DataFrame(rows, columns=["first", "second", "difference", "low", "high", "p"])


def trend(found: Sequence[Separation], sizes: Sequence[float], groups: int) -> dict[str, float]:
    """Slope of the gain on the logarithm (base 10) of the number of parameters, over models of one family.

    Args:
        found: of :func:`separations`, four or more.
        sizes: their parameters.
        groups: test scenes they rest on.

    Raises:
        EmotionCircuitsError: fewer than four sizes: two or three show differences, no trend.
    """
    x = np.log10(np.asarray(sizes, dtype=float))
    if len(np.unique(x)) < 4:
        raise EmotionCircuitsError("a trend needs at least four sizes of one family")
    x = x - x.mean()

    def slope(y: np.ndarray) -> np.ndarray:
        fitted: np.ndarray = (x[:, None] * (y - y.mean(0))).sum(0) / (x**2).sum()
        return fitted

    figure = float(slope(np.array([[s.gain] for s in found]))[0])
    low, high = (float(v) for v in np.nanquantile(slope(np.array([s.drawn for s in found])), [0.025, 0.975]))
    p = interval_p(figure, holding(figure, low, high), n=max(groups, 2))
    return {"slope": figure, "low": low, "high": high, "p": p}


def _separation(
    model: LabelledStates, order: Sequence[Any], k: int, drawn: Sequence[np.ndarray], seed: int
) -> Separation:
    train, held = model.at("train"), model.at("validation")
    place = {name: at for at, name in enumerate(model.ids)}
    test = np.array([place[name] for name in order])
    weights = contrast_weights(model, model.labels[train][None], model.values)
    on_held, on_test = [], []
    for layer in range(len(model.layers)):
        states = _on_axes(model, layer, k)
        directions = torch.nn.functional.normalize(torch.from_numpy(weights).double() @ states[train], dim=-1)
        on_held.append(
            float(np.nanmean(aurocs((states[held] @ directions.T).numpy(), model.truth(held, model.values))))
        )
        on_test.append((states[test] @ directions.T).numpy())
    truth = model.truth(test, model.values)
    curve = np.array([float(np.nanmean(aurocs(scores, truth))) for scores in on_test])
    smooth = pd.Series(on_held).rolling(3, center=True, min_periods=1).mean()
    best = int(smooth.to_numpy().argmax())
    scores = on_test[best]
    every, first = (np.array([np.nanmean(aurocs(of[at], truth[at])) for at in drawn]) for of in (scores, on_test[0]))
    low, high = (float(v) for v in np.nanquantile(every, [0.025, 0.975]))
    gained = tuple(float(v) for v in np.nanquantile(every - first, [0.025, 0.975]))
    return Separation(
        name=model.name,
        layer=model.layers[best],
        depth=best / max(len(model.layers) - 1, 1),
        axes=k,
        curve=curve,
        auroc=float(curve[best]),
        interval=(low, high),
        gain=float(curve[best] - curve[0]),
        gain_interval=(gained[0], gained[1]),
        d_prime=_d_prime(scores, truth),
        ceiling=_ceiling(model, _on_axes(model, best, k), test, np.random.default_rng([seed, 92])),
        drawn=every - first,
    )


def _on_axes(model: LabelledStates, layer: int, k: int) -> torch.Tensor:
    """States of a layer on principal axes of the reference's training states, each axis of spread 1."""
    states, train = model.states[layer].double(), model.at("train")
    plain = train[model.labels[train] == model.reference] if model.reference else train
    middle = states[plain].mean(0)
    _, spread, axes = torch.linalg.svd(states[plain] - middle, full_matrices=False)
    scale = (spread[:k] / max(len(plain) - 1, 1) ** 0.5).clamp_min(1e-8 * float(spread[0]) + 1e-12)
    found: torch.Tensor = (states - middle) @ axes[:k].T / scale
    return found


def _d_prime(scores: np.ndarray, truth: np.ndarray) -> float:
    found = []
    for k in range(truth.shape[1]):
        own, rest = scores[truth[:, k], k], scores[~truth[:, k], k]
        spread = np.sqrt((own.var(ddof=1) + rest.var(ddof=1)) / 2)
        found.append((own.mean() - rest.mean()) / spread if spread > 0 else np.nan)
    return float(np.nanmean(found))


def _ceiling(model: LabelledStates, states: torch.Tensor, test: np.ndarray, rng: np.random.Generator) -> float:
    train = model.at("train")
    names = rng.permutation(np.unique(model.groups[train]))
    halves = [np.isin(model.groups[train], part) for part in np.array_split(names, 2)]
    scores = []
    for half in halves:
        at = train[half]
        weights = contrast_weights(model, model.labels[at][None], model.values)
        scores.append((states[test] @ (torch.from_numpy(weights).double() @ states[at]).T).numpy())
    each = [np.corrcoef(scores[0][:, k], scores[1][:, k])[0, 1] for k in range(len(model.values))]
    r = float(np.mean(each))
    return 2 * r / (1 + r) if r > -1 else float("nan")
