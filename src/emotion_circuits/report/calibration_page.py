"""The page of a calibration: which kinds of claims come out supported where there is nothing to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from emotion_circuits.language import say
from emotion_circuits.page.appearance import shown_as
from emotion_circuits.page.figures import CYCLE, GREY, dress
from emotion_circuits.page.page import Figure, Page, Section, Table, write_page
from emotion_circuits.paths import read_json
from emotion_circuits.prompts import load_attribute
from emotion_circuits.record.reading import read_manifest
from emotion_circuits.study.calibrating import BAR, CALIBRATION, POWER_BAR, UPPER_BAR

__all__ = ["coverage_lines", "share_dots", "write_calibration_page"]


def write_calibration_page(folder: Path, *, language: str = "en") -> Path:
    """Write ``calibration.html`` into the folder of a calibration; returns its path.

    Args:
        folder: of :func:`emotion_circuits.study.calibrating.calibrate_run`.
        language: of the page.
    """
    manifest, found = read_manifest(folder), read_json(folder / CALIBRATION)
    path = folder / "calibration.html"
    with shown_as(load_attribute(manifest["config"]["attribute"]), language):
        write_page(_page(manifest, found), path)
    return path


def share_dots(rates: pd.DataFrame, bars: dict[float, str], top: float = 1.0) -> go.Figure:
    """One dot with its interval per kind of claim, beside the bars.

    Args:
        rates: columns ``kind rate low high``.
        bars: where they stand → their line's style.
        top: end of the axis.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=rates["rate"], y=rates["kind"], mode="markers", marker={"color": CYCLE[0], "size": 9}, showlegend=False,
        error_x={
            "type": "data", "symmetric": False, "array": rates["high"] - rates["rate"],
            "arrayminus": rates["rate"] - rates["low"], "thickness": 1.4,
        },
    )  # fmt: skip
    for at, dash in bars.items():
        figure.add_vline(
            x=at, line={"color": GREY, "dash": dash}, annotation_text=f"{at:.0%}", annotation_position="top"
        )
    figure.update_xaxes(title=say("share of claims that come out supported"), range=[0, top], tickformat=".0%")
    figure.update_yaxes(autorange="reversed")
    dress(figure, 140 + 34 * len(rates))
    return figure.update_layout(margin={"l": 190})


def coverage_lines(covered: pd.DataFrame) -> go.Figure:
    """Coverage by number of units, a line per shape of the data, beside the nominal 95 %.

    Args:
        covered: columns ``shape units rate``.
    """
    figure = go.Figure()
    figure.add_hrect(y0=0.93, y1=0.97, fillcolor=GREY, opacity=0.15, line_width=0)
    figure.add_hline(y=0.95, line={"color": GREY, "dash": "dot"})
    for index, (shape, part) in enumerate(covered.groupby("shape", sort=False)):
        figure.add_scatter(
            x=part["units"].astype(str), y=part["rate"], mode="lines+markers", name=str(shape),
            line={"color": CYCLE[index % len(CYCLE)], "dash": ("solid", "dot", "dash")[index // len(CYCLE) % 3]},
        )  # fmt: skip
    figure.update_xaxes(title=say("units"), type="category")
    figure.update_yaxes(title=say("intervals that hold the truth"), tickformat=".0%")
    dress(figure, 420)
    return figure


def _page(manifest: dict[str, Any], found: dict[str, Any]) -> Page:
    rates = pd.DataFrame([{"kind": kind, **row} for kind, row in found["false_claims"].items()])
    met = (rates["rate"] <= BAR) & (rates["high"] <= UPPER_BAR)
    lead = say(
        "How often does the run's own program claim something where there is nothing to find? {met} of {total} kinds of "
        "claims meet the bar.",
        met=int(met.sum()), total=len(rates),
    )  # fmt: skip
    prose = say(
        "The labels of the captured sentences were shuffled within groups, everything behind the capture was done again, its "
        "selections included, and the claims were asked for. Every claim that comes out supported is false. Bar: a share of "
        "at most {bar}, with an upper end of at most {upper}.",
        bar=f"{BAR:.0%}", upper=f"{UPPER_BAR:.0%}",
    )  # fmt: skip
    top = min(1.0, max(2 * UPPER_BAR, float(rates["high"].max()) * 1.1))
    parts = (
        Figure(
            "false-claims",
            say("False claims by kind"),
            say("Share with its exact 95 % interval; claims of one shuffle count together."),
            share_dots(rates, {BAR: "dot", UPPER_BAR: "dash"}, top),
        ),
        Table("false-claims-table", say("False claims by kind"), say("One row per kind of claim."), rates),
    )
    facts = (
        (say("run"), str(manifest["run"])),
        (say("shuffles"), str(manifest["draws"])),
        (say("not calibrated"), ", ".join(found["left_out"]) or say("nothing")),
    )
    sections = [Section("calibration", say("Claims from shuffled labels"), (prose,), (), parts)]
    if found["power"]:
        sections.append(_power(found["power"]))
    sections.append(_coverage(found["coverage"]))
    return Page(say("Calibration"), lead, facts, tuple(sections), manifest["command"], manifest)


def _power(power: dict[str, dict[str, float]]) -> Section:
    rates = pd.DataFrame([{"kind": kind, **row} for kind, row in power.items()])
    prose = say(
        "An effect of a known size was planted where the shuffled labels point: directions in the captured states, the emotion "
        "in written texts. The same program was run; every claim ought to come out supported. Bar: {bar}.",
        bar=f"{POWER_BAR:.0%}",
    )
    parts = (
        Figure(
            "power",
            say("Planted effects found, by kind"),
            say("Share with its exact 95 % interval; claims of one shuffle count together."),
            share_dots(rates, {POWER_BAR: "dot"}),
        ),
        Table("power-table", say("Planted effects found, by kind"), say("One row per kind of claim."), rates),
    )
    return Section("power-section", say("Claims from planted effects"), (prose,), (), parts)


def _coverage(covered: dict[str, dict[str, float]]) -> Section:
    names = [name.rpartition(", n = ") for name in covered]
    table = pd.DataFrame(
        [
            {"shape": shape, "units": int(n), "rate": row["rate"]}
            for (shape, _, n), row in zip(names, covered.values(), strict=True)
        ]
    )
    prose = say(
        "How often 95 % intervals of means, shares and differences hold the truth, by simulation; it depends on no model. "
        "Lognormal and mostly-zero values at few units are beyond what any interval without assumptions reaches."
    )
    figure = Figure("coverage", say("Coverage of the intervals"), say("The band is 93 to 97 %."), coverage_lines(table))
    return Section("coverage-section", say("Coverage of the intervals"), (prose,), (), (figure,))
