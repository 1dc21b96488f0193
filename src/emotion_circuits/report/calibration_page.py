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
from emotion_circuits.study.calibrating import BAR, CALIBRATION, UPPER_BAR

__all__ = ["false_claims_dots", "write_calibration_page"]


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


def false_claims_dots(rates: pd.DataFrame) -> go.Figure:
    """One dot with its interval per kind of claim, beside the bar.

    Args:
        rates: columns ``kind rate low high``.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=rates["rate"], y=rates["kind"], mode="markers", marker={"color": CYCLE[0], "size": 9}, showlegend=False,
        error_x={
            "type": "data", "symmetric": False, "array": rates["high"] - rates["rate"],
            "arrayminus": rates["rate"] - rates["low"], "thickness": 1.4,
        },
    )  # fmt: skip
    figure.add_vline(x=BAR, line={"color": GREY, "dash": "dot"}, annotation_text=f"{BAR:.0%}")
    figure.add_vline(x=UPPER_BAR, line={"color": GREY, "dash": "dash"}, annotation_text=f"{UPPER_BAR:.0%}")
    top = max(2 * UPPER_BAR, float(rates["high"].max()) * 1.1)
    figure.update_xaxes(
        title=say("share of claims that come out supported"), range=[0, min(1.0, top)], tickformat=".0%"
    )
    figure.update_yaxes(autorange="reversed")
    dress(figure, 140 + 34 * len(rates))
    return figure.update_layout(margin={"l": 190})


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
    parts = (
        Figure(
            "false-claims",
            say("False claims by kind"),
            say("Share with its exact 95 % interval; claims of one shuffle count together."),
            false_claims_dots(rates),
        ),
        Table("false-claims-table", say("False claims by kind"), say("One row per kind of claim."), rates),
    )
    facts = (
        (say("run"), str(manifest["run"])),
        (say("shuffles"), str(manifest["draws"])),
        (say("not calibrated"), ", ".join(found["left_out"]) or say("nothing")),
    )
    section = Section("calibration", say("Claims from shuffled labels"), (prose,), (), parts)
    return Page(say("Calibration"), lead, facts, (section,), manifest["command"], manifest)
