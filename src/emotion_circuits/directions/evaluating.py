"""How well directions tell emotions apart on sentences they were not fitted on, beside words alone and beside nulls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emotion_circuits.activations import ActivationStore, corpora_of
from emotion_circuits.directions.baseline import WordLabels, best_by_corpus, words_of
from emotion_circuits.directions.direction_set import DirectionSet, decide
from emotion_circuits.directions.extractors import extract, midpoint_thresholds, permute_within
from emotion_circuits.directions.fitting import examples_at, rows_of
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_bar
from emotion_circuits.statistics import bootstrap_mean_interval, paired_difference

__all__ = [
    "auroc",
    "aurocs",
    "choose_directions",
    "choose_layer",
    "evaluate_directions",
    "held_out_report",
    "null_accuracies",
]


def auroc(scores: Float[Tensor, " row"], positive: Tensor) -> float:
    """Probability that a positive row scores above a negative one, ties counting half (Hanley & McNeil 1982).

    NaN where one of the two classes is empty.
    """
    return float(aurocs(scores.numpy()[:, None], positive.numpy().astype(bool)[:, None])[0])


def aurocs(scores: Float[np.ndarray, "row column"], positive: Bool[np.ndarray, "row column"]) -> np.ndarray:
    """One per column, as :func:`auroc`."""
    from scipy.stats import rankdata

    n_pos = positive.sum(axis=0)
    n_neg = len(positive) - n_pos
    ranks = rankdata(scores, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = ((ranks * positive).sum(axis=0) - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)
    return found


@dataclass(frozen=True, eq=False)
class _Scored:
    """Rows that can be scored, with what was found."""

    rows: pd.DataFrame
    truth: np.ndarray
    scores: Float[Tensor, "row label"]
    names: tuple[str, ...]

    @property
    def predicted(self) -> np.ndarray:
        return np.asarray(decide(self.scores, self.names).numpy())


def _score(
    store: ActivationStore,
    directions: DirectionSet,
    layer: int,
    chosen: pd.Series,
) -> _Scored:
    names = directions.names
    known = chosen & store.rows["label"].isin(names)
    states = store.pooled(directions.kind, directions.reading, layer).double()
    usable = known.to_numpy() & ~torch.isnan(states).all(-1).numpy()
    rows = store.rows[usable]
    truth = np.array([names.index(v) for v in rows["label"]], dtype=np.int64)
    return _Scored(rows, truth, directions.scores(states[torch.tensor(usable)], layer), names)


def evaluate_directions(
    store: ActivationStore,
    directions: Sequence[DirectionSet],
    *,
    splits: Sequence[str] = ("train", "validation", "test"),
    layers: Sequence[int] | None = None,
    words: Sequence[WordLabels] | None = None,
) -> pd.DataFrame:
    """Accuracy and AUROC at every layer, on every corpus and split, beside what words alone tell.

    Args:
        store: the capture the directions were fitted on, or another with the same kind and reading pooling.
        directions: sets to evaluate.
        splits: which splits; figures to report come from ``test`` at a layer chosen on ``validation``.
        layers: all by default.
        words: tuned baselines of words, :func:`words_of`; n-grams by default.

    Returns:
        One row per extractor, pooling, layer, set and split: ``accuracy`` (over all labels, neutral included),
        ``auroc`` (mean over emotions, each against all other rows), ``auroc_against_neutral`` (against the reference
        only, where there is one), ``auroc_<emotion>``, ``words_alone`` (accuracy of
        the better baseline of words on these rows, as claims are held against it (:func:`.baseline.best_by_corpus`), fitted on
        this capture's train rows of the same sets), ``chance``
        (share of the commonest label), ``n``, ``excluded`` rows that have no such state.
    """
    rows = store.rows
    corpora = corpora_of(rows)
    chosen = rows["split"].isin(list(splits))
    by_words: dict[tuple[str, ...], np.ndarray] = {}
    by_states: dict[tuple[str, str], list[int]] = {}
    for index, d in enumerate(directions):
        by_states.setdefault((d.kind, d.reading), []).append(index)
        key = (*d.fit.get("sets", ()), *d.names)
        if key not in by_words:
            tuned = words or words_of(store, names=d.names, sets=d.fit.get("sets"))
            by_words[key] = np.stack([w.labels == rows["label"].to_numpy() for w in tuned])
    parts: dict[tuple[object, ...], _Parts] = {}
    found: dict[tuple[int, int], list[dict[str, object]]] = {}
    asked = {i: d.layers if layers is None else tuple(layers) for i, d in enumerate(directions)}
    with progress_bar("evaluating directions", sum(map(len, asked.values()))) as bar:
        for (kind, reading), members in by_states.items():
            for layer in dict.fromkeys(at for i in members for at in asked[i]):
                states = store.pooled(kind, reading, layer).double()
                for i in members:
                    if layer in asked[i]:
                        d = directions[i]
                        sets = tuple(d.fit.get("sets", ()))
                        if (sets, d.names, d.reference) not in parts:
                            right = by_words[*sets, *d.names]
                            parts[sets, d.names, d.reference] = _Parts(store, d, chosen, corpora, right)
                        found[i, layer] = _evaluated(d, layer, states, parts[sets, d.names, d.reference])
                        bar.advance()
    records = [row for i in asked for layer in asked[i] for row in found[i, layer]]
    if not records:
        there = ", ".join(dict.fromkeys(rows["split"])) or "none"
        raise EmotionCircuitsError(
            f"{store.folder}: no captured sentence is in split {' or '.join(splits)} (there is: {there}); give the corpus such "
            "rows and capture again"
        )
    return pd.DataFrame.from_records(records)


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of one corpus and split, and what is the same at every layer.

    ``beside`` marks, per emotion, its rows and those it is compared with; ``None`` where there are none.
    """

    corpus: str
    split: str
    at: np.ndarray
    truth: np.ndarray
    words: float
    beside: tuple[np.ndarray | None, ...]
    asked: int

    @property
    def chance(self) -> float:
        return float(np.bincount(self.truth).max() / len(self.truth))


class _Parts:
    """The asked rows of a capture by corpus and split; kept for every set of rows that have a state, which hardly differ."""

    def __init__(
        self, store: ActivationStore, d: DirectionSet, chosen: pd.Series, corpora: pd.Series, right_words: np.ndarray
    ) -> None:
        self.named = (chosen & store.rows["label"].isin(d.names)).to_numpy()
        self._truth = pd.Index(d.names).get_indexer(pd.Index(store.rows["label"]))
        self._keys = np.array([corpora.to_numpy(dtype=str), store.rows["split"].to_numpy(dtype=str)]).T
        self._words = right_words  # [family, row]
        self._against = [np.array([d.names.index(other) for other in d.compared_with(label)]) for label in d.labels]
        anywhere = store.rows["label"].isin(d.names).to_numpy()
        self._asked = Counter(map(tuple, self._keys[anywhere]))
        self._kept: dict[bytes, list[_Part]] = {}

    def of(self, usable: np.ndarray) -> list[_Part]:
        """In order of appearance; ``at`` counts usable rows."""
        key = usable.tobytes()
        if key not in self._kept:
            self._kept[key] = self._parts(usable)
        return self._kept[key]

    def _parts(self, usable: np.ndarray) -> list[_Part]:
        keys = [tuple(k) for k in self._keys[usable]]
        truth, words, found = self._truth[usable], self._words[:, usable], []
        for key in dict.fromkeys(keys):
            at = np.array([i for i, other in enumerate(keys) if other == key])
            own = truth[at]
            pairs = [(own == k) | np.isin(own, against) for k, against in enumerate(self._against)]
            beside = tuple(pair if pair.any() else None for pair in pairs)
            found.append(_Part(key[0], key[1], at, own, float(words[:, at].mean(1).max()), beside, self._asked[key]))
        return found


def _evaluated(
    d: DirectionSet, layer: int, states: Float[Tensor, "row d_model"], asked: _Parts
) -> list[dict[str, object]]:
    """One row per corpus and split of one set at one layer."""
    usable = asked.named & ~torch.isnan(states).all(-1).numpy()
    scored = d.scores(states[torch.tensor(usable)], layer)
    predicted, scores, records = decide(scored, d.names).numpy(), scored.numpy(), []
    for part in asked.of(usable):
        at, truth = part.at, part.truth
        each = aurocs(scores[at], truth[:, None] == np.arange(len(d.labels)))
        by_label = {f"auroc_{label}": float(each[k]) for k, label in enumerate(d.labels)}
        finite = [v for v in by_label.values() if v == v]
        apart = [
            float(aurocs(scores[at][pair][:, [k]], truth[pair][:, None] == k)[0])
            for k, pair in enumerate(part.beside)
            if pair is not None
        ]
        records.append(
            {
                "extractor": d.extractor,
                "kind": d.kind,
                "pooling": d.pooling,
                "reading": d.reading,
                "layer": layer,
                "set": part.corpus,
                "split": part.split,
                "accuracy": float((predicted[at] == truth).mean()),
                "auroc": float(np.mean(finite)) if finite else float("nan"),
                "auroc_against_neutral": float(np.nanmean(apart)) if apart else float("nan"),
                **by_label,
                "words_alone": part.words,
                "chance": part.chance,
                "n": len(at),
                "excluded": part.asked - len(at),
            }
        )
    return records


def _validation_curve(table: pd.DataFrame, sets: Sequence[str] | None, by: str) -> pd.Series:
    part = table[table["split"] == "validation"]
    if sets is not None:
        part = part[part["set"].isin(list(sets))]
    if part.empty:
        raise EmotionCircuitsError("no validation rows to choose on: evaluate with splits that include 'validation'")
    return part.groupby(["extractor", "kind", "pooling", "layer"], sort=False)[by].mean()


def _smoothed(curve: pd.Series) -> pd.Series:
    """Mean with the neighbouring layers: a lone peak among hundreds of candidates is mostly luck."""
    return curve.sort_index().rolling(3, center=True, min_periods=1).mean()


def choose_layer(
    table: pd.DataFrame,
    *,
    extractor: str | None = None,
    pooling: str | None = None,
    kind: str | None = None,
    sets: Sequence[str] | None = None,
    by: str = "accuracy",
) -> int:
    """The layer that is best on **validation** (mean over corpora, smoothed over three layers); test is never read.

    Args:
        table: from :func:`evaluate_directions`.
        extractor: keep only this extractor.
        pooling: keep only this pooling.
        kind: keep only this kind.
        sets: corpora whose mean decides; all by default.
        by: ``accuracy`` or ``auroc``.

    Raises:
        EmotionCircuitsError: no validation rows, or more than one set of directions left.
    """
    chosen = table
    for column, value in (("extractor", extractor), ("pooling", pooling), ("kind", kind)):
        if value is not None:
            chosen = chosen[chosen[column] == value]
    curve = _validation_curve(chosen, sets, by)
    series = curve.groupby(level=["extractor", "kind", "pooling"])
    if series.ngroups != 1:
        raise EmotionCircuitsError("choose_layer compares layers of one set: say which extractor, pooling and kind")
    smooth = _smoothed(curve.droplevel(["extractor", "kind", "pooling"]))
    return int(smooth.index[int(smooth.to_numpy().argmax())])


def choose_directions(
    table: pd.DataFrame,
    directions: Sequence[DirectionSet],
    *,
    sets: Sequence[str] | None = None,
    by: str = "accuracy",
) -> DirectionSet:
    """The set that is best on validation at its best layer, with that layer noted in ``chosen_layer``.

    Args:
        table: :func:`evaluate_directions` of the sets on validation sentences.
        directions: the sets.
        sets: corpora whose mean decides; all in the table by default.
        by: column of the table that decides, e.g. ``accuracy`` or ``auroc``.

    Raises:
        EmotionCircuitsError: the table holds no validation rows of a set.
    """
    best: tuple[float, DirectionSet] | None = None
    for d in directions:
        part = table[(table["extractor"] == d.extractor) & (table["pooling"] == d.pooling) & (table["kind"] == d.kind)]
        curve = _smoothed(_validation_curve(part, sets, by).droplevel(["extractor", "kind", "pooling"]))
        layer, value = int(curve.index[int(curve.to_numpy().argmax())]), float(curve.max())
        if best is None or value > best[0]:
            best = (value, d.with_layer(layer))
    if best is None:
        raise EmotionCircuitsError("no directions to choose from")
    return best[1]


def null_accuracies(
    store: ActivationStore,
    directions: DirectionSet,
    layer: int,
    *,
    split: str = "test",
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """What the same procedure finds where there is nothing to find.

    ``shuffled``: the extractor fitted on train labels permuted within each group (so that topics stay as they are).
    ``random``: random directions as long as the fitted ones, with thresholds fitted as theirs.

    Returns:
        Columns ``null`` (``shuffled``, ``random``), ``draw``, ``set``, ``accuracy``.
    """
    rng = np.random.default_rng(seed)
    fit_split = str(directions.fit.get("split", "train"))
    names = directions.names
    chosen = rows_of(store, fit_split, directions.fit.get("sets"), names)
    of = (chosen, names, directions.reference)
    examples, _ = examples_at(store, directions.kind, directions.pooling, layer, *of)
    read, _ = (
        (examples, 0)
        if directions.reading == directions.pooling
        else examples_at(store, directions.kind, directions.reading, layer, *of)
    )
    held = _score(store, directions, layer, store.rows["split"] == split)
    states = store.pooled(directions.kind, directions.reading, layer).double()[
        torch.tensor(store.rows.index.get_indexer(held.rows.index))
    ]
    corpora = corpora_of(held.rows).to_numpy()
    lengths = directions.vectors[:, directions.place(layer)].double().norm(dim=-1, keepdim=True)
    options = directions.fit.get("options") or {}
    records = []
    for draw in range(draws):
        permuted = permute_within(examples, rng)
        found = extract(directions.extractor, permuted, options)
        if found.thresholds is None or directions.reading != directions.pooling:
            limits = midpoint_thresholds(found.vectors, permuted if read is examples else permute_within(read, rng))
        else:
            limits = found.thresholds
        noise = torch.tensor(rng.standard_normal(tuple(found.vectors.shape)))
        noise *= lengths / noise.norm(dim=-1, keepdim=True)
        for null, vectors, bounds in (
            ("shuffled", found.vectors, limits),
            ("random", noise, midpoint_thresholds(noise, read)),
        ):
            right = decide(states @ vectors.T - bounds, names).numpy() == held.truth
            for corpus in dict.fromkeys(corpora):
                records.append(
                    {
                        "null": null,
                        "draw": draw,
                        "set": corpus,
                        "accuracy": float(right[corpora == corpus].mean()),
                    }
                )
    return pd.DataFrame.from_records(records)


def held_out_report(
    store: ActivationStore,
    directions: DirectionSet,
    layer: int,
    *,
    split: str = "test",
    null_draws: int = 20,
    seed: int = 0,
    words: Sequence[WordLabels] | None = None,
) -> pd.DataFrame:
    """The figures to report: accuracy on held-out sentences with interval, beside words and nulls.

    Intervals are cluster bootstraps over groups (scenes), because rows of a group share their content.

    Args:
        store: the capture.
        directions: a fitted set.
        layer: chosen on validation.
        split: reported on.
        null_draws: of either kind.
        seed: of nulls and intervals.
        words: tuned baselines of words, :func:`words_of`; n-grams by default.

    Returns:
        One row per corpus: ``accuracy, low, high, auroc, words_alone, words_by, words_family, difference,
        difference_low, difference_high, p`` (directions − the better baseline of words on these rows, paired),
        ``shuffled_low, shuffled_high, random_low, random_high`` (range of 95 % of the nulls), ``chance, n, groups``.
    """
    rows = store.rows
    held = _score(store, directions, layer, rows["split"] == split)
    words = words or words_of(store, names=directions.names, sets=directions.fit.get("sets"))
    place = rows.index.get_indexer(held.rows.index)
    nulls = null_accuracies(store, directions, layer, split=split, draws=null_draws, seed=seed)
    right = (held.predicted == held.truth).astype(float)
    corpora = corpora_of(held.rows).to_numpy()
    records = []
    for corpus in dict.fromkeys(corpora):
        at = corpora == corpus
        groups = held.rows["group"].to_numpy()[at].tolist()
        best = best_by_corpus(words, rows["label"].to_numpy(), place[at])
        right_words = (best.labels[place[at]] == held.rows["label"].to_numpy()[at]).astype(float)
        own = bootstrap_mean_interval(right[at], clusters=groups, seed=seed)
        against = paired_difference(right[at], right_words, clusters=groups, seed=seed)
        truth = torch.tensor(held.truth[at])
        scores = held.scores[torch.tensor(at)]
        null = {
            f"{name}_{end}": float(np.quantile(part["accuracy"], q))
            for name, part in nulls[nulls["set"] == corpus].groupby("null")
            for end, q in (("low", 0.025), ("high", 0.975))
        }
        records.append(
            {
                "set": corpus,
                "split": split,
                "extractor": directions.extractor,
                "pooling": directions.pooling,
                "layer": layer,
                "accuracy": float(right[at].mean()),
                "low": own.low,
                "high": own.high,
                "auroc": float(np.nanmean([auroc(scores[:, k], truth == k) for k in range(len(directions.labels))])),
                "words_alone": float(right_words.mean()),
                "words_by": best.name,
                "words_family": best.family,
                "difference": against.estimate,
                "difference_low": against.low,
                "difference_high": against.high,
                "p": against.p,
                **null,
                "chance": float(pd.Series(held.truth[at]).value_counts(normalize=True).max()),
                "n": int(at.sum()),
                "groups": own.n,
            }
        )
    return pd.DataFrame.from_records(records)
