"""A name is a name wherever it is shown."""

import io
import logging
import sys

import pandas as pd
import plotly.graph_objects as go
import pytest
from rich.table import Table as Shown

from emotion_circuits.cli import main
from emotion_circuits.cli.shared import listen, note, print_table
from emotion_circuits.page.exporting import _table
from emotion_circuits.page.page import Table
from emotion_circuits.page.plainly import plain_figure
from emotion_circuits.progress import progress_bar, progress_style

STRANGE = ["<s>", "</s>", "<b>x</b>", "a & b", "&lt;", "<br>", "<a href='http://x'>"]
PLAIN = [
    "&lt;s&gt;",
    "&lt;/s&gt;",
    "&lt;b&gt;x&lt;/b&gt;",
    "a &amp; b",
    "&amp;lt;",
    "&lt;br&gt;",
    "&lt;a href='http://x'&gt;",
]


def test_ticks_categories_and_legends_are_no_mark_up():
    figure = go.Figure()
    for name in STRANGE:
        figure.add_bar(x=STRANGE, y=list(range(len(STRANGE))), name=name)
    figure.update_yaxes(tickvals=list(range(len(STRANGE))), ticktext=STRANGE)
    found = plain_figure(figure)
    assert found["layout"]["yaxis"]["ticktext"] == PLAIN
    assert [trace["name"] for trace in found["data"]] == PLAIN
    assert all(trace["x"] == PLAIN for trace in found["data"])


def test_what_a_figure_is_written_with_stays():
    figure = go.Figure(go.Scatter(x=[1], y=[2.5], text=["12 %<br><s>"], hovertemplate="%{text}<br>%{x}<extra></extra>"))
    found = plain_figure(figure.update_layout(title="share of<br>the gap & more"))
    (trace,) = found["data"]
    assert trace["text"] == ["12 %<br>&lt;s&gt;"]
    assert trace["hovertemplate"] == "%{text}<br>%{x}<extra></extra>"
    assert found["layout"]["title"]["text"] == "share of<br>the gap &amp; more"
    assert (trace["x"], trace["y"]) == ([1], [2.5])


def test_no_cell_of_a_csv_file_is_computed(tmp_path):
    texts = [
        '=HYPERLINK("http://x")',
        "+cmd|' /C calc'!A0",
        "@SUM(1)",
        "-- a dash",
        "\t=1",
        "\r=1",
        "fine",
        "+0.12",
        "-3 %",
    ]
    frame = pd.DataFrame({"=name": texts, "n": [-0.5] * len(texts)})
    list(_table(Table("t", "T", "", frame), tmp_path))
    read = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert read["'=name"].tolist() == [f"'{t}" for t in texts[:6]] + texts[6:]
    assert set(read["n"]) == {"-0.5"}
    assert pd.read_parquet(tmp_path / "t.parquet")["=name"].tolist() == texts


def test_brackets_and_colons_are_shown_as_they_are(capsys, monkeypatch):
    names = ["runs/[bold]x", "a[/b]", "[link=http://x]y", ":smile:", "[0]"]
    table = Shown(*names, title="[/nothing] in [red]")
    table.add_row(*names)
    print_table(table)
    out = capsys.readouterr().out
    assert all(out.count(name) == 2 for name in names)
    assert "[/nothing] in [red]" in out
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_style("rich"), progress_bar("reading [/x] [bold]y", 1) as bar:
        bar.advance(1, note="[/z]")
    assert "reading [/x] [bold]y" in sys.stderr.getvalue()


def test_nothing_that_is_shown_steers_the_terminal(capsys, monkeypatch, tmp_path):
    steering = "a\x1b[2J\x1b]0;t\x07b\u202ec\rd\x9b31m"
    shown = r"a\x1b[2J\x1b]0;t\x07b\u202ec\rd\x9b31m"
    table = Shown(steering, title=steering)
    table.add_row(steering)
    monkeypatch.setenv("COLUMNS", "100")
    print_table(table)
    note(steering)
    listen(False)
    logging.getLogger("emotion_circuits.any").warning("%s: lines\nand\ttabs stay", steering)
    out, err = capsys.readouterr()
    assert out.count(shown) == 3
    assert err == f"{shown}\nwarning: {shown}: lines\nand\ttabs stay\n"
    monkeypatch.setattr(sys, "argv", ["emotion-circuits", "data", "check", str(tmp_path / "a\x1b[31m.csv")])
    with pytest.raises(SystemExit):
        main()
    assert r"a\x1b[31m.csv" in capsys.readouterr().err
