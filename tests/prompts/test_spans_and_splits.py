"""Spans by character offsets, splits by group."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_circuits.prompts import (
    Prompt,
    corpus_of,
    evenly,
    evenly_by_group,
    find_words,
    split_groups,
    tokens_of_span,
)

WORDS = st.lists(st.text(alphabet="abcdeé漢", min_size=1, max_size=6), min_size=1, max_size=12)


@given(WORDS, st.data())
def test_a_span_finds_exactly_the_tokens_that_touch_it(words, data):
    # Byte-level BPE counts the space before a word to its token.
    offsets, place = [(0, 0)], 0
    for word in words:
        start = place - (place > 0)
        offsets.append((start, place + len(word)))
        place += len(word) + 1
    length = place - 1
    start = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(start + 1, length))
    found = tokens_of_span(offsets, start, end)
    assert found == tuple(i for i, (a, b) in enumerate(offsets) if set(range(a, b)) & set(range(start, end)))
    assert 0 not in found
    assert found


@given(st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=60), st.text(max_size=4))
def test_splits_do_not_depend_on_order_and_meet_their_shares(groups, salt):
    one = split_groups(sorted(groups), salt=salt)
    assert one == split_groups(sorted(groups, reverse=True), salt=salt)
    assert set(one) == groups
    counts = [list(one.values()).count(s) for s in ("train", "validation", "test")]
    assert counts[1] == counts[2] == round(len(groups) * 0.2)


@given(st.lists(st.integers(), unique=True, max_size=40), st.integers(0, 50))
def test_rows_are_picked_evenly_from_the_first_on(items, count):
    found = evenly(items, count)
    assert len(found) == min(count, len(items))
    assert found[:1] == items[: min(count, 1)]
    ends = [*(items.index(item) for item in found), len(items)]
    steps = {b - a for a, b in pairwise(ends)}
    assert max(steps, default=1) - min(steps, default=1) <= 1
    assert min(steps, default=1) >= 1


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.integers(0, 10))
def test_groups_are_picked_whole_and_in_order(groups, count):
    row = dict(text="t", label="anger", split="train", language="en", set="s")
    rows = [Prompt(id=str(i), group=group, **row) for i, group in enumerate(groups)]
    chosen = evenly_by_group(rows, count)
    assert [p.group for p in chosen] == [g for g in groups if g in evenly(list(dict.fromkeys(groups)), count)]
    assert chosen == sorted(chosen, key=lambda p: int(p.id))


def test_a_corpus_is_named_by_what_stands_before_its_parts():
    assert [corpus_of(name) for name in ("core", "core/implicit", "languages/ja/core", "mine/part")] == [
        "core", "core", "languages/ja/core", "mine",
    ]  # fmt: skip


@given(st.text(alphabet="abc .", min_size=1, max_size=20), st.integers(0, 25), st.integers(0, 25))
def test_the_schema_takes_a_span_only_if_it_marks_visible_text(text, start, end):
    row = dict(id="a", text=text, label="anger", group="g", split="train", language="en", set="s")
    valid = 0 <= start < end <= len(text) and not text[start].isspace() and not text[end - 1].isspace()
    if valid:
        prompt = Prompt(**row, spans=((start, end),))
        assert prompt.span_texts() == (text[start:end],)
    else:
        with pytest.raises(ValueError, match="spans"):
            Prompt(**row, spans=((start, end),))


def test_lexicon_words_are_whole_words_in_any_case():
    text = "Sorry! The madrigal made me MAD; I’m fed up."
    assert [(e, text[a:b]) for e, a, b in find_words(text)] == [
        ("apology", "Sorry"),
        ("anger", "MAD"),
        ("anger", "fed up"),
    ]
    assert [text[a:b] for _, a, b in find_words(text, "en", "apology")] == ["Sorry"]
