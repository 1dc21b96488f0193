import asyncio
import json
import re
import sys

import pandas as pd
import plotly.graph_objects as go
import psutil
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.page.browser import chromium, open_page
from emotion_circuits.page.exporting import write_pdf
from emotion_circuits.page.page import Figure, Page, Section, Table, Texts, write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.page.words import Kind, Words
from emotion_circuits.statistics import About, Claim, Figures


def has_browser():
    try:
        return bool(chromium())
    except EmotionCircuitsError:
        return False


browser = pytest.mark.skipif(not has_browser(), reason="there is no Playwright, or neither Chromium nor Chrome")


KINDS = {
    "test.shown": Kind(
        "test.shown", lambda _: Words("Steering <b>works</b>", "share", "prompts", "20 random directions")
    )
}


def claim(id="steering.gratitude.share"):
    figures = Figures(estimate=0.31, interval=(0.2, 0.4), null=(-0.02, 0.05), p=0.001, q=0.002, tests=3, n=31)
    return Claim(
        id=id, kind="test.shown", about=About(), figures=figures, verdict="not supported", reason="smallest"
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
    assert json.loads(data)["data"][0]["x"] == ["&lt;/script&gt;&lt;b&gt;"]


def test_nothing_is_fetched(tmp_path):
    write_page(page(), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for needle in ('<script src="', '<link rel="stylesheet"', "@import"):
        assert needle not in html


def errors(tab):
    """What the page wrote to its console as an error, and exceptions that nothing caught."""
    said = [message.text for message in tab.console_messages() if message.type == "error"]
    return said + [error.message for error in tab.page_errors()]


@pytest.fixture
def opened(tmp_path):
    write_page(page(), tmp_path / "report.html")
    with open_page(tmp_path / "report.html") as tab:
        yield tab


@browser
def test_the_figure_is_drawn_without_errors(opened):
    assert opened.evaluate("drawAll().then(() => document.querySelectorAll('.main-svg').length)") > 0
    assert errors(opened) == []
    with opened.expect_event("pageerror"):
        opened.evaluate("console.error('seen'); setTimeout(() => { throw new Error('thrown'); })")
    assert errors(opened) == ["seen", "thrown"]


@browser
def test_figures_turn_dark_with_the_page(opened):
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    opened.evaluate("drawAll().then(() => true)")
    light = opened.evaluate(ink)
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate(f"new Promise(done => setTimeout(() => done({ink}), 300))")
    assert sum(map(int, dark[4:-1].split(","))) > 600 > sum(map(int, light[4:-1].split(",")))


COLUMN = (
    "[...document.querySelectorAll('#t tbody tr')].filter(r => !r.hidden).map(r => r.cells[0].textContent).join('')"
)


@browser
def test_a_table_sorts_by_keyboard_and_says_so(opened):
    opened.locator("#t th button").nth(1).focus()
    for expected, order in (("ascending", "cba"), ("descending", "bca")):
        opened.keyboard.press("Enter")
        assert opened.evaluate("document.querySelectorAll('#t th')[1].getAttribute('aria-sort')") == expected
        # The missing figure stays last both ways.
        assert opened.evaluate(COLUMN) == order


@browser
def test_a_table_is_filtered_and_says_how_many_are_left(opened):
    opened.locator("input.filter[aria-controls=t]").fill("A")
    assert opened.evaluate(COLUMN) == "a"
    assert "1 of 3" in opened.evaluate("document.querySelector('.count[role=status]').textContent")


@browser
def test_a_narrow_screen_scrolls_tables_and_not_the_page(tmp_path):
    wide = pd.DataFrame({f"a_long_name_of_a_column_{i}": [1.0] for i in range(12)})
    write_page(page(parts=(Table("w", "Wide", "C", wide),)), tmp_path / "report.html")
    with open_page(tmp_path / "report.html", viewport={"width": 380, "height": 800}, is_mobile=True) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 380
        assert tab.evaluate("document.querySelector('.tall').scrollWidth") > 380


@pytest.fixture
def bare(tmp_path):
    (tmp_path / "bare.html").write_text("<title>Bare</title><script>const toPaper = async () => {};</script>")
    return tmp_path / "bare.html"


@browser
def test_what_a_page_throws_is_said_and_one_that_never_ends_is_given_up(bare):
    with pytest.raises(EmotionCircuitsError, match=r"failed at bare\.html: .*no figure"), open_page(bare) as tab:
        tab.evaluate("Promise.reject(new Error('no figure'))")
    with pytest.raises(EmotionCircuitsError, match="does not answer within 5 s"), open_page(bare, timeout=5) as tab:
        tab.evaluate("new Promise(() => {})")


@browser
def test_a_browser_that_is_given_up_leaves_no_process(bare):
    own = psutil.Process()
    before = set(own.children(recursive=True))
    started = set()

    def stand_still():
        with open_page(bare, timeout=12) as tab:
            started.update(set(own.children(recursive=True)) - before)
            # A browser that stands still does not even notice that it should end.
            for process in started:
                if "chrom" in process.name():
                    process.suspend()
            tab.evaluate("1")

    with pytest.raises(EmotionCircuitsError, match="does not answer within"):
        stand_still()
    psutil.wait_procs(started, timeout=20)
    assert len(started) > 1
    assert not [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@browser
def test_a_pdf_can_be_written_where_an_event_loop_runs(bare, tmp_path):
    """A notebook runs one."""

    async def cell():
        write_pdf(bare, tmp_path / "bare.pdf")

    asyncio.run(cell())
    assert (tmp_path / "bare.pdf").read_bytes().startswith(b"%PDF")


def test_without_a_browser_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CHROMIUM", "no-such-browser")
    with pytest.raises(EmotionCircuitsError, match=r"no-such-browser: not found.*Install one"):
        chromium()


def test_without_playwright_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright", None)
    with pytest.raises(EmotionCircuitsError, match=r"Playwright: not installed.*emotion-circuits\[pdf\]"):
        chromium()


def headings(html):
    return re.findall(r'<button type="button">([^<]+)</button>', html)


def test_a_figure_and_its_interval_are_one_column(tmp_path):
    frame = pd.DataFrame(
        {
            "set": ["a", "b"], "accuracy": [0.91, 0.5], "low": [0.8, float("nan")], "high": [0.97, float("nan")],
            "difference": [0.1, -0.2], "difference_low": [-0.05, -0.3], "difference_high": [0.25, -0.1],
            "null_low": [-0.1, -0.1], "null_high": [0.1, 0.1], "words_alone": [0.4, 0.6],
        }
    )  # fmt: skip
    write_page(page(parts=(Table("t", "T", "C.", frame),)), tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert headings(html) == ["set", "accuracy", "difference", "null", "words alone"]
    assert '<td class="n">0.91 [0.80, 0.97]</td>' in html
    assert '<td class="n">−0.10 … 0.10</td>' in html
    assert '<td class="n">0.5</td>' in html, "a figure without an interval stands alone"


def test_words_that_are_no_intervals_stay_columns(tmp_path):
    frame = pd.DataFrame({"name": ["a"], "low": ["x"], "other_low": [1.0], "high_water": [2.0]})
    write_page(page(parts=(Table("t", "T", "C.", frame),)), tmp_path / "p.html")
    assert headings((tmp_path / "p.html").read_text(encoding="utf-8")) == ["name", "low", "other low", "high water"]


def test_no_column_is_written_over(tmp_path):
    frame = pd.DataFrame({"null": ["shuffled"], "null_low": [-0.1], "null_high": [0.1]})
    write_page(page(parts=(Table("t", "T", "C.", frame),)), tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert headings(html) == ["null", "null low", "null high"]
    assert "shuffled</th>" in html
