"""The page of a station over several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emotion_circuits.language import say
from emotion_circuits.page.appearance import shown_as
from emotion_circuits.page.page import Page, write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.record.reading import read_claims, read_finished
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.alignment.folder import AlignmentFolder
from emotion_circuits.stations.registry import kinds, stations

__all__ = ["write_alignment_page"]


def write_alignment_page(folder: Path, *, language: str = "en") -> Path:
    """Write ``align.html`` into the folder of a comparison of two models; returns its path.

    Args:
        folder: of :func:`emotion_circuits.study.over_runs.run_over`.
        language: of the page.
    """
    manifest = read_finished(folder)
    path = folder / "align.html"
    with shown_as(studied_in(manifest).attribute, language):
        write_page(_page(folder, manifest), path)
    return path


def _page(folder: Path, manifest: dict[str, Any]) -> Page:
    told = tell(read_claims(folder), kinds())
    choice = AlignmentFolder.of(folder).choice.read()
    first, second = choice.first, choice.second
    facts = (
        (say("first model"), say("{name} (width {width})", name=first.model, width=first.width)),
        (say("second model"), say("{name} (width {width})", name=second.model, width=second.width)),
        (
            say("sentences"),
            say(
                "{a} and {b} captured; maps fitted on neutral training sentences alone",
                a=first.sentences, b=second.sentences,
            ),
        ),
    )  # fmt: skip
    lead = say(
        "Do the emotion directions of {a} do their work in {b}? {supported} of {total} claims supported.",
        a=first.model, b=second.model, supported=sum(t.claim.verdict == "supported" for t in told), total=len(told),
    )  # fmt: skip
    sections = tuple(
        section
        for station in stations()
        if station.name in manifest["stations"]
        for section in station.sections(folder, manifest, [t for t in told if t.claim.station == station.name])
    )
    return Page(say("Two models"), lead, facts, sections, manifest["command"], manifest)
