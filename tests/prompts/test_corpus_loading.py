"""Loading: by name and by path; every bad line is named."""

from __future__ import annotations

import json

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import Pair, available_sets, load_pairs, load_prompts, prompts_sha256


def test_every_schema_error_names_file_line_and_field(row, corpus):
    path = corpus(
        [
            row(),
            row(id="b", split="dev"),
            "not json",
            row(id="c", spans=[[8, 99]]),
            row(id="d", text="bad\u0007bell", spans=[]),
            row(id="a"),
            row(id="e", group=None, label=""),
            row(id="f", extra=1),
            "[1]",
        ]
    )
    with pytest.raises(EmotionCircuitsError) as caught:
        load_prompts(path)
    text = str(caught.value)
    for line, field in [(2, "split"), (4, "spans"), (5, "text"), (6, "id"), (7, "group"), (7, "label"), (8, "extra")]:
        assert f"{path}:{line}: {field}: " in text
    assert f"{path}:3: is not JSON" in text
    assert f"{path}:9: is not a JSON object" in text
    assert text.startswith("9 problem(s)")


def test_encoding_problems_are_named(row, corpus):
    path = corpus([row()])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + '{"text": "caf\xe9"}\n'.encode("latin-1"))
    with pytest.raises(EmotionCircuitsError) as caught:
        load_prompts(path)
    assert ":1:" not in str(caught.value)  # a byte-order mark is no mistake
    assert f"{path}:2: is not UTF-8" in str(caught.value)


def test_unknown_name_lists_the_sets():
    with pytest.raises(EmotionCircuitsError, match="languages/ja/implicit"):
        load_prompts("no-such-set")


@pytest.mark.parametrize("name", available_sets())
def test_by_name_and_by_path_are_the_same(name):
    from emotion_circuits.prompts.loading import resolve_set

    rows = load_prompts(name)
    assert rows
    assert prompts_sha256(rows) == prompts_sha256(load_prompts(resolve_set(name)[0].path))
    assert sum(len(load_prompts(name, split=s)) for s in ("train", "validation", "test")) == len(rows)


def test_a_folder_takes_all_of_its_files():
    inside = [name for name in available_sets() if name.startswith("languages/ja/")]
    assert len(load_prompts("languages/ja")) == sum(len(load_prompts(name)) for name in inside)


def test_pairs_come_as_pairs_from_both_loaders(corpus):
    pairs = load_pairs("pairs")
    assert all(isinstance(p, Pair) for p in pairs)
    assert load_prompts("pairs") == pairs
    own = corpus([p.model_dump(mode="json") for p in pairs[:3]])
    assert load_prompts(own) == load_pairs(own) == pairs[:3]


def test_a_pair_that_differs_in_two_places_is_refused(corpus):
    value = load_pairs("pairs")[0].model_dump(mode="json")
    value["corrupted"] += " really"
    path = corpus([value])
    with pytest.raises(EmotionCircuitsError, match=":1: corrupted: differs from text outside"):
        load_pairs(path)


def test_labels_and_split_filter():
    rows = load_prompts("core", split="test", labels=["anger"])
    assert {(r.split, r.label) for r in rows} == {("test", "anger")}
    with pytest.raises(EmotionCircuitsError, match="split must be"):
        load_prompts("core", split="dev")


def test_rows_survive_a_round_trip():
    for prompt in load_prompts(["core", "pairs", "languages/zh/core"]):
        assert type(prompt).model_validate(json.loads(prompt.model_dump_json())) == prompt
