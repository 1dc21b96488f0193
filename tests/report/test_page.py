import json

import pandas as pd
import plotly.graph_objects as go
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.page.browser import chromium, open_page
from emotion_circuits.page.page import Figure, Page, Section, Table, Texts, write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.page.words import Kind, Words
from emotion_circuits.statistics import About, Claim, Figures


def has_browser():
    try:
        return bool(chromium())
    except EmotionCircuitsError:
        return False


browser = pytest.mark.skipif(not has_browser(), reason="neither Chromium nor Chrome is installed")


KINDS = {
    "test.shown": Kind(
        "test.shown", lambda _: Words("Steering <b>works</b>", "share", "prompts", "20 random directions")
    )
}


def claim(id="steering.gratitude.share"):
    figures = Figures(estimate=0.31, interval=(0.2, 0.4), null=(-0.02, 0.05), p=0.001, q=0.002, tests=3, n=31)
    return Claim(
        id=id, kind="test.shown", about=About(), figures=figures, verdict="not supported", reason="null"
    )  # fmt: skip


def page(parts=None, claims=None, **changes):
    section = Section(
        "steer",
        "Can it be steered?",
        ("One paragraph.",),
        tell(claims or [claim()], KINDS),
        parts
        or (
            Figure("f", "A figure", "Caption.", go.Figure(go.Scatter(x=[1, 2], y=[3, 4])), "It rises."),
            Table(
                "t", "A table", "Columns.", pd.DataFrame({"name": ["b", "a", "c"], "value": [2.0, float("nan"), -1.0]})
            ),
            Texts("s", "Texts", "First.", ("unsteered", "gratitude"), (("Dear <all>,", ("one", "two & three")),)),
        ),
    )
    values = dict(
        title="A report",
        lead="What was asked.",
        facts=(("model", "tiny"),),
        sections=(section,),
        command="emotion-circuits run",
        manifest={"seed": 0},
    )
    return Page(**{**values, **changes})


def test_text_is_escaped_and_everything_is_there(tmp_path):
    write_page(page(), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Steering &lt;b&gt;works&lt;/b&gt;" in html
    assert "two &amp; three" in html
    assert 'class="claim not-supported"' in html
    assert "20 random directions" in html
    assert "emotion-circuits run" in html
    assert "0.31 [0.20, 0.40]; null −0.02 … 0.05" in html


def test_data_cannot_end_the_script_it_stands_in(tmp_path):
    figure = go.Figure(go.Scatter(x=["</script><b>"], y=[1]))
    write_page(page(parts=(Figure("f", "F", "C", figure),)), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = html.split('id="plot-f-data">')[1].split("</script>")[0]
    assert json.loads(data)["data"][0]["x"] == ["</script><b>"]


def test_nothing_is_fetched(tmp_path):
    write_page(page(), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for needle in ('<script src="', '<link rel="stylesheet"', "@import"):
        assert needle not in html


@pytest.fixture
def opened(tmp_path):
    write_page(page(), tmp_path / "report.html")
    with open_page(tmp_path / "report.html") as tab:
        yield tab


@browser
def test_the_figure_is_drawn_without_errors(opened):
    assert opened.evaluate("drawAll().then(() => document.querySelectorAll('.main-svg').length)") > 0
    assert opened.errors == []
    opened.evaluate("console.error('seen')")
    assert opened.errors == ["seen"]


@browser
def test_figures_turn_dark_with_the_page(opened):
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    opened.evaluate("drawAll().then(() => true)")
    light = opened.evaluate(ink)
    opened.media(dark=True)
    dark = opened.evaluate(f"new Promise(done => setTimeout(() => done({ink}), 300))")
    assert sum(map(int, dark[4:-1].split(","))) > 600 > sum(map(int, light[4:-1].split(",")))


COLUMN = (
    "[...document.querySelectorAll('#t tbody tr')].filter(r => !r.hidden).map(r => r.cells[0].textContent).join('')"
)


@browser
def test_a_table_sorts_by_keyboard_and_says_so(opened):
    opened.evaluate("document.querySelectorAll('#t th button')[1].focus()")
    for expected, order in (("ascending", "cba"), ("descending", "bca")):
        for kind in ("keyDown", "keyUp"):
            opened.command(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )
        assert opened.evaluate("document.querySelectorAll('#t th')[1].getAttribute('aria-sort')") == expected
        # The missing figure stays last both ways.
        assert opened.evaluate(COLUMN) == order


@browser
def test_a_table_is_filtered_and_says_how_many_are_left(opened):
    opened.evaluate(
        "(() => { const f = document.querySelector('input.filter'); f.value = 'A'; f.dispatchEvent(new Event('input')); })()"
    )
    assert opened.evaluate(COLUMN) == "a"
    assert "1 of 3" in opened.evaluate("document.querySelector('.count[role=status]').textContent")


@browser
def test_a_narrow_screen_scrolls_tables_and_not_the_page(tmp_path):
    wide = pd.DataFrame({f"a_long_name_of_a_column_{i}": [1.0] for i in range(12)})
    write_page(page(parts=(Table("w", "Wide", "C", wide),)), tmp_path / "report.html")
    with open_page(tmp_path / "report.html", width=380, height=800, mobile=True) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 380
        assert tab.evaluate("document.querySelector('.tall').scrollWidth") > 380


def test_without_a_browser_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CHROMIUM", "no-such-browser")
    with pytest.raises(EmotionCircuitsError, match=r"no-such-browser: not found.*Install one"):
        chromium()
