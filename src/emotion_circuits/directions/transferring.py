"""Does what one set of sentences teaches read another: language to language, attribute to attribute, in one model?

Directions (a value's mean minus the reference's) are fitted on *i*'s training sentences, their layer is chosen on *i*'s
validation sentences, and they rank *j*'s test sentences. Nothing of *j* is used but its test. Beside every figure stand

* the same from labels of *i* **shuffled within groups**, each shuffle choosing its own layer;
* **words**: n-grams of words and characters tuned on *i*, which cognates, names and punctuation let read another language;
* a **wrong attribute's** direction, where another capture of the model has values that neither *i* nor *j* has;
* *j*'s **own** directions: what there was to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from emotion_circuits.directions.baseline import word_readers
from emotion_circuits.directions.evaluating import aurocs
from emotion_circuits.directions.labelled_states import (
    LabelledStates,
    contrast_weights,
    rows_of_drawn_groups,
    shuffled_within,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_bar
from emotion_circuits.statistics import rank_p

__all__ = ["transfer_table"]

BOOTSTRAPS = 1000


@dataclass(frozen=True, eq=False)
class _Source:
    """What one set of sentences teaches about some values: a layer chosen, and the same of every shuffle.

    Row 0 of ``chosen`` and of ``weights`` is the real one.
    """

    data: LabelledStates
    values: tuple[str, ...]
    train: np.ndarray
    weights: Float[np.ndarray, "draw value row"]
    chosen: np.ndarray

    @classmethod
    def of(cls, data: LabelledStates, values: tuple[str, ...], draws: int, seed: int) -> _Source:
        train, held = data.at("train", values=values), data.at("validation", values=values)
        both = np.concatenate([train, held])
        real = data.labels[both].astype(str)
        drawn = shuffled_within(real, data.groups[both], draws, np.random.default_rng([seed, 71]))
        labels = np.concatenate([real[None].astype(object), drawn])
        of_train, of_held = labels[:, : len(train)], labels[:, len(train) :]
        weights = contrast_weights(data, of_train, values)
        truth = np.stack([of_held == value for value in values], 1)
        curves = np.stack(
            [_meanaurocs(_scores(data, layer, weights, train, data, held), truth) for layer in range(len(data.layers))],
            1,
        )
        return cls(data, values, train, weights.reshape(len(labels), len(values), -1), _smoothed(curves).argmax(1))

    @property
    def layer(self) -> int:
        """Number of the chosen layer."""
        return self.data.layers[int(self.chosen[0])]

    def scores(self, other: LabelledStates, at: np.ndarray) -> Float[np.ndarray, "draw row value"]:
        """Scores of another set's rows, every draw at its own layer."""
        found = np.empty((len(self.chosen), len(at), len(self.values)), dtype=np.float32)
        for layer in np.unique(self.chosen):
            mine = np.flatnonzero(self.chosen == layer)
            flat = self.weights[mine].reshape(len(mine) * len(self.values), -1)
            rows = _scores(self.data, int(layer), flat, self.train, other, at)
            found[mine] = rows.T.reshape(len(mine), len(self.values), len(at)).transpose(0, 2, 1)
        return found


def transfer_table(
    sets: Sequence[LabelledStates], *, draws: int = 500, seed: int = 0, resamples: int = BOOTSTRAPS
) -> pd.DataFrame:
    """Every set of sentences to every other, and to itself.

    Two sets that share values are compared on those; two that share none are left out.

    Args:
        sets: captures of one model, by the name each is shown with.
        draws: shuffles of labels.
        seed: of shuffles and bootstrap.
        resamples: of the bootstrap over the target's groups.

    Returns:
        One row per pair: ``source target values layer auroc low high shuffled_low shuffled_high p words difference
        difference_low difference_high wrong beyond beyond_low beyond_high own own_low own_high share groups``. Intervals hold
        95 %; ``beyond`` is what is told more than by the best of other attributes' directions, missing where there are none;
        ``share`` is what of the target's own reading above chance is reached.

    Raises:
        EmotionCircuitsError: fewer than two sets, sets of different models, or none that share a value.
    """
    if len(sets) < 2:
        raise EmotionCircuitsError("transfer needs at least two sets of sentences")
    if len({(s.states.shape[-1], s.layers) for s in sets}) > 1:
        raise EmotionCircuitsError("transfer compares captures of one model: these differ in width or layers")
    pairs = [(i, j, tuple(v for v in i.values if v in j.values)) for i in sets for j in sets]
    pairs = [pair for pair in pairs if pair[2]]
    if all(i is j for i, j, _ in pairs):
        raise EmotionCircuitsError("no two of these sets of sentences share a value, so there is nothing to carry over")
    learnt: dict[tuple[str, tuple[str, ...]], _Source] = {}

    def source(data: LabelledStates, values: tuple[str, ...], count: int) -> _Source:
        key = (data.name, values)
        if key not in learnt or len(learnt[key].chosen) <= count:
            learnt[key] = _Source.of(data, values, count, seed)
        return learnt[key]

    rows = []
    with progress_bar("carrying directions over", len(pairs)) as bar:
        for i, j, values in pairs:
            at = j.at("test", values=values)
            wrong = [s for s in sets if not set(s.values) & {*i.values, *j.values}]
            others = [source(s, s.values, 0).scores(j, at)[0] for s in wrong]
            rows.append(
                _row(source(i, values, draws), j, at, source(j, values, draws), others, seed=seed, resamples=resamples)
            )
            bar.advance()
    return pd.DataFrame(rows)


