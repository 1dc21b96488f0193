"""What words alone can tell: the figure every reading of states has to beat, tuned as the reading itself is.

Two families of classifiers that never see a state: **n-grams** (tf-idf of words and of characters) and **static
embeddings** (the mean of the studied model's own token embeddings: what it knows of words before its first block). Every
candidate is fitted on the train rows; of each family the one with the best mean accuracy over corpora on validation rows
is kept, which is how a reader of states is chosen too. A claim that states tell more is held against the better family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from emotion_circuits.activations import ActivationStore, corpora_of
from emotion_circuits.directions.fitting import rows_of
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel

__all__ = [
    "NGRAMS",
    "NGRAM_FEATURES",
    "STATIC",
    "Embed",
    "WordLabels",
    "WordReader",
    "best_by_corpus",
    "static_embeddings",
    "word_readers",
    "words_of",
]

NGRAMS = "n-grams"
STATIC = "static embeddings"
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse regularisations that are tried."""
Embed = Callable[[Sequence[str]], Float[np.ndarray, "text d_model"]]


def _word(high: int) -> TfidfVectorizer:
    # Single characters count as words too, so that languages without spaces are not left with nothing.
    return TfidfVectorizer(ngram_range=(1, high), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")


def _character() -> TfidfVectorizer:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)


NGRAM_FEATURES: Mapping[str, Callable[[], Any]] = {
    "words": lambda: _word(1),
    "words 1-2": lambda: _word(2),
    "characters 2-5": _character,
    "words 1-2 and characters 2-5": lambda: FeatureUnion([("words", _word(2)), ("characters", _character())]),
}


@dataclass(frozen=True, eq=False)
class WordReader:
    """A tuned classifier of texts that sees no state.

    Attributes:
        family: ``n-grams`` or ``static embeddings``.
        name: features and regularisation.
        validation: mean accuracy over corpora on validation rows.
        fitted: the classifier.
    """

    family: str
    name: str
    validation: float
    fitted: Pipeline

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """Labels of texts, ``[text]``."""
        with threadpool_limits(1):
            found = self.fitted.predict(list(texts)) if len(texts) else []
        return np.array([str(v) for v in found], dtype=object)


def static_embeddings(model: LanguageModel, texts: Sequence[str]) -> Float[np.ndarray, "text d_model"]:
    """Mean of the model's input embeddings over a text's tokens, special tokens left out; zeros for a text without tokens.

    Args:
        model: whose embeddings.
        texts: what to embed.
    """
    table: torch.Tensor = model.hf.get_input_embeddings().weight.detach()  # type: ignore[assignment]
    encoded = model.encode(texts)
    # Tokens that stand for text have a span; what begins texts has none.
    ids = [
        [i for i, (start, stop) in zip(*pair, strict=True) if stop > start]
        for pair in zip(encoded.ids, encoded.offsets, strict=True)
    ]
    rows = [table[row].float().mean(0) if row else torch.zeros(table.shape[1]) for row in ids]
    found: np.ndarray = (torch.stack(rows) if rows else torch.zeros(0, table.shape[1])).double().cpu().numpy()
    return found


