"""The reader of a run: fitted on train, chosen on validation, never shown a test sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import FRAME, READABLE, ActivationStore, corpora_of
from emotion_circuits.directions.baseline import WordLabels, best_by_corpus, words_of
from emotion_circuits.directions.direction_set import DirectionSet, decide
from emotion_circuits.directions.fitting import fit_directions, rows_of
from emotion_circuits.directions.reading import save_reader
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_bar
from emotion_circuits.statistics import bootstrap_mean_interval, paired_difference

__all__ = ["ReaderChoice", "fit_reader", "reader_report"]


@dataclass(frozen=True, eq=False)
class ReaderChoice:
    """What was chosen.

    Attributes:
        members: directions and layers whose scores are averaged.
        scales: spread of each member's scores on train rows.
        validation: accuracy by corpus on validation.
        candidates: every candidate with its validation accuracy: columns ``candidate``, one per corpus, ``mean``.
        frame: words of pooling ``frame``.
    """

    members: tuple[tuple[DirectionSet, int], ...]
    scales: tuple[float, ...]
    validation: dict[str, float]
    candidates: pd.DataFrame
    frame: str = FRAME

    def save(self, folder: Path | str) -> Path:
        """Write directions and ``reader.json``, which :meth:`Reader.load` reads."""
        return save_reader(folder, self.members, scales=self.scales, frame=self.frame, validation=self.validation)

    def scores(self, store: ActivationStore) -> Float[Tensor, "row label"]:
        """Scores of every row of a capture; NaN where a row has no such state."""
        total: Tensor | None = None
        for (directions, layer), scale in zip(self.members, self.scales, strict=True):
            states = store.pooled(directions.kind, directions.reading, layer)
            part = directions.scores(states, layer) / scale
            total = part if total is None else total + part
        assert total is not None
        return total / len(self.members)


def fit_reader(
    store: ActivationStore,
    *,
    extractors: Sequence[str] = ("mean_difference", "lda"),
    poolings: Sequence[str] | None = None,
    kind: str = "resid_post",
    sets: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    reference: str | None = "neutral",
    options: dict[str, dict[str, float]] | None = None,
    fitted: Sequence[DirectionSet] = (),
) -> ReaderChoice:
    """Fit candidates on train and choose among them on validation.

    Candidates: every extractor on every readable pooling, at its best layer, alone and averaged with the two
    neighbouring layers; and for every extractor the average of all its poolings' windows. The choice is by mean
    accuracy over corpora; of those within one standard error of the best, the one that averages most members.

    Args:
        store: a capture with train and validation rows.
        extractors: which extractors compete.
        poolings: which readable poolings; by default those captured.
        kind: captured site kind.
        sets: corpora that are fitted on and decide; all by default.
        labels: emotions, in their order; all in the rows by default.
        reference: label that directions start from; ``None``: the mean of all other emotions.
        options: options by extractor.
        fitted: sets that were fitted on the same rows with the same labels, reference and options; candidates among them are
            not fitted again.

    Raises:
        EmotionCircuitsError: no readable pooling captured, no train or validation rows.
    """
    pools = [p for p in (store.poolings if poolings is None else poolings) if p in READABLE]
    if not pools:
        raise EmotionCircuitsError(f"{store.folder}: a reader needs a pooling among {', '.join(READABLE)}")
    held = rows_of(store, "validation", sets, None).to_numpy()
    if not held.any():
        raise EmotionCircuitsError(f"{store.folder}: no validation rows to choose a reader on")
    corpora = corpora_of(store.rows).to_numpy()
    names: tuple[str, ...] = ()
    found: list[tuple[str, tuple[tuple[DirectionSet, int], ...], tuple[float, ...], dict[str, float]]] = []
    with progress_bar("choosing the reader", len(extractors) * len(pools)) as bar:
        for extractor in extractors:
            windows: list[tuple[tuple[tuple[DirectionSet, int], ...], tuple[float, ...], list[Tensor]]] = []
            for pooling in pools:
                known = [d for d in fitted if (d.extractor, d.kind, d.pooling) == (extractor, kind, pooling)]
                d = known[0] if known else fit_directions(
                    store, extractor=extractor, kind=kind, pooling=pooling, sets=sets, labels=labels,
                    reference=reference, options=(options or {}).get(extractor),
                )  # fmt: skip
                names = d.names
                parts, scales = _all_scores(store, d, sets)
                curve = pd.Series([np.mean(list(_accuracies(p, store, names, held, corpora).values())) for p in parts])
                best = int(curve.rolling(3, center=True, min_periods=1).mean().to_numpy().argmax())
                d = d.with_layer(d.layers[best])
                near = [i for i in (best - 1, best, best + 1) if 0 <= i < len(d.layers)]
                for name, chosen in (("", [best]), (" ±1", near)):
                    members = tuple((d, d.layers[i]) for i in chosen)
                    sizes = tuple(scales[i] for i in chosen)
                    scored = [parts[i] for i in chosen]
                    found.append(
                        (
                            f"{extractor} {pooling} L{d.layers[best]}{name}",
                            members,
                            sizes,
                            _accuracies(torch.stack(scored).mean(0), store, names, held, corpora),
                        )
                    )
                windows.append((members, sizes, scored))
                bar.advance()
            if len(windows) > 1:
                found.append(
                    (
                        f"{extractor} {' + '.join(pools)}, each ±1",
                        tuple(m for w in windows for m in w[0]),
                        tuple(s for w in windows for s in w[1]),
                        _accuracies(
                            torch.stack([p for w in windows for p in w[2]]).mean(0), store, names, held, corpora
                        ),
                    )
                )
    table = pd.DataFrame([{"candidate": n, **a, "mean": float(np.mean(list(a.values())))} for n, _, _, a in found])
    error = _standard_error([f[3] for f in found], held, corpora)
    winner = _within_one_error(table["mean"].tolist(), [len(f[1]) for f in found], error)
    _, members, sizes, accuracies = found[winner]
    return ReaderChoice(members, sizes, accuracies, table, store.frame or FRAME)


def _standard_error(accuracies: Sequence[dict[str, float]], held: np.ndarray, corpora: np.ndarray) -> float:
    """Standard error of the best candidate's mean accuracy over corpora, sentences taken as independent."""
    best = max(accuracies, key=lambda a: float(np.mean(list(a.values()))))
    parts = [p * (1 - p) / max(int((held & (corpora == c)).sum()), 1) for c, p in best.items()]
    return float(np.sqrt(sum(parts)) / len(parts))


