"""What a corpus holds, and how much of it words alone give away."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_circuits.curation.balance import surface_bar
from emotion_circuits.curation.surface import (
    Accuracy,
    across_groups,
    bag_of_words,
    length_only,
    punctuation_only,
    transfer,
    words,
)
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts.lexicon import UNSPACED
from emotion_circuits.prompts.loading import CorpusFile, corpora_dir, load_prompts, resolve_set, with_columns
from emotion_circuits.prompts.schema import Pair, Prompt
from emotion_circuits.prompts.tokenizing import Tokenize

__all__ = [
    "BAG_BARS",
    "TRANSFER_BARS",
    "Description",
    "Lengths",
    "SetDescription",
    "describe_corpora",
    "telling_ngrams",
]

BAG_BARS: dict[str, float] = {"scenarios": 0.75}
"""Most a bag of words may reach across groups within a set."""

TRANSFER_BARS: dict[str, float] = {"implicit": 0.50}
"""Most a bag of words fitted on ``core`` may reach on a set."""


class Lengths(BaseModel):
    """Lengths of the texts of one label."""

    model_config = ConfigDict(frozen=True)

    mean: float
    shortest: int
    longest: int


class SetDescription(BaseModel):
    """Figures of one set.

    Attributes:
        name: bundled name or path.
        languages: of its rows.
        rows: number of texts (of pairs, for pairs).
        groups: number of groups.
        subsets: ``set`` field → rows.
        labels: label → rows; for pairs ``clean > corrupted`` → rows.
        splits: split → rows.
        unit: of the lengths: ``tokens (NAME)``, ``words`` or ``characters``.
        lengths: label → lengths.
        telling: label → the n-grams most typical of it, with their z-score (see :func:`telling_ngrams`).
        accuracies: classifiers of the surface, each on held-out groups or transferred from ``core``.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    languages: tuple[str, ...]
    rows: int
    groups: int
    subsets: dict[str, int]
    labels: dict[str, int]
    splits: dict[str, int]
    unit: str
    lengths: dict[str, Lengths]
    telling: dict[str, tuple[tuple[str, float], ...]]
    accuracies: tuple[Accuracy, ...]


class Description(BaseModel):
    """The result of :func:`describe_corpora`."""

    model_config = ConfigDict(frozen=True)

    sets: tuple[SetDescription, ...]


def describe_corpora(
    names_or_paths: Sequence[str | os.PathLike[str]],
    *,
    tokenize: Tokenize | None = None,
    tokenizer_name: str = "",
    top: int = 8,
) -> Description:
    """Describe sets one by one; ``implicit`` and ``scenarios`` also get the transfer from the ``core`` beside them.

    Args:
        names_or_paths: bundled names, folders of them, or files as :func:`~emotion_circuits.prompts.load_prompts` reads them.
        tokenize: counts lengths in its tokens; without one, in words (characters in Japanese and Chinese).
        tokenizer_name: its name, for the unit.
        top: telling n-grams per label.

    Raises:
        EmotionCircuitsError: unknown name, or rows that do not fit the schema.
    """
    corpora = list(dict.fromkeys(file for name in names_or_paths for file in resolve_set(name)))
    described = []
    with progress_bar("describing", total=len(corpora)) as bar:
        for corpus in corpora:
            described.append(_describe(corpus, tokenize, tokenizer_name, top))
            bar.advance(note=described[-1].name)
    return Description(sets=tuple(described))


