"""Every check of ``data check`` finds what it is for, and nothing in what is sound."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from emotion_circuits.cli.data import app
from emotion_circuits.curation.checking import check_corpora, write_corpus
from emotion_circuits.curation.duplicates import find_duplicates, shingles
from emotion_circuits.curation.own import own_attribute
from emotion_circuits.curation.rows import alignment_problems
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import Pair, load_prompts
from emotion_circuits.prompts.loading import parse_column_map
from emotion_circuits.prompts.tokenizing import Encoding


def findings(path, **options):
    report, _ = check_corpora([path], **options)
    return [(f.severity, f.line, f.field, f.message) for f in report.findings]


def found(path, severity, line, field, part, **options):
    return any(
        (s, n, f) == (severity, line, field) and part in message for s, n, f, message in findings(path, **options)
    )


def test_all_schema_errors_of_all_files_are_listed(row, corpus):
    one = corpus([row(split="dev"), row(id="b", language="English")], "one.jsonl")
    two = corpus(["{", row(label=None)], "two.jsonl")
    report, rows = check_corpora([one, two])
    assert [(f.file, f.line, f.field) for f in report.errors[:2]] == [(str(one), 1, "split"), (str(one), 2, "language")]
    assert (str(two), 1, "") in [(f.file, f.line, f.field) for f in report.errors]
    assert (str(two), 2, "label") in [(f.file, f.line, f.field) for f in report.errors]
    assert rows == []


def test_exact_duplicates(row, corpus):
    path = corpus(
        [
            row(id="a", group="g1"),
            row(id="b", group="g2", text="I am so GRATEFUL to you!"),
            row(id="c", group="g3", split="test"),
            row(id="d", group="g4", label="anger", spans=[]),
        ]
    )
    assert found(path, "warning", 2, "text", "is the text of line 1")
    assert found(path, "error", 3, "text", "in another split (train there, test here)")
    assert found(path, "error", 4, "text", "labelled 'gratitude' there")


def test_near_duplicates_across_splits_are_errors_and_contrasts_within_a_group_are_not(row, corpus):
    text = "The neighbour from the third floor brought the parcel up on Monday."
    rows = [
        row(id="a", text=text, group="g1", spans=[]),
        row(id="b", text=text.replace("Monday", "Tuesday"), group="g2", spans=[]),
        row(id="c", text=text.replace("Monday", "Friday"), group="g3", split="test", spans=[]),
        row(id="d", text=text.replace("third", "fourth"), group="g1", label="neutral", spans=[]),
        row(id="e", text="Nothing else in this file looks like this row.", group="g5", spans=[]),
    ]
    path = corpus(rows)
    assert found(path, "warning", 2, "text", "is nearly the text of line 1")
    assert found(path, "error", 3, "text", "which is train; this is test")
    assert not any(line == 4 and "line 1 " in message for _, line, _, message in findings(path))
    assert not any(line == 5 and "nearly" in message for _, line, _, message in findings(path))


def test_duplicates_are_found_across_files(row, corpus):
    one = corpus([row()], "one.jsonl")
    two = corpus([row(id="b", split="test")], "two.jsonl")
    report, _ = check_corpora([one, two])
    assert any(f.file == str(two) and f"{one}:1" in f.message for f in report.errors)


@given(st.lists(st.text(alphabet="ab c", min_size=0, max_size=14), max_size=14), st.sampled_from([0.3, 0.5, 0.65, 1.0]))
def test_prefix_filtering_finds_what_comparing_all_pairs_finds(texts, threshold):
    expected = set()
    for j in range(len(texts)):
        for i in range(j):
            a, b = shingles(texts[i]), shingles(texts[j])
            if len(a & b) / len(a | b) >= threshold:
                expected.add((i, j))
    assert {(d.first, d.second) for d in find_duplicates(texts, threshold=threshold)} == expected


@pytest.mark.parametrize(
    ("fields", "severity", "part"),
    [
        ({"spans": [[8, 12]]}, "error", "cuts a word: 'grat'"),
        ({"spans": [[5, 7]]}, "error", "the gratitude word is 'grateful' at [8, 16]"),
        ({"text": "I was so touched by it.", "spans": [[9, 16]]}, "warning", "is not in the lexicon"),
        (
            {"text": "Thanks, I am so grateful.", "spans": [[0, 6]]},
            "warning",
            "leave out the gratitude word 'grateful'",
        ),
    ],
)
def test_spans_that_do_not_match_their_text(row, corpus, fields, severity, part):
    assert found(corpus([row(**fields)]), severity, 1, "spans", part)


def test_lexicon_words_in_implicit_and_neutral_texts(row, corpus):
    path = corpus(
        [
            row(id="a", set="my/implicit", spans=[]),
            row(id="b", label="neutral", text="He was furious with the referee.", spans=[], group="h"),
            row(id="c", label="neutral", text="The meeting is at nine.", spans=[], group="i"),
        ]
    )
    assert found(path, "error", 1, "text", "gratitude word 'grateful' in an implicit set")
    assert found(path, "error", 2, "text", "is neutral and holds the anger word 'furious'")
    assert not any(line == 3 and "word" in message for _, line, _, message in findings(path))


def test_a_word_that_names_no_emotion_is_marked_in_a_neutral_text(row, corpus):
    text = "The storm rages on, and he was furious."
    path = corpus([row(id="a"), row(id="b", label="neutral", text=text, spans=[[10, 15]], group="h")])
    assert found(path, "error", 2, "text", "is neutral and holds the anger word 'furious'; mark it")
    assert not any("rages" in message for *_, message in findings(path))
    hidden = corpus([row(id="a", spans=[[8, 16]], set="implicit")], "hidden.jsonl")
    assert found(hidden, "error", 1, "text", "in an implicit set"), "marking excuses nothing there"
    assert not found(path, "error", 1, "text", "implicit", implicit=False)
    assert found(corpus([row()]), "error", 1, "text", "in an implicit set", implicit=True)


@pytest.mark.parametrize(
    ("text", "severity", "part"),
    [
        ("The cafÃ© was closed.", "error", "another encoding"),
        ("The cafe\u0301 was closed.", "warning", "normal form C"),
        ("The café\u00ad was closed.", "warning", "U+00AD"),
        ("The café  was closed.", "warning", "two spaces"),
        ("The café was closed. ", "warning", "white space"),
        ("The café\u2028was closed.", "warning", "U+2028"),
    ],
)
def test_characters(row, corpus, text, severity, part):
    path = corpus([row(text=text, label="neutral", spans=[])])
    assert found(path, severity, 1, "text", part)


def test_control_characters_are_schema_errors(row, corpus):
    assert found(corpus([row(text="a\u0000b", spans=[])]), "error", 1, "text", "U+0000")


def test_a_group_divided_by_a_split_is_an_error(row, corpus):
    path = corpus([row(), row(id="b", text="Quite another sentence.", label="neutral", split="test", spans=[])])
    assert found(path, "error", 2, "split", "group 'g' is divided")


def labelled(row, texts, seed=0):
    """60 groups × 4 labels; ``texts(label, group, rng)`` gives the text."""
    rng = random.Random(seed)
    rows = []
    for group in range(60):
        split = "test" if group % 5 == 0 else "validation" if group % 5 == 1 else "train"
        for label in ("gratitude", "anger", "apology", "neutral"):
            text = texts(label, group, rng)
            rows.append(row(id=f"{group}-{label}", text=text, label=label, group=f"g{group}", split=split, spans=[]))
    return rows


def nonsense(rng, n=8):
    return " ".join("".join(rng.choices("bcdfghklmnprstvwz", k=6)) for _ in range(n)).capitalize()


def test_balanced_nonsense_passes(row, corpus):
    report, _ = check_corpora([corpus(labelled(row, lambda label, group, rng: nonsense(rng) + "."))])
    assert report.findings == ()
    surface = report.files[0].balance.surface
    assert {a.name for a in surface} == {"punctuation alone", "length alone"}
    assert all(a.chance == 0.25 for a in surface)


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        (lambda label, g, rng: nonsense(rng) + ("!" if label == "anger" else "."), "punctuation alone"),
        (lambda label, g, rng: nonsense(rng, 12 if label == "apology" else 8) + ".", "length alone"),
    ],
)
def test_a_label_given_away_by_the_surface_is_an_error(row, corpus, texts, part):
    report, _ = check_corpora([corpus(labelled(row, texts))])
    assert any(f.field == "text" and f.message.startswith(part) for f in report.errors)
    assert report.warnings  # with the figures per label


def test_unbalanced_labels_and_missing_labels_of_a_group(row, corpus):
    rows = labelled(row, lambda label, group, rng: nonsense(rng) + ".")
    rows = [r for r in rows if not (r["label"] == "anger" and int(r["group"][1:]) % 2)]
    path = corpus(rows)
    assert any("labels are unbalanced in train: anger" in message for _, _, _, message in findings(path))
    assert found(path, "warning", 4 + 1, "group", "has no text for anger")


def letters(text: str) -> Encoding:
    """A toy tokenizer: words with their leading space; ``wide`` is two tokens."""
    ids, offsets, place = [], [], 0
    for i, word in enumerate(text.split(" ")):
        start = place - (1 if i else 0)
        parts = ["wi", "de"] if word == "wide" else [word]
        for part in parts:
            end = place + len(part)
            ids.append(hash(part) % 10**9)
            offsets.append((start, end))
            place = start = end
        place += 1
    return Encoding(tuple(ids), tuple(offsets))


@pytest.mark.parametrize(
    ("corrupted", "answers", "part"),
    [
        ("bad", ("angry",), None),
        ("wide", ("angry",), "text has 4 tokens and corrupted has 5"),
        ("bad", ("glad now",), "same token"),
    ],
)
def test_pairs_must_be_aligned_under_the_tokenizer(row, corrupted, answers, part):
    value = row(text="A good day so", spans=[[2, 6]], set="pairs", answers=["glad"], corrupted_label="anger")
    value |= {"corrupted": f"A {corrupted} day so", "corrupted_spans": [[2, 2 + len(corrupted)]]}
    pair = Pair.model_validate({**value, "corrupted_answers": list(answers)})
    problems = list(alignment_problems(pair, letters))
    assert [part in p.message for p in problems] == ([] if part is None else [True])


def test_a_table_with_a_column_map(tmp_path):
    path = tmp_path / "survey.csv"
    path.write_text(
        'Sentence;Emotion;Word\n"So sorry; I forgot";apology;sorry\nAll fine here;neutral;\n'
        '"Two\nlines";neutral;\nHow rude;anger;furious\n',
        encoding="utf-8",
    )
    columns = parse_column_map(["text=Sentence", "label=Emotion", "spans=Word"])
    report, rows = check_corpora([path], columns=columns)
    assert [(r.id, r.label, r.span_texts()) for r in rows] == [
        ("survey-2", "apology", ("sorry",)),
        ("survey-3", "neutral", ()),
        ("survey-4", "neutral", ()),
        ("survey-6", "anger", ()),
    ]
    assert rows[2].text == "Two\nlines"
    places = [(f.line, f.field) for f in report.errors]
    assert (6, "spans") in places  # the word does not stand in the text
    assert {r.set for r in rows} == {"survey"}


@pytest.mark.parametrize("bad", ["text", "text=", "colour=C", "text=B"])
def test_a_wrong_column_map_is_refused(tmp_path, bad):
    path = tmp_path / "t.csv"
    path.write_text("a,label\nx,y\n", encoding="utf-8")
    with pytest.raises(EmotionCircuitsError):
        check_corpora([path], columns=parse_column_map([bad]))


def test_command_converts_a_table_and_fails_on_errors(tmp_path, row):
    table, out = tmp_path / "mine.csv", tmp_path / "out.jsonl"
    table.write_text(
        "text,label\nWhat a day it was.,neutral\nWe met at noon on the bridge.,neutral\n", encoding="utf-8"
    )
    result = CliRunner().invoke(app, ["check", str(table), "--write", str(out)])
    assert result.exit_code == 0, result.output
    assert [r.text for r in load_prompts(out)] == ["What a day it was.", "We met at noon on the bridge."]
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(row(split="dev")) + "\n" + json.dumps(row(label="")) + "\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(bad), "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [(f["line"], f["field"]) for f in report["findings"][:2]] == [(1, "split"), (2, "label")]


def test_written_rows_are_read_back(tmp_path):
    rows = load_prompts(["core", "pairs"])
    write_corpus(tmp_path / "all.jsonl", rows)
    assert load_prompts(tmp_path / "all.jsonl") == rows


def test_labels_that_read_alike_are_an_error(row, corpus):
    names = ("Joy", "joy", "fear", "fear of  loss", "Fear of loss")
    rows = [row(id=f"r{i}", text=f"Text {i} of a kind.", label=n, group=f"g{i}", spans=[]) for i, n in enumerate(names)]
    path = corpus(rows)
    assert found(path, "error", None, "label", "only in how they are written: 'Joy' (1), 'joy' (1); write them alike")
    assert found(path, "error", None, "label", "'fear of  loss' (1), 'Fear of loss' (1)")
    assert not found(path, "error", None, "label", "'fear' (1)")
    with pytest.raises(EmotionCircuitsError, match="labels differ only in how they are written: 'Joy'"):
        own_attribute(path, path.parent / "out")


def test_mark_up_that_was_left_in_a_text_is_told(row, corpus):
    path = corpus(
        [
            row(id="a", text="A &amp; b are here.", spans=[]),
            row(id="b", text="They came.<br/>They left.", spans=[], label="anger", group="h"),
            row(id="c", text="AT&T; 3 < 4 > 2 <b", spans=[], group="i"),
        ]
    )
    assert found(path, "warning", 1, "text", "'&amp;' at position 2 looks like HTML")
    assert found(path, "warning", 2, "text", "'<br/>' at position 10 looks like HTML")
    assert not found(path, "warning", 3, "text", "looks like HTML")
    assert not found(path, "warning", None, "text", "by inf")


def _seconds(row, corpus, count):
    """Processor time of checking so many rows of a table, every tenth of them nearly the one before it."""
    drawn = random.Random(count)
    words = ["".join(drawn.choices("abcdefghijklmnoprstuvw", k=drawn.randint(2, 8))) for _ in range(4_000)]
    labels, rows, text = ("gratitude", "anger", "neutral"), [], ""
    for i in range(count):
        text = f"{text} again" if i % 10 == 9 else " ".join(drawn.choices(words, k=10))
        rows.append(row(id=f"r{i}", text=text, label=labels[i % 3], group=f"g{i // 10}", split="train", spans=[]))
    path = corpus(rows, f"{count}.jsonl")
    began = time.process_time()
    report, read = check_corpora([path])
    assert len(read) == count
    assert sum(f.kind.startswith("near duplicate") for f in report.findings) <= count
    return time.process_time() - began


def test_the_time_of_a_check_grows_with_the_rows_and_not_with_their_square(row, corpus):
    _seconds(row, corpus, 200)  # what is loaded and compiled once
    small = min(_seconds(row, corpus, 1_000) for _ in range(2))
    assert _seconds(row, corpus, 6_000) < 6 * small * 2.5, "its square would be 36 times as long"