def word_readers(
    train_texts: Sequence[str],
    train_labels: Sequence[str],
    held_texts: Sequence[str],
    held_labels: Sequence[str],
    *,
    held_corpora: Sequence[str] | None = None,
    embed: Embed | None = None,
) -> tuple[WordReader, ...]:
    """The best classifier of each family, the one that is better on validation first.

    Args:
        train_texts: texts of the train split.
        train_labels: their labels, at least two different ones.
        held_texts: texts of the validation split, on which features and regularisation are chosen.
        held_labels: their labels.
        held_corpora: their corpora, each of which counts the same; one by default.
        embed: gives embeddings of texts, :func:`static_embeddings` of the studied model; without it n-grams stand alone.

    Raises:
        EmotionCircuitsError: lengths differ, one label only, nothing to choose on, or no train text holds a word.

    Example:
        >>> texts, labels = ["thank you", "many thanks", "how dare you", "get out"] * 4, ["thanks"] * 2 + ["anger"] * 2
        >>> best, = word_readers(texts, labels * 4, texts, labels * 4)
        >>> best.read(["thanks again"]).tolist()
        ['thanks']
    """
    if len(train_texts) != len(train_labels) or len(held_texts) != len(held_labels):
        raise EmotionCircuitsError(
            f"words: {len(train_texts)} and {len(held_texts)} texts but {len(train_labels)} and {len(held_labels)} labels"
        )
    if len(set(train_labels)) < 2:
        raise EmotionCircuitsError("words: the train split needs at least two different labels")
    if not held_texts:
        raise EmotionCircuitsError("words: no validation texts to choose a classifier on")
    corpora = np.array(["all"] * len(held_texts) if held_corpora is None else list(held_corpora), dtype=object)
    truth, labels = np.array(list(held_labels), dtype=object), np.array(list(train_labels))
    found: list[WordReader] = []
    # The solver's many small steps only lose time in threads.
    with threadpool_limits(1):
        for family, name, features in _candidates(embed):
            try:
                fitted = features.fit_transform(list(train_texts))
            except ValueError:
                continue  # no word at all, as in a script these features do not cut
            held = features.transform(list(held_texts))
            for strength in STRENGTHS:
                model = LogisticRegression(C=strength, max_iter=5000).fit(fitted, labels)
                right = model.predict(held) == truth
                mean = float(np.mean([right[corpora == c].mean() for c in dict.fromkeys(corpora)]))
                whole = Pipeline([*features.steps, ("classifier", model)])
                found.append(WordReader(family, f"{name}, C = {strength:g}", mean, whole))
    if not found:
        raise EmotionCircuitsError("words: no train text holds a word or a character to learn from")
    # Of equally good ones the first, which has the fewer features and the stronger regularisation.
    families = dict.fromkeys(reader.family for reader in found)
    best = [max((r for r in found if r.family == f), key=lambda r: round(r.validation, 9)) for f in families]
    return tuple(sorted(best, key=lambda r: -round(r.validation, 9)))


def _candidates(embed: Embed | None) -> list[tuple[str, str, Pipeline]]:
    found = [(NGRAMS, name, Pipeline([("features", make())])) for name, make in NGRAM_FEATURES.items()]
    if embed is not None:
        scaled = Pipeline([("features", FunctionTransformer(embed)), ("scale", StandardScaler())])
        found.append((STATIC, "mean static embedding", scaled))
    return found


@dataclass(frozen=True, eq=False)
class WordLabels:
    """What a tuned classifier of words says of every row of a capture.

    Attributes:
        family: as in :class:`WordReader`.
        name: as in :class:`WordReader`.
        validation: as in :class:`WordReader`.
        labels: ``[row]``.
    """

    family: str
    name: str
    validation: float
    labels: np.ndarray


def words_of(
    store: ActivationStore,
    *,
    names: Sequence[str] | None = None,
    sets: Sequence[str] | None = None,
    model: LanguageModel | None = None,
) -> tuple[WordLabels, ...]:
    """The best classifier of each family for a capture's rows, the one that is better on validation first.

    Args:
        store: with train and validation rows.
        names: labels that are told apart; all by default.
        sets: corpora, or parts of them, that are fitted on and decide; all by default.
        model: whose static embeddings compete too; without it n-grams stand alone.

    Raises:
        EmotionCircuitsError: no train or no validation rows.
    """
    rows = store.rows
    train, held = (rows[rows_of(store, split, sets, names).to_numpy()] for split in ("train", "validation"))
    if train.empty or held.empty:
        raise EmotionCircuitsError(f"{store.folder}: no train or no validation rows to tune a baseline of words on")
    readers = word_readers(
        train["text"].tolist(), train["label"].tolist(), held["text"].tolist(), held["label"].tolist(),
        held_corpora=corpora_of(held).tolist(),
        embed=None if model is None else lambda texts: static_embeddings(model, list(texts)),
    )  # fmt: skip
    texts = rows["text"].tolist()
    return tuple(WordLabels(r.family, r.name, r.validation, r.read(texts)) for r in readers)


def best_by_corpus(words: Sequence[WordLabels], truth: np.ndarray, at: np.ndarray) -> WordLabels:
    """The classifier that is right most often on some rows: the strictest of them to be held against.

    Picking the best of the families on the very rows that are reported favours words, so a claim against it is
    conservative.

    Args:
        words: one per family.
        truth: ``[row]`` labels.
        at: ``[row]`` True on the rows.
    """
    return max(words, key=lambda w: float((w.labels[at] == truth[at]).mean()))