def _within_one_error(means: Sequence[float], members: Sequence[int], error: float) -> int:
    """Of candidates within one standard error of the best, the one that averages most members, then the best of those.

    A few validation sentences cannot tell such candidates apart, and an average varies least from one sample of
    sentences to the next.
    """
    near = [i for i, mean in enumerate(means) if mean >= max(means) - error]
    return max(near, key=lambda i: (members[i], round(means[i], 9), -i))


def _all_scores(
    store: ActivationStore, d: DirectionSet, sets: Sequence[str] | None
) -> tuple[list[Float[Tensor, "row label"]], list[float]]:
    """Scaled scores of every row at every layer, and the scales."""
    train = torch.tensor(rows_of(store, "train", sets, None).to_numpy().copy())
    parts, scales = [], []
    for layer in d.layers:
        raw = d.scores(store.pooled(d.kind, d.reading, layer), layer)
        fitted = raw[train]
        scale = float(fitted[~fitted.isnan().any(-1)].std())
        scales.append(scale if scale > 0 else 1.0)
        parts.append(raw / scales[-1])
    return parts, scales


def _accuracies(
    scores: Float[Tensor, "row label"],
    store: ActivationStore,
    names: tuple[str, ...],
    held: np.ndarray,
    corpora: np.ndarray,
) -> dict[str, float]:
    truth = store.rows["label"].map({n: i for i, n in enumerate(names)}).to_numpy()
    usable = held & ~scores.isnan().any(-1).numpy() & ~pd.isna(truth)
    right = decide(scores, names).numpy() == truth
    return {str(c): float(right[usable & (corpora == c)].mean()) for c in dict.fromkeys(corpora[usable])}


def reader_report(
    store: ActivationStore,
    choice: ReaderChoice,
    *,
    split: str = "test",
    seed: int = 0,
    words: Sequence[WordLabels] | None = None,
) -> pd.DataFrame:
    """The chosen reader on held-out sentences beside the better of the baselines of words, tuned as it was.

    Args:
        store: the capture it was chosen on.
        choice: of :func:`fit_reader`.
        split: whose sentences are read.
        seed: of the bootstrap.
        words: tuned baselines of words, :func:`words_of`; n-grams by default.

    Returns:
        One row per corpus: ``accuracy, low, high, words_alone, words_by, words_family, difference,
        difference_low, difference_high, p, n, groups, chance``; intervals by cluster bootstrap over groups.
    """
    rows = store.rows
    names = choice.members[0][0].names
    sets = choice.members[0][0].fit.get("sets")
    held = rows_of(store, split, sets, names).to_numpy()
    words = words or words_of(store, names=names, sets=sets)
    scores = choice.scores(store)
    held = held & ~scores.isnan().any(-1).numpy()
    predicted = np.array([names[int(i)] for i in decide(scores, names)], dtype=object)
    corpora = corpora_of(rows).to_numpy()
    truth = rows["label"].to_numpy()
    records = []
    for corpus in dict.fromkeys(corpora[held]):
        at = held & (corpora == corpus)
        groups = rows["group"].to_numpy()[at].tolist()
        best = best_by_corpus(words, truth, at)
        right, right_words = (predicted[at] == truth[at]).astype(float), (best.labels[at] == truth[at]).astype(float)
        own = bootstrap_mean_interval(right, clusters=groups, seed=seed)
        against = paired_difference(right, right_words, clusters=groups, seed=seed)
        records.append(
            {
                "set": corpus,
                "split": split,
                "accuracy": float(right.mean()),
                "low": own.low,
                "high": own.high,
                "words_alone": float(right_words.mean()),
                "words_by": best.name,
                "words_family": best.family,
                "difference": against.estimate,
                "difference_low": against.low,
                "difference_high": against.high,
                "p": against.p,
                "n": int(at.sum()),
                "groups": own.n,
                "chance": float(pd.Series(truth[at]).value_counts(normalize=True).max()),
            }
        )
    return pd.DataFrame.from_records(records)
