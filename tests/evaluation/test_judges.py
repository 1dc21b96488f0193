"""Judges of written text are fitted on other texts than directions, and show what they are worth."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from attribute_cases import write_colours
from emotion_circuits.curation import find_duplicates
from emotion_circuits.evaluation import judge_of, judge_texts, judges_of, per_label
from emotion_circuits.evaluation.probes import EmbeddingProbe
from emotion_circuits.prompts import corpus_of, load_attribute, load_prompts

EN = load_attribute("emotion-en")


def plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def test_judges_and_directions_share_no_sentence_and_no_group() -> None:
    sentences = load_prompts(EN.corpora.fit)
    fitted = [p for judge in judges_of(EN, cache=False) if isinstance(judge, EmbeddingProbe) for p in judge.fitted_on]
    assert len(fitted) > 500
    assert not {plain(p.text) for p in sentences} & {plain(p.text) for p in fitted}
    assert not {(corpus_of(p.set), p.group) for p in sentences} & {(corpus_of(p.set), p.group) for p in fitted}
    assert not {corpus_of(p.set) for p in sentences} & {corpus_of(p.set) for p in fitted}
    alike = find_duplicates([p.text for p in (*sentences, *fitted)], threshold=0.5)
    assert not [d for d in alike if (d.first < len(sentences)) != (d.second < len(sentences))]


def test_texts_that_judges_are_tested_on_are_never_fitted() -> None:
    (judge,) = [j for j in judges_of(EN, cache=False) if isinstance(j, EmbeddingProbe)]
    fitted = {plain(p.text) for p in judge.fitted_on}
    for name in EN.validation["emotion"].sets:
        assert not fitted & {plain(p.text) for p in load_prompts(name, split="test")}, name


def test_two_judges_share_neither_texts_nor_features() -> None:
    found = judge_texts(EN, load_prompts(EN.corpora.fit))
    assert list(found) == list(EN.judges)
    probe, words = found["emotion"], found["keywords"]
    assert "judge-en" in probe["sets"]
    assert (probe["shared_sentences"], probe["shared_groups"]) == (0, 0)
    assert (words["sets"], words["rows"], words["sha256"]) == ([], 0, None)


def test_the_record_says_where_a_judge_shares_its_sentences_with_directions(tmp_path: Path) -> None:
    attribute = load_attribute(write_colours(tmp_path))
    sentences = load_prompts(attribute.corpora.fit)
    judge = judge_of(attribute, "colours", cache=False)
    assert isinstance(judge, EmbeddingProbe)
    found = judge_texts(attribute, sentences)["colours"]
    assert found["rows"] == found["shared_sentences"] == len(judge.fitted_on) > 0
    assert found["shared_groups"] == len({p.group for p in judge.fitted_on})
    assert judge_texts(attribute, [])["colours"]["shared_sentences"] == 0


def test_recall_and_precision_with_exact_intervals() -> None:
    confusion = {
        "anger": {"anger": 9, "neutral": 6},
        "gratitude": {"gratitude": 4},
        "neutral": {"anger": 1, "neutral": 9},
    }
    found = per_label(confusion).set_index("label")
    anger = found.loc["anger"]
    assert (anger["n"], anger["recall"], anger["called"], anger["precision"]) == (15, 0.6, 10, 0.9)
    # Clopper & Pearson by the beta distribution, as statistics books tabulate it for 9 of 10 and 9 of 15.
    assert (anger["precision_low"], anger["precision_high"]) == pytest.approx((0.5550, 0.9975), abs=1e-4)
    assert (anger["recall_low"], anger["recall_high"]) == pytest.approx((0.3229, 0.8366), abs=1e-4)
    assert (found.loc["gratitude", "recall"], found.loc["gratitude", "recall_high"]) == (1.0, 1.0)
    assert found.loc["gratitude", "recall_low"] == pytest.approx(0.025 ** (1 / 4))
    never = per_label({"anger": {"neutral": 3}}).iloc[0]
    assert never["called"] == 0
    assert math.isnan(never["precision"])
