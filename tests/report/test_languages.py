"""What is said: whole in every language, without leftovers, with the same places; and English is what the code says."""

import ast
import json
import re
import string
from importlib.resources import files

import pytest

from emotion_circuits.catalogues import read_catalogue
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human import words as human_words
from emotion_circuits.language import gap, nsay, say, speaking, term
from emotion_circuits.page.page import write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.report import asked
from emotion_circuits.stations.registry import aspects
from emotion_circuits.stations.steering import section as steering_section
from emotion_circuits.stations.trace import section as trace_section
from emotion_circuits.steering import REGIMES
from report.test_page import claim, page
from told import CLAIMS, KINDS
from translated import OTHERS, SOURCE, entries, extract, forms_of, key_of, template_sentences, terms, texts


def calls(*names):
    """Names of files and first arguments of the calls of these functions."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                yield path.relative_to(SOURCE).with_suffix("").as_posix(), node.args[0]


def literals():
    """Sentences that stand in a call that says or marks them."""
    python = {text.value for _, text in calls("say", "nsay", "N_") if isinstance(text, ast.Constant)}
    return python | template_sentences()


def sentences():
    """Everything that `say` is called with: literals, and the unmarked tables whose entries it is called with."""
    found = literals()
    for question in asked.QUESTIONS:
        found |= {question.text, question.unstudied}
    for aspect in (*aspects(), *human_words.ASPECTS):
        found |= set(aspect.sentences())
    rows = json.loads((files("emotion_circuits.report") / "plan.json").read_text(encoding="utf-8"))
    found |= {row[key] for row in rows for key in ("what", "phase", "pilot", "level")}
    found |= set(steering_section.SAID) | set(REGIMES.values()) | {trace_section._NOTE}
    return found


def places(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_what_is_extracted_is_what_stands_in_the_calls(tmp_path):
    """The extractor reads tokens, not syntax: of ``say(a if x == "b" else c)`` it would take ``b`` for a sentence."""
    extract(tmp_path / "code.pot", "--ignore-dirs", "locale")
    with (tmp_path / "code.pot").open("rb") as file:
        found = {key_of(message) for message in read_catalogue(file, "code.pot") if message.id}
    assert sorted(found ^ literals()) == []


def test_calls_with_something_else_than_a_literal_are_those_that_are_known():
    """A new call of `say` with a variable must have its sentences marked by `N_`, or its table added to `sentences`."""
    found = [name for name, text in calls("say") if not isinstance(text, ast.Constant)]
    counts = {name: found.count(name) for name in found}
    assert counts == {
        "circuits/drawing": 1, "stations/directions/figures": 1, "report/plan": 2, "report/questions": 7, "report/compared": 5,
        "record/station": 2,
        "stations/circuits/section": 2, "stations/steering/figures": 2, "stations/steering/section": 3,
        "stations/trace/section": 2, "serve/wording": 1, "stations/tuning/words": 1, "stations/directions/section": 1,
        "report/paper": 1, "stations/alignment/methods": 1, "stations/capture/methods": 1, "stations/directions/methods": 1,
        "stations/steering/methods": 2,
    }  # fmt: skip


@pytest.mark.parametrize("code", OTHERS)
def test_the_catalogue_has_every_sentence_and_no_others(code):
    assert sorted(sentences() - set(texts(code))) == [], "not translated"
    assert sorted(set(texts(code)) - sentences()) == [], "said nowhere"


@pytest.mark.parametrize("code", OTHERS)
def test_every_entry_is_translated_and_names_the_same_places(code):
    for message in entries(code):
        for english, other in forms_of(message):
            assert other, english
            assert places(english) == places(other), english


def test_japanese_is_japanese():
    """Sentences of three words or more are translated, not copied."""
    for message in texts("ja").values():
        for english, other in forms_of(message):
            if len(re.findall(r"[a-z]{3,}", re.sub(r"\{.*?\}", "", english))) >= 3:
                assert re.search(r"[ぁ-んァ-ヶ一-龠]", other), english


@pytest.mark.parametrize("code", OTHERS)
def test_units_and_counted_things_of_claims_are_terms(code):
    known = terms(code)
    for told in tell(CLAIMS, KINDS):
        assert told.unit.removeprefix("change of ").removeprefix("difference in ") in known, told.unit
        assert told.counted in known
        assert told.claim.verdict in known


def test_english_is_what_the_code_says():
    with speaking("en") as spoken:
        assert say("layer {layer}", layer=3) == "layer 3"
        assert term("gratitude") == "gratitude"
    assert spoken.missing == set()
    assert say("layer {layer}", layer=3) == "layer 3"


def test_what_is_not_translated_is_said_in_english_and_noted():
    with speaking("ja") as spoken:
        assert say("no such sentence {n}", n=1) == "no such sentence 1"
        assert nsay("{n} such thing", "{n} such things", 2) == "2 such things"
        assert term("no such word") == "no such word"
        assert say("") == term("") == ""
    assert spoken.missing == {"no such sentence {n}", "{n} such thing"}


def test_what_one_language_lacks_is_noted_where_it_was_spoken():
    with speaking("ja") as outer:
        with speaking("ja") as inner:
            say("no such sentence")
        with speaking("en") as english:
            say("no such sentence either")
    assert (outer.missing, inner.missing, english.missing) == (set(), {"no such sentence"}, set())


def test_a_word_of_the_data_is_no_sentence():
    """A column's name and a sentence of one spelling have translations of their own."""
    with speaking("ja", {"gratitude": "感謝", "anger": "怒り"}) as spoken:
        assert (say("bag of words"), term("accuracy")) == ("bag of words", "正解率")
        assert say("gratitude") == "gratitude"
        assert term("Contents") == "Contents"
        assert say("Contents") == "目次"
        assert (say("chance"), term("chance")) == ("偶然水準", "偶然水準")
        assert term("gratitude – anger") == "感謝 – 怒り"
    assert spoken.missing == {"bag of words", "gratitude"}


def test_a_number_chooses_the_form():
    def told():
        return [nsay("({n} row)", "({n} rows)", n) for n in (1, 2)]

    assert told() == ["(1 row)", "(2 rows)"]
    with speaking("ja") as spoken:
        assert told() == ["（1 行）", "（2 行）"]
    assert spoken.missing == set()


def test_sentences_are_set_apart_as_the_language_does():
    assert gap() == " "
    with speaking("ja") as spoken:
        assert gap() == ""
    assert spoken.missing == set()


def test_an_unknown_language_is_an_error():
    with pytest.raises(EmotionCircuitsError, match="no language 'xx'; there are en, ja"), speaking("xx"):
        pass


def test_the_english_page_is_the_same_before_and_after_another_language(tmp_path):
    def written(name, code=None):
        path = tmp_path / name
        if code is None:
            write_page(page(claims=[claim()]), path)
            return path.read_text(encoding="utf-8")
        with speaking(code):
            write_page(page(claims=[claim()]), path)
        return path.read_text(encoding="utf-8")

    plain = written("a.html")
    japanese = written("b.html", "ja")
    assert written("c.html", "en") == plain == written("d.html")
    assert '<html lang="en">' in plain
    assert '<html lang="ja">' in japanese
    assert "不支持" in japanese