def _describe(corpus: CorpusFile, tokenize: Tokenize | None, tokenizer_name: str, top: int) -> SetDescription:
    root, path = corpora_dir(), corpus.path
    name = path.relative_to(root).with_suffix("").as_posix() if path.is_relative_to(root) else str(path)
    rows = load_prompts(with_columns(path, dict(corpus.columns)))
    language = rows[0].language
    paired = [f"{r.label} > {r.corrupted_label}" for r in rows if isinstance(r, Pair)]
    labels = Counter(paired or [r.label for r in rows])
    contrast = len(labels) > 1 and not paired
    unit = f"tokens ({tokenizer_name})" if tokenize else "characters" if language in UNSPACED else "words"
    sizes: dict[str, list[int]] = {}
    for row in rows:
        size = len(tokenize(row.text).ids) if tokenize else len(words(row.text, row.language))
        sizes.setdefault(row.label, []).append(size)
    return SetDescription(
        name=name,
        languages=tuple(sorted({r.language for r in rows})),
        rows=len(rows),
        groups=len({r.group for r in rows}),
        subsets=dict(sorted(Counter(r.set for r in rows).items())),
        labels=dict(labels),
        splits={split: sum(r.split == split for r in rows) for split in ("train", "validation", "test")},
        unit=unit,
        lengths={label: Lengths(mean=float(np.mean(n)), shortest=min(n), longest=max(n)) for label, n in sizes.items()},
        telling=telling_ngrams(rows, top=top) if contrast else {},
        accuracies=_accuracies(name, path, rows) if contrast else (),
    )


def _accuracies(name: str, path: Path, rows: Sequence[Prompt]) -> tuple[Accuracy, ...]:
    language = rows[0].language
    leaf = name.rsplit("/", 1)[-1]
    bar = surface_bar([row.label for row in rows])
    found: list[Accuracy] = []
    if len({row.group for row in rows}) >= 5:
        found += [
            across_groups("bag of words", lambda: bag_of_words(language), rows, bar=BAG_BARS.get(leaf)),
            across_groups("length alone", lambda: length_only(language), rows, bar=bar),
            across_groups("punctuation alone", punctuation_only, rows, bar=bar),
            across_groups("punctuation with apostrophes and hyphens", lambda: punctuation_only(spelling=True), rows),
        ]
    core = path.with_name("core.jsonl")
    if leaf in ("implicit", "scenarios") and core.is_file():
        train = load_prompts(core)
        if {row.label for row in train} == {row.label for row in rows}:
            model = bag_of_words(language)
            found.append(transfer("bag of words from core", model, train, rows, bar=TRANSFER_BARS.get(leaf)))
    return tuple(found)


def telling_ngrams(rows: Sequence[Prompt], *, top: int = 8) -> dict[str, tuple[tuple[str, float], ...]]:
    """The n-grams most typical of each label against the others.

    The z-score of the log-odds ratio with an informative Dirichlet prior: Monroe, Colaresi & Quinn (2008),
    "Fightin' Words", Political Analysis 16(4), equations 16, 20 and 22. The prior is the set's own counts, scaled to
    a tenth of them. N-grams are words and word pairs (one to three characters in Japanese and Chinese).

    Returns:
        label → ``(n-gram, z)``, largest z first; z > 1.96 only.
    """
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.label, Counter()).update(_ngrams(row))
    total = sum(counts.values(), Counter())
    vocabulary = sorted(gram for gram, count in total.items() if count > 2)
    if not vocabulary:
        return dict.fromkeys(counts, ())
    everywhere = np.array([total[gram] for gram in vocabulary], dtype=float)
    prior = 0.1 * everywhere
    result: dict[str, tuple[tuple[str, float], ...]] = {}
    for label, own in counts.items():
        here = np.array([own[gram] for gram in vocabulary], dtype=float)
        there = everywhere - here
        odds_here = np.log(here + prior) - np.log(here.sum() + prior.sum() - here - prior)
        odds_there = np.log(there + prior) - np.log(there.sum() + prior.sum() - there - prior)
        z = (odds_here - odds_there) / np.sqrt(1 / (here + prior) + 1 / (there + prior))
        order = np.argsort(-z, kind="stable")[:top]
        result[label] = tuple((vocabulary[i], float(z[i])) for i in order if z[i] > 1.96)
    return result


def _ngrams(row: Prompt) -> list[str]:
    if row.language in UNSPACED:
        text = "".join(c if c.isalnum() else " " for c in row.text)
        grams = [text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1)]
        return [gram for gram in grams if " " not in gram]
    found = words(row.text, row.language)
    return found + [f"{a} {b}" for a, b in pairwise(found)]
