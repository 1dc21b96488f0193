"""Figures of the surface are the same on every machine, and those of words are of held-out sets."""

from __future__ import annotations

import numpy as np
import pytest

from emotion_circuits.curation import across_groups, across_sets, punctuation_only
from emotion_circuits.curation.surface import accuracy_of, decided
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_attribute, load_prompts

EN = load_attribute("emotion-en")


def test_even_odds_are_decided_by_the_alphabet_and_not_by_the_last_digit():
    texts = ["One stop.", "Two stops.", "Three stops.", "Four stops."] * 5
    labels = ["neutral", "gratitude", "apology", "anger"] * 5
    model = punctuation_only().fit(texts, labels)
    assert decided(model, texts).tolist() == ["anger"] * 20
    classifier = model[-1]
    for label in range(4):  # what another machine's rounding would do
        classifier.intercept_ = classifier.intercept_ + 1e-13 * np.eye(4)[label]
        assert decided(model, texts).tolist() == ["anger"] * 20
    classifier.intercept_ = classifier.intercept_ + 1e-6 * np.eye(4)[3]
    assert decided(model, texts).tolist() == ["neutral"] * 20


def test_marks_that_are_the_same_in_every_label_tell_exactly_chance():
    rows = [
        row.model_copy(update={"text": " ".join(["word"] * (1 + i % 3)) + "."})
        for i, row in enumerate(load_prompts("implicit-fresh"))
    ]
    found = across_groups("marks", punctuation_only, rows)
    assert (found.accuracy, found.interval) == (0.25, (0.25, 0.25))


def test_accuracy_counts_rows_and_groups():
    rows = load_prompts("implicit-fresh")
    judged = [row.label if i % 2 else "nothing" for i, row in enumerate(rows)]
    found = accuracy_of("half", judged, rows)
    assert (found.accuracy, found.rows, found.groups, found.chance) == (0.5, 120, 30, 0.25)


def test_words_fitted_on_some_sets_are_scored_on_the_test_split_of_others():
    ngrams, lengths = across_sets(["implicit"], ["implicit-fresh"], EN.labels)
    assert (ngrams.name, lengths.name) == ("implicit-fresh: tuned n-grams", "implicit-fresh: length alone")
    assert ngrams.rows == lengths.rows == len(load_prompts("implicit-fresh", split="test"))
    assert ngrams.interval[0] > 0.4 > lengths.accuracy
    with pytest.raises(
        EmotionCircuitsError, match="other_feelings: no row of its test split is labelled gratitude, anger"
    ):
        across_sets(["implicit"], ["other_feelings"], ["gratitude", "anger"])