def _row(
    source: _Source,
    target: LabelledStates,
    at: np.ndarray,
    own: _Source,
    others: Sequence[np.ndarray],
    *,
    seed: int,
    resamples: int,
) -> dict[str, object]:
    values, truth = source.values, target.truth(at, source.values)
    scores = source.scores(target, at)
    every = _meanaurocs(scores.transpose(1, 0, 2).reshape(len(at), -1), np.tile(truth.T[None], (len(scores), 1, 1)))
    real, null = float(every[0]), every[1:]
    words = _word_scores(source.data, values, target.texts[at])
    arms = {"own": own.scores(target, at)[0], "words": words, "real": scores[0]}
    plain = {name: float(aurocs(arm, truth).mean()) for name, arm in arms.items()}
    rng = np.random.default_rng([seed, 72])
    drawn = rows_of_drawn_groups(target.groups[at], resamples, rng)
    boots = {name: np.array([aurocs(arm[d], truth[d]).mean() for d in drawn]) for name, arm in arms.items()}
    ends = {name: np.nanquantile(boot, [0.025, 0.975]) for name, boot in boots.items()}
    apart = np.nanquantile(boots["real"] - boots["words"], [0.025, 0.975])
    wrong, beyond = _wrong(others, truth), (float("nan"), float("nan"))
    if others:
        # The best one is looked for again in every resample: it is the best that is to be beaten, not the one that was best here.
        best = np.array([_wrong([other[d] for other in others], truth[d]) for d in drawn])
        beyond = tuple(np.nanquantile(boots["real"] - best, [0.025, 0.975]).tolist())
    return {
        "source": source.data.name, "target": target.name, "values": ", ".join(values), "layer": source.layer,
        "auroc": real, "low": float(ends["real"][0]), "high": float(ends["real"][1]),
        "shuffled_low": float(np.quantile(null, 0.025)), "shuffled_high": float(np.quantile(null, 0.975)),
        "p": rank_p(real, null), "words": plain["words"], "difference": real - plain["words"],
        "difference_low": float(apart[0]), "difference_high": float(apart[1]), "wrong": wrong,
        "beyond": real - wrong, "beyond_low": beyond[0], "beyond_high": beyond[1],
        "own": plain["own"], "own_low": float(ends["own"][0]), "own_high": float(ends["own"][1]),
        "share": (real - 0.5) / (plain["own"] - 0.5) if plain["own"] > 0.5 else float("nan"),
        "groups": len(np.unique(target.groups[at])),
    }  # fmt: skip


def _wrong(others: Sequence[np.ndarray], truth: np.ndarray) -> float:
    """The best that directions of other attributes do, value by value, whichever way they point."""
    if not others:
        return float("nan")
    every = np.concatenate(list(others), 1)
    best = []
    for k in range(truth.shape[1]):
        found = aurocs(every, np.repeat(truth[:, [k]], every.shape[1], 1))
        best.append(float(np.abs(found - 0.5).max()) + 0.5)
    return float(np.mean(best))


def _word_scores(data: LabelledStates, values: Sequence[str], texts: np.ndarray) -> Float[np.ndarray, "row value"]:
    train, held = data.at("train", values=values), data.at("validation", values=values)
    best = word_readers(
        list(data.texts[train]), list(data.labels[train]), list(data.texts[held]), list(data.labels[held])
    )[0]
    found = np.asarray(best.fitted.decision_function(list(texts)), dtype=float)
    classes = [str(c) for c in best.fitted.classes_]
    if found.ndim == 1:
        found = np.stack([-found, found], 1)
    return found[:, [classes.index(value) for value in values]]


def _scores(
    data: LabelledStates, layer: int, weights: np.ndarray, train: np.ndarray, other: LabelledStates, at: np.ndarray
) -> Float[np.ndarray, "row direction"]:
    """Projections of another set's states on directions of unit length, at one layer."""
    directions = torch.from_numpy(weights) @ data.states[layer][torch.from_numpy(train)]
    unit = torch.nn.functional.normalize(directions, dim=-1)
    found: np.ndarray = (other.states[layer][torch.from_numpy(at)] @ unit.T).numpy()
    return found


def _meanaurocs(scores: Float[np.ndarray, "row column"], truth: np.ndarray) -> Float[np.ndarray, " draw"]:
    """Mean over values, per draw; ``truth`` is ``[draw, value, row]``."""
    draws, values, rows = truth.shape
    found = aurocs(scores, truth.reshape(draws * values, rows).T.astype(bool))
    return np.nanmean(found.reshape(draws, values), 1)  # type: ignore[no-any-return]


def _smoothed(curves: Float[np.ndarray, "draw layer"]) -> Float[np.ndarray, "draw layer"]:
    """Mean with the neighbouring layers, as a reader's layer is chosen."""
    return pd.DataFrame(curves.T).rolling(3, center=True, min_periods=1).mean().to_numpy().T
