"""The bundled sets hold what the data card says, and meet their bars."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from emotion_circuits.curation.checking import check_corpora
from emotion_circuits.curation.describing import describe_corpora
from emotion_circuits.curation.rows import alignment_problems
from emotion_circuits.curation.surface import words
from emotion_circuits.evaluation import AttributeClassifier, judge_of, validate, validate_on_bundled
from emotion_circuits.evaluation.validating import WRITTEN
from emotion_circuits.model import install
from emotion_circuits.prompts import available_sets, find_words, load_attribute, load_pairs, load_prompts
from emotion_circuits.prompts.tokenizing import load_tokenizer

EN = load_attribute("emotion-en")
EMOTIONS, LABELS = EN.values, EN.labels
ATTRIBUTES = ("politeness", "formality", "humor", "threat", "truthfulness", "social_bias")
COUNTS = {
    # set: rows per label
    "core": 170,
    "implicit": 100,
    "implicit-fresh": 30,
    "registers-a": 136,
    "registers-b": 115,
    "registers-fresh": 76,
    "languages/ja/core": 100,
    "languages/ja/implicit": 50,
    "languages/es/core": 60,
    "languages/fr/core": 60,
    "languages/de/core": 60,
    "languages/zh/core": 60,
}


@pytest.fixture(scope="module")
def report():
    return check_corpora(available_sets())[0]


@pytest.fixture(scope="module")
def description():
    return {s.name: s for s in describe_corpora(available_sets()).sets}


@pytest.fixture(scope="module")
def some():
    """Those whose bars are tested every time; describing every set takes more than a minute."""
    names = ("core", "implicit", "scenarios", "languages/ja/core", "languages/ja/implicit")
    return {s.name: s for s in describe_corpora(names).sets}


def accuracy(description, name, reads):
    return next(a for a in description[name].accuracies if a.name == reads)


def test_the_bundled_sets_have_no_errors_alone_or_against_one_another(report):
    assert [str(finding) for finding in report.errors] == []


@pytest.mark.parametrize(("name", "each"), COUNTS.items())
def test_counts_of_the_emotion_sets(name, each):
    rows = load_prompts(name)
    assert Counter(r.label for r in rows) == dict.fromkeys(LABELS, each)
    assert len({r.text for r in rows}) == len(rows)
    assert {r.language for r in rows} == {name.split("/")[1] if "/" in name else "en"}
    by_group = Counter(r.group for r in rows)
    assert set(by_group.values()) == {4}


def test_the_sets_of_registers_share_no_scene_and_each_has_eight_registers_with_every_label():
    rows = {name: load_prompts(name) for name in ("registers-a", "registers-b", "registers-fresh")}
    groups = [{r.group for r in found} for found in rows.values()]
    assert len(set().union(*groups)) == sum(len(g) for g in groups)
    for name, found in rows.items():
        parts = {r.set.removeprefix(f"{name}/") for r in found}
        assert len(parts) >= 8
        assert {(r.set, r.label) for r in found} == set(itertools.product({r.set for r in found}, LABELS))
    assert {r.split for r in rows["registers-fresh"]} == {"test"}
    assert not {"registers-fresh"} & {
        *EN.corpora.fit,
        *EN.classifier.fit,
        *EN.classifier.none,
        *EN.validation["emotion"].sets,
    }


def test_scenarios_tell_each_event_four_times():
    rows = load_prompts("scenarios")
    groups = {g: sorted(r.label for r in rows if r.group == g) for g in {r.group for r in rows}}
    assert len(groups) >= 100
    assert all(labels == sorted(LABELS) for labels in groups.values())


def test_core_is_two_disjoint_sets_of_70_and_100_per_label():
    rows = load_prompts("core")
    parts = {name: [r for r in rows if r.set == name] for name in ("core/baseline", "core/extended")}
    assert {name: Counter(r.label for r in part) for name, part in parts.items()} == {
        "core/baseline": dict.fromkeys(LABELS, 70),
        "core/extended": dict.fromkeys(LABELS, 100),
    }
    texts = [{r.text.casefold() for r in part} for part in parts.values()]
    assert not texts[0] & texts[1]
    assert not {r.group for r in parts["core/baseline"]} & {r.group for r in parts["core/extended"]}


@pytest.mark.parametrize("name", ["core", *(n for n in COUNTS if n.startswith("languages") and n.endswith("core"))])
def test_spans_of_core_sets_are_lexicon_words_of_the_label(name):
    for r in load_prompts(name):
        own = [(a, b) for _, a, b in find_words(r.text, r.language, r.label)] if r.label in EMOTIONS else []
        assert bool(r.spans) == (r.label in EMOTIONS), r.id
        assert all(any(a < d and c < b for a, b in own) for c, d in r.spans), (r.id, r.span_texts())


def test_core_lengths_in_gpt2_tokens(gpt2):
    lengths = [len(gpt2(r.text).ids) for r in load_prompts("core")]
    assert min(lengths) >= 3
    assert max(lengths) <= 12
    assert sum(lengths) / len(lengths) == pytest.approx(7, abs=0.5)


@pytest.mark.parametrize("name", ["implicit", "implicit-fresh", "languages/ja/implicit"])
def test_implicit_sets_hold_no_lexicon_word(name):
    hits = {r.id: find_words(r.text, r.language) for r in load_prompts(name)}
    assert not [row for row, found in hits.items() if found]


def test_implicit_lengths():
    assert all(8 <= len(r.text.split()) <= 25 for r in load_prompts("implicit"))


def test_pairs_cover_every_two_labels_both_ways_in_every_split():
    rows = load_pairs()
    assert len({frozenset((r.text, r.corrupted)) for r in rows}) >= 120
    assert {(r.corrupted, r.text) for r in rows} == {(r.text, r.corrupted) for r in rows}
    counts = Counter((r.label, r.corrupted_label) for r in rows)
    assert set(counts) == set(itertools.permutations(LABELS, 2))
    assert all(counts[a, b] == counts[b, a] for a, b in counts)
    held = {(r.split, frozenset((r.label, r.corrupted_label))) for r in rows}
    assert len(held) == 3 * 6
    assert all(len(r.answers) >= 2 and len(r.corrupted_answers) >= 2 for r in rows)


def test_pairs_are_aligned_under_gpt2(gpt2):
    assert [(r.id, p.message) for r in load_pairs() for p in alignment_problems(r, gpt2)] == []


@pytest.mark.slow
def test_pairs_are_aligned_under_gpt_neox(neox):
    assert [(r.id, p.message) for r in load_pairs() for p in alignment_problems(r, neox)] == []


@pytest.mark.slow
@pytest.mark.parametrize("model", ["smollm2-135m", "gemma3-270m"])
def test_pairs_are_aligned_under_the_bundled_models(model):
    tokenize = load_tokenizer(install(model))
    assert [(r.id, p.message) for r in load_pairs() for p in alignment_problems(r, tokenize)] == []


def test_continuations_and_requests_are_enough_and_split():
    openings, requests = load_prompts("continuations"), load_prompts("chat_requests")
    assert len(openings) >= 150
    assert len(requests) >= 40
    assert len(load_prompts("languages/ja/continuations")) >= 40
    for rows in (openings, requests):
        assert {r.split for r in rows} == {"train", "validation", "test"}
        assert {r.label for r in rows} == {"neutral"}
        assert not [r.id for r in rows if find_words(r.text)]
    kinds = {"narrative", "email", "chat", "review", "first_person", "third_person"}
    assert {r.set.removeprefix("continuations/") for r in openings} == kinds


@pytest.mark.parametrize("name", ["continuations-fresh", "continuations-held"])
def test_fresh_openings_are_test_only_and_of_the_same_kinds(name):
    rows, others = load_prompts(name), load_prompts("continuations")
    assert {(r.split, r.label) for r in rows} == {("test", "neutral")}
    assert {r.set.split("/")[1] for r in rows} == {r.set.split("/")[1] for r in others}
    assert not [r.id for r in rows if find_words(r.text)]
    assert not {r.group for r in rows} & {r.group for r in others}


def test_requests_for_a_tone_are_held_out_and_ask_for_none():
    rows, others = load_prompts("tone_requests"), load_prompts("chat_requests")
    assert len(rows) >= 60
    assert {(r.split, r.label) for r in rows} == {("test", "neutral")}
    assert len({r.group for r in rows}) == len(rows)
    assert not [r.id for r in rows if find_words(r.text)]
    assert not {r.text for r in rows} & {r.text for r in others}


@pytest.mark.parametrize(("name", "texts"), [("continuations-labelled", 150), ("continuations-labelled-2", 378)])
def test_labelled_continuations_are_what_a_judge_is_judged_on(name, texts):
    assert name in WRITTEN
    rows = load_prompts(name)
    assert {r.split for r in rows} <= {"validation", "test"}
    assert len(rows) >= texts
    assert min(Counter(r.label for r in rows if r.label in LABELS).values()) >= 14
    splits = {r.split for r in rows}
    assert not set.intersection(*({r.group for r in rows if r.split == split} for split in splits)) or len(splits) == 1
    rows = [r for r in rows if r.split == "test"]
    (found,) = [v for v in validate_on_bundled(judge_of(EN, "keywords", cache=False), EN) if v.data == name]
    assert found.excluded == ("mixed",)
    assert found.n == len([r for r in rows if r.label in LABELS])
    assert set(found.recall) == set(LABELS)


@pytest.mark.parametrize("name", [*ATTRIBUTES, "politeness_ja"])
def test_attributes_have_a_hundred_contrasts(name):
    rows = load_prompts(f"attributes/{name}")
    groups = {g: sorted(r.label for r in rows if r.group == g) for g in {r.group for r in rows}}
    assert len(groups) >= 100
    assert all(labels == ["negative", "neutral", "positive"] for labels in groups.values())


def test_personas():
    rows = load_prompts("attributes/persona")
    assert len({r.group for r in rows}) >= 100
    assert {"assistant", "pirate", "child"} <= {r.label for r in rows}


def test_japanese_registers_do_not_give_the_label_away():
    polite = re.compile(r"(です|ます|ました|ません|でした|ください|ましょう|でしょう|くださ)")
    for name in ("languages/ja/core", "languages/ja/implicit"):
        rows = load_prompts(name)
        shares = [sum(bool(polite.search(r.text)) for r in rows if r.label == label) for label in LABELS]
        assert max(shares) - min(shares) <= 0.1 * len(rows) / 4, (name, shares)


def test_bag_of_words_bars(some):
    assert accuracy(some, "implicit", "bag of words from core").accuracy <= 0.50
    assert accuracy(some, "languages/ja/implicit", "bag of words from core").accuracy <= 0.50
    assert accuracy(some, "scenarios", "bag of words").accuracy <= 0.75


@pytest.mark.slow
def test_surface_bars(description):
    above = {
        (name, a.name): round(a.accuracy, 3)
        for name, s in description.items()
        for a in s.accuracies
        if a.name in ("length alone", "punctuation alone") and a.accuracy > a.bar
    }
    assert above == {}


def test_embedding_classifier_reads_held_out_implicit_texts():
    fitted = load_prompts(["core", "implicit", "scenarios"])
    own = AttributeClassifier(EN, forced=True, prompts=fitted)
    assert validate(own, load_prompts("implicit", split="test")).accuracy >= 0.80


@pytest.mark.slow
def test_the_data_card_holds_todays_counts(description):
    card = (Path(__file__).parents[2] / "docs" / "data-card.md").read_text(encoding="utf-8")
    for name, s in description.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| `{name}` | {', '.join(s.languages)} |"))
        assert f"| {s.rows} | {s.groups} |" in row
        for a in s.accuracies:
            assert f"{a.accuracy:.3f}" in card, (name, a.name)


def test_words_of_unspaced_scripts_are_characters():
    assert words("It's a well-known café.") == ["it's", "a", "well", "known", "café"]
    assert words("今日は 晴れ", "ja") == list("今日は晴れ")
