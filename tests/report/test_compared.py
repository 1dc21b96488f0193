"""Several runs beside one another, by question: each with its own report's answer, every claim once, what is missing said."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.page.browser import open_page
from emotion_circuits.page.numerals import probability
from emotion_circuits.page.telling import figure_words
from emotion_circuits.record.reading import open_run, read_claims
from emotion_circuits.report.asked import QUESTIONS
from emotion_circuits.report.compared import answered, compared, render_comparison, run_names
from emotion_circuits.report.study_page import render_report
from emotion_circuits.study import run_study
from report.test_page import browser, errors
from study_cases import resummed, small


@pytest.fixture(scope="module")
def studied(runs, tmp_path_factory):
    """The two studies, and two that are as different as can be: another attribute without stations behind its directions, and
    one that never finished."""
    root = tmp_path_factory.mktemp("compared")
    tiny = json.loads((runs / "a" / "study.json").read_text())["model"]
    other = {
        "attribute": "politeness-en",
        "prompts": None,
        "emotions": None,
        "leave_out": ["trace", "steering", "circuits"],
    }
    run_study(small(tiny, **other), root / "polite")
    shutil.copytree(runs / "a", root / "half")
    (root / "half" / "manifest.json").unlink()
    shutil.rmtree(root / "half" / "steering")
    return (runs / "a", runs / "b", root / "polite", root / "half")


def opened(folders):
    return [open_run(folder) for folder in folders]


def written(folders, out, **options):
    return render_comparison(opened(folders), out, **options).page


def tables(page):
    parts = [part for section in page.sections for part in section.parts if part.name == "claims-other"]
    return [one.claims for one in page.asked if one.claims is not None] + parts


def test_each_run_answers_as_in_its_own_report(runs, tmp_path):
    page = written((runs / "a", runs / "b"), tmp_path / "c.html")
    assert [one.key for one in page.asked] == [question.key for question in QUESTIONS]
    for place, name in enumerate("ab"):
        own = render_report(runs / name, out=tmp_path / "r.html").page.answers
        for one, answer in zip(page.asked, own, strict=True):
            assert one.answers[place][0] == name
            beside = one.answers[place][1]
            assert (beside.verdict, beside.gist, beside.evidence) == (answer.verdict, answer.gist, answer.evidence)
    html = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert html.count('class="question"') == 5
    assert len(html) < 1_000_000, "without the drawing library, which nothing here needs"
    anchors = set(re.findall(r' id="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= anchors


def test_every_claim_stands_once_with_its_figures_and_what_is_missing_is_said(studied, tmp_path):
    page = written(studied, tmp_path / "c.html")
    rows = {row.code: row for table in tables(page) for row in table.rows}
    assert sum(len(table.rows) for table in tables(page)) == len(rows)
    own = [{claim.id: claim for claim in read_claims(folder)} for folder in studied]
    assert set(rows) == set().union(*own)
    told = [{t.claim.id: t for t in run.claims} for run in answered(opened(studied))]
    for name, row in rows.items():
        for claims, words, cell in zip(own, told, row.cells, strict=True):
            assert (cell is None) == (name not in claims)
            if cell is not None:
                assert (cell.text, cell.verdict) == (figure_words(words[name]), claims[name].verdict)
                q = claims[name].figures.q
                assert q is None or probability(q) in cell.small.replace("\N{NO-BREAK SPACE}", " ")
        verdicts = {claims[name].verdict for claims in own if name in claims}
        assert ("verdicts differ" in row.differs) == (len(verdicts) > 1)
        assert ("only in" in row.differs) == any(name not in claims for claims in own)
    polite = [row for name, row in rows.items() if name in own[2] and name not in own[0]]
    assert polite
    assert all(row.differs == "only in polite" for row in polite)
    assert (tmp_path / "c.html").read_text(encoding="utf-8").count("not in this run") == sum(
        row.cells.count(None) for row in rows.values()
    )


def test_what_the_runs_are_is_said(studied, tmp_path):
    page = written(studied, tmp_path / "c.html")
    facts = dict(page.facts)
    assert list(facts) == ["a", "b", "polite", "half"]
    assert "politeness-en" in facts["polite"]
    assert "has not finished" in facts["half"]
    assert "has not finished" not in facts["a"]
    assert "They do not study the same thing (emotion-en, politeness-en)" in page.lead
    assert "the same thing" not in written(studied[:2], tmp_path / "two.html").lead
    settings = next(s for s in page.sections if s.anchor == "settings").parts[0]
    row = next(row for row in settings.rows if row.name == "attribute")
    assert [cell.text for cell in row.cells] == ["emotion-en", "emotion-en", "politeness-en", "emotion-en"]
    unstudied = dict(next(one for one in page.asked if one.key == "steered").answers)
    assert not unstudied["polite"].evidence
    assert unstudied["a"].evidence


def test_verdicts_that_differ_are_marked_and_lines_of_a_row_share_a_scale(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "c")
    path = tmp_path / "c" / "directions" / "claims.json"
    claims = json.loads(path.read_text())
    place = next(i for i, c in enumerate(claims) if c["kind"] == "directions.reading" and c["figures"]["interval"])
    before = claims[place]["verdict"]
    claims[place]["figures"] |= {"interval": [5.0, 6.0], "estimate": 5.5, "q": 0.001, "p": 0.001}
    claims[place] |= {"verdict": "supported", "reason": "above"}
    path.write_text(json.dumps(claims))
    resummed(path.parent)
    assert before != "supported"
    page = written((runs / "a", tmp_path / "c"), tmp_path / "c.html")
    differing = [row for table in tables(page) for row in table.rows if row.differs]
    assert [row.code for row in differing] == [claims[place]["id"]]
    assert differing[0].differs == "verdicts differ, intervals apart"
    one, other = (cell.strip for cell in differing[0].cells)
    assert one.span == other.span == (min(one.marks() + other.marks()), 6.0)
    assert one.at(one.interval[1]) < other.at(other.interval[0]) <= 96
    asked = {one.key: one.differ for one in page.asked}
    assert [key for key, differ in asked.items() if differ] == ["taken-in"]
    html = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert html.count('<tr class="differs">') == 2


def test_a_run_beside_itself_differs_in_nothing(runs, tmp_path):
    page = written((runs / "a", runs / "a"), tmp_path / "c.html")
    assert [name for name, _ in page.facts] == ["a", "a (2)"]
    assert not any(row.differs for table in tables(page) for row in table.rows)
    assert not any(one.differ for one in page.asked)
    assert [section.prose for section in page.sections] == [("Nothing differs.",)] * 3


def test_the_japanese_page_leaves_no_sentence_untranslated(studied, tmp_path):
    made = render_comparison(opened(studied), tmp_path / "ja.html", language="ja")
    assert made.missing == frozenset()
    html = made.path.read_text(encoding="utf-8")
    assert '<html lang="ja">' in html
    body = re.sub(r"<(script|style|pre|code).*?</\1>", "", html, flags=re.S)
    # Settings and choices are data.
    for name in ("settings", "choices", "environment"):
        body = re.sub(rf'<table class="abreast" id="{name}-table".*?</table>', "", body, flags=re.S)
    words = re.findall(r">([^<]*)<", body)
    english = [w for w in words if len(re.findall(r"\b[a-z]{4,}\b", w)) >= 4 and not re.search(r"[ぁ-んァ-ヶ一-龠]", w)]
    assert english == []
    assert "五つの問いと、各実行の答え" in body
    assert made.page.command.endswith(" --lang ja")


def test_claims_stand_in_the_order_of_the_questions_in_json_too(studied):
    found = compared(answered(opened(studied)))
    keys = [question.key for question in QUESTIONS]
    order = [len(keys) if row["question"] is None else keys.index(row["question"]) for row in found["claims"]]
    assert order == sorted(order)
    assert [run["finished"] for run in found["runs"]] == [True, True, True, False]
    assert [row["key"] for row in found["questions"]] == keys
    assert all(set(row) == {"key", "question", *"abcd"} for row in found["questions"])


def test_names_tell_runs_apart():
    assert run_names([Path("x/run"), Path("y/run"), Path("y/other")]) == ("x/run", "y/run", "y/other")


def call(*arguments):
    return CliRunner().invoke(app, ["runs", "compare", *map(str, arguments)], catch_exceptions=False).stdout


def test_the_command_prints_by_question_and_writes_the_page(studied, tmp_path):
    text = call(*studied)
    places = [text.index("Questions"), text.index("Claims that differ"), text.index("Configuration: what differs")]
    assert places == sorted(places)
    assert "not studied" in text
    assert f"C  {studied[2]}" in text
    assert "Page:" in call(*studied[:2], "--out", tmp_path / "c.html")
    assert (tmp_path / "c.html").is_file()
    found = json.loads(call(*studied[:3], "--out", tmp_path / "ja.html", "--lang", "ja", "--json"))
    assert found["page"] == str(tmp_path / "ja.html")
    assert {"a", "b", "config", "environment", "claims", "choices", "stages"} <= set(found)
    assert '<html lang="ja">' in (tmp_path / "ja.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_one_clear_line_and_writes_nothing(runs, tmp_path):
    page = tmp_path / "c.html"
    a, b = runs / "a", runs / "b"
    for arguments, said in (
        ((a, "--out", page), "alone: name two or more runs"),
        ((a, tmp_path / "nowhere", "--out", page), "no such folder"),
        ((a, tmp_path, "--out", page), "is not the folder of a run"),
        ((a, b, "--out", tmp_path), "is a folder; name an HTML file"),
        ((a, b, "--lang", "ja"), "say with --out where to write it"),
        ((*[a] * 27, "--out", page), "from 2 to 26 runs"),
    ):
        with pytest.raises(EmotionCircuitsError, match=re.escape(said)) as refused:
            call(*arguments)
        assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@browser
@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("view", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 420, "height": 900}}])
def test_the_page_is_read_and_sifted_in_a_browser(studied, tmp_path, view, language):
    page = written(studied, tmp_path / "c.html", language=language)
    with open_page(tmp_path / "c.html", **view) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        if "viewport" in view:
            # One below the other, each with its run's name: nothing is hidden at the side.
            assert tab.evaluate(
                "[...document.querySelectorAll('table.abreast')].every(t => t.scrollWidth <= t.parentElement.clientWidth)"
            )
            captions = "[...document.querySelectorAll('.abreast caption:not(.hidden)')].map(c => c.offsetWidth).filter(Boolean)"
            assert min(tab.evaluate(captions)) > 300
            shown = tab.evaluate("getComputedStyle(document.querySelector('.glance td'), '::before').content")
            assert shown.startswith('"a')
        assert tab.evaluate("[...document.querySelectorAll('th')].every(t => t.scope)")
        table = next(one.claims for one in page.asked if one.key == "taken-in")
        kind = next(kind for kind in table.kinds() if "polite" in kind)
        tools = tab.locator(f"#{table.name}").locator("xpath=../preceding-sibling::div[@class='tools']")
        tools.locator("select").select_option(kind)
        left = tab.evaluate(
            f"[...document.querySelectorAll('#{table.name} tbody tr')].filter(r => !r.hidden && r.getClientRects().length).length"
        )
        assert left == sum(row.differs == kind for row in table.rows) < len(table.rows)
        first = tab.locator(f"#{table.name} tbody tr:not([hidden]) details").first
        why = tab.locator(f"#{table.name} tbody tr:not([hidden]) .why").first
        assert not why.is_visible()
        first.locator("summary").click()
        assert why.is_visible()
        assert why.text_content() in {cell.words for row in table.rows for cell in row.cells if cell is not None}
        assert errors(tab) == []
