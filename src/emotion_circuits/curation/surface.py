"""What the surface of a text gives away: classifiers that read words, punctuation or length, and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from emotion_circuits.prompts.lexicon import UNSPACED
from emotion_circuits.prompts.schema import Prompt

__all__ = [
    "Accuracy",
    "accuracy_of",
    "across_groups",
    "bag_of_words",
    "decided",
    "length_only",
    "punctuation",
    "punctuation_only",
    "transfer",
    "words",
]

_WORD = r"\w+(?:['’]\w+)*"
# An apostrophe or hyphen inside a word is spelling; figures with them are given apart.
_PUNCTUATION = re.compile(r"[^\w\s]")
_SPELLING = re.compile(r"(?<=\w)['’]|['’](?=\w)|(?<=\w)-(?=\w)")


class Accuracy(BaseModel):
    """A classifier's accuracy on rows it was not fitted on.

    Attributes:
        name: what it reads, and where from.
        accuracy: share of rows labelled rightly, in [0, 1].
        interval: 95 %, by resampling groups.
        chance: share of the commonest label: 1 / number of labels where they are balanced.
        rows: number of rows scored.
        groups: number of groups they come from: the unit.
        bar: the most it may be (or the least, where the name says so), if one is stated.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    accuracy: float
    interval: tuple[float, float]
    chance: float
    rows: int
    groups: int
    bar: float | None = None


def words(text: str, language: str = "en") -> list[str]:
    """The words in lower case; the characters that are no white space where the script has no spaces."""
    if language in UNSPACED:
        return [character for character in text if not character.isspace()]
    return re.findall(_WORD, text.lower())


def punctuation(text: str, *, spelling: bool = False) -> list[str]:
    """The punctuation marks in order, without apostrophes and hyphens of words unless ``spelling``."""
    return _PUNCTUATION.findall(text if spelling else _SPELLING.sub("", text))


def bag_of_words(language: str = "en") -> Pipeline:
    """Tf-idf of words and word pairs (of 1–3 characters in Japanese and Chinese), logistic regression."""
    if language in UNSPACED:
        features = TfidfVectorizer(analyzer="char", ngram_range=(1, 3))
    else:
        features = TfidfVectorizer(token_pattern=_WORD, ngram_range=(1, 2))
    return make_pipeline(features, LogisticRegression(max_iter=2000))


def punctuation_only(*, spelling: bool = False) -> Pipeline:
    """Counts of each mark and the last character, logistic regression.

    Args:
        spelling: count apostrophes and hyphens of words too (contractions, possessives).
    """

    def marks(texts: Sequence[str]) -> list[str]:
        found = []
        for text in texts:
            kept = punctuation(text, spelling=spelling)
            last = kept[-1] if kept and text.rstrip().endswith(kept[-1]) else "none"
            found.append(" ".join([*kept, f"end{last}"]))
        return found

    counts = CountVectorizer(token_pattern=r"\S+", lowercase=False)
    return make_pipeline(FunctionTransformer(marks), counts, LogisticRegression(max_iter=2000))


def length_only(language: str = "en") -> Pipeline:
    """Numbers of characters and words with their squares, logistic regression."""

    def sizes(texts: Sequence[str]) -> Float[np.ndarray, "row 4"]:
        plain = np.array([[len(text), len(words(text, language))] for text in texts], dtype=float)
        return np.hstack([plain, plain**2])

    return make_pipeline(FunctionTransformer(sizes), StandardScaler(), LogisticRegression(max_iter=2000))


def decided(model: Pipeline, texts: Any) -> Any:
    """The most probable label of each text, the first in the alphabet where probabilities agree to 9 digits.

    Texts that look alike to a classifier (one full stop each) leave it at exactly equal odds; which of them is larger in the
    sixteenth digit depends on the machine's linear algebra.

    Args:
        model: a fitted classifier with probabilities.
        texts: what it reads.
    """
    return model.classes_[np.round(model.predict_proba(texts), 9).argmax(axis=1)]


def across_groups(
    name: str,
    make: Callable[[], Pipeline],
    rows: Sequence[Prompt],
    *,
    folds: int = 5,
    repeats: int = 3,
    bar: float | None = None,
) -> Accuracy:
    """Accuracy when every group is held out in turn: cross-validation whose folds never divide a group.

    Args:
        name: for the result.
        make: a fresh classifier of texts.
        rows: labelled texts of at least two labels and ``folds`` groups.
        folds: number of folds.
        repeats: times the groups are dealt out anew; the accuracy is the mean over repeats.
        bar: the most it may be.
    """
    texts, labels, groups = _columns(rows)
    correct = np.zeros((repeats, len(rows)))
    # The problems are tiny: threads of the linear algebra cost more than they save, minutes on a busy machine.
    with threadpool_limits(1):
        for repeat in range(repeats):
            fold = _folds(groups, folds, repeat)
            for held_out in range(folds):
                test = fold == held_out
                model = make().fit(texts[~test], labels[~test])
                correct[repeat, test] = decided(model, texts[test]) == labels[test]
    return _accuracy(name, correct.mean(axis=0), labels, groups, bar)


def transfer(
    name: str, model: Pipeline, train: Sequence[Prompt], rows: Sequence[Prompt], *, bar: float | None = None
) -> Accuracy:
    """Accuracy on ``rows`` of a classifier fitted on all of ``train``, another set."""
    texts, _, _ = _columns(rows)
    fit_texts, fit_labels, _ = _columns(train)
    with threadpool_limits(1):
        judged = decided(model.fit(fit_texts, fit_labels), texts)
    return accuracy_of(name, judged, rows, bar=bar)


def accuracy_of(name: str, judged: Sequence[str], rows: Sequence[Prompt], *, bar: float | None = None) -> Accuracy:
    """How often labels are those of the rows.

    Args:
        name: for the result.
        judged: ``[row]`` labels that something gave.
        rows: labelled texts.
        bar: the most it may be.
    """
    _, labels, groups = _columns(rows)
    return _accuracy(name, (np.array(judged) == labels).astype(float), labels, groups, bar)


def _columns(rows: Sequence[Prompt]) -> tuple[Any, Any, Any]:
    texts = np.array([row.text for row in rows], dtype=object)
    return texts, np.array([row.label for row in rows]), np.array([row.group for row in rows])


def _folds(groups: Any, folds: int, repeat: int) -> Int[np.ndarray, " row"]:
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(f"{repeat}\x1f{group}".encode()).digest())
    number = {group: index % folds for index, group in enumerate(ordered)}
    return np.array([number[group] for group in groups])


def _accuracy(
    name: str,
    correct: Float[np.ndarray, " row"],
    labels: Any,
    groups: Any,
    bar: float | None,
) -> Accuracy:
    _, index = np.unique(groups, return_inverse=True)
    right = np.bincount(index, weights=correct)
    size = np.bincount(index)
    drawn = np.random.default_rng(0).integers(len(size), size=(2000, len(size)))
    low, high = np.quantile(right[drawn].sum(axis=1) / size[drawn].sum(axis=1), [0.025, 0.975])
    return Accuracy(
        name=name,
        accuracy=float(right.sum() / size.sum()),
        interval=(float(low), float(high)),
        chance=max(Counter(labels).values()) / len(labels),
        rows=len(labels),
        groups=len(size),
        bar=bar,
    )
