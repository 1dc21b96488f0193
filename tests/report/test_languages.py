"""The catalogues: whole, without leftovers, with the same places; and English is what the code says."""

import ast
import json
import re
import string
from importlib.resources import files
from pathlib import Path

import pytest

import emotion_circuits
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import LANGUAGES, catalogue, say, speaking, term
from emotion_circuits.page.page import write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.report import asked, plan
from emotion_circuits.stations.circuits import drawing
from emotion_circuits.stations.directions import figures as direction_figures
from emotion_circuits.stations.registry import aspects
from emotion_circuits.stations.steering import section as steering_section
from emotion_circuits.stations.trace import section as trace_section
from emotion_circuits.steering import REGIMES
from report.test_page import claim, page
from report.told import CLAIMS, KINDS

SOURCE = Path(emotion_circuits.__file__).parent
OTHERS = [code for code in LANGUAGES if code != "en"]


def sentences():
    """Everything that `say` is called with: literals in the code, and the tables whose entries it is called with."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "say"
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(node.args[0].value)
    template = (SOURCE / "page" / "template.html.j2").read_text(encoding="utf-8")
    found |= {match[2] for match in re.finditer(r"""say\((['"])(.*?)\1""", template)}
    for question in asked.QUESTIONS:
        found |= {question.text, question.unstudied}
    for aspect in aspects():
        found |= set(aspect.sentences())
    rows = json.loads((files("emotion_circuits.report") / "plan.json").read_text(encoding="utf-8"))
    found |= {row[key] for row in rows for key in ("what", "phase", "pilot", "level")} | set(plan._HOW.values())
    found |= set(direction_figures._MAPS.values()) | set(steering_section.SAID)
    found |= set(REGIMES.values()) | set(drawing._ROLES.values()) | {trace_section._NOTE}
    return found


def places(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_calls_with_something_else_than_a_literal_are_those_that_are_known():
    """A new call of `say` with a variable must have its table added to `sentences`."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "say"
                and not isinstance(node.args[0], ast.Constant)
            ):
                found.append(path.relative_to(SOURCE).with_suffix("").as_posix())
    counts = {name: found.count(name) for name in found}
    assert counts == {
        "stations/circuits/drawing": 1, "stations/directions/figures": 1, "report/plan": 2, "report/questions": 4,
        "stations/steering/figures": 2, "stations/steering/section": 2, "stations/trace/section": 2,
    }  # fmt: skip


@pytest.mark.parametrize("code", OTHERS)
def test_the_catalogue_has_every_sentence_and_no_others(code):
    texts = catalogue(code)["texts"]
    assert sorted(sentences() - set(texts)) == [], "not translated"
    assert sorted(set(texts) - sentences()) == [], "said nowhere"


@pytest.mark.parametrize("code", OTHERS)
def test_translations_name_the_same_places(code):
    wrong = [english for english, other in catalogue(code)["texts"].items() if places(english) != places(other)]
    assert wrong == []


def test_japanese_is_japanese():
    """Sentences of three words or more are translated, not copied."""
    for english, other in catalogue("ja")["texts"].items():
        if len(re.findall(r"[a-z]{3,}", re.sub(r"\{.*?\}", "", english))) >= 3:
            assert re.search(r"[ぁ-んァ-ヶ一-龠]", other), english


@pytest.mark.parametrize("code", OTHERS)
def test_units_and_counted_things_of_claims_are_terms(code):
    terms = catalogue(code)["terms"]
    for told in tell(CLAIMS, KINDS):
        assert told.unit.removeprefix("change of ") in terms, told.unit
        assert told.counted in terms
        assert told.claim.verdict in terms


def test_english_is_what_the_code_says():
    with speaking("en") as spoken:
        assert say("layer {layer}", layer=3) == "layer 3"
        assert term("gratitude") == "gratitude"
    assert spoken.missing == set()
    assert say("layer {layer}", layer=3) == "layer 3"


def test_what_is_not_translated_is_said_in_english_and_noted():
    with speaking("ja") as spoken:
        assert say("no such sentence {n}", n=1) == "no such sentence 1"
        assert term("no such word") == "no such word"
    assert spoken.missing == {"no such sentence {n}"}


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
