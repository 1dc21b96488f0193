import shutil
import subprocess

import pandas as pd
import plotly.graph_objects as go
import pytest

from emotion_circuits.report.page import Figure, Page, Section, Table, Texts, write_page


def page(**changes):
    claim = {
        "statement": "Steering <b>works</b>",
        "estimate": 0.31,
        "interval": (0.2, 0.4),
        "unit": "share",
        "chance": None,
        "null": "20 random directions",
        "null_interval": (-0.02, 0.05),
        "p": 0.001,
        "q": 0.002,
        "n": 31,
        "unit_of_n": "prompts",
        "verdict": "not supported",
        "notes": "",
    }
    section = Section(
        "steer",
        "Can it be steered?",
        ("One paragraph.",),
        (claim,),
        (
            Figure("f", "A figure", "Caption.", go.Figure(go.Scatter(x=[1, 2], y=[3, 4])), "It rises."),
            Table("A table", "Columns.", pd.DataFrame({"name": ["b", "a"], "value": [2.0, float("nan")]})),
            Texts("Texts", "Chosen first.", ("unsteered", "gratitude"), (("Dear <all>,", ("one", "two & three")),)),
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


def test_nothing_is_fetched(tmp_path):
    write_page(page(), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for needle in ('<script src="', '<link rel="stylesheet"', "@import"):
        assert needle not in html


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_the_figure_is_drawn_in_a_browser_without_errors(tmp_path):
    path = tmp_path / "report.html"
    write_page(page(), path)
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--no-first-run", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert 'class="main-svg"' in done.stdout
    assert "CONSOLE" not in done.stderr
