"""The page of a station over several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emotion_circuits.language import say, term
from emotion_circuits.page.appearance import shown_as
from emotion_circuits.page.page import Page, Section, write_page
from emotion_circuits.page.telling import Told, tell
from emotion_circuits.record.reading import read_claims, read_finished
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.alignment.folder import AlignmentFolder
from emotion_circuits.stations.registry import kinds, stations

__all__ = ["write_alignment_page", "write_tuning_page"]

_Own = tuple[str, str, tuple[tuple[str, str], ...]]
"""Title, lead and facts of a page."""


def write_alignment_page(folder: Path, *, language: str = "en") -> Path:
    """Write ``align.html`` into the folder of a comparison of two models; returns its path.

    Args:
        folder: of :func:`emotion_circuits.study.over_runs.run_over`.
        language: of the page.
    """
    return _written(folder, "align.html", language, _alignment)


def write_tuning_page(folder: Path, *, language: str = "en") -> Path:
    """Write ``tune.html`` into the folder of a comparison of methods; returns its path.

    Args:
        folder: of :func:`emotion_circuits.study.over_runs.run_over`.
        language: of the page.
    """
    return _written(folder, "tune.html", language, _tuning)


def _written(
    folder: Path, name: str, language: str, make: Callable[[Path, dict[str, Any], Sequence[Told]], _Own]
) -> Path:
    """A page of one station's claims; what is its own is made in the language that is spoken."""
    manifest = read_finished(folder)
    with shown_as(studied_in(manifest).attribute, language):
        told = tell(read_claims(folder), kinds())
        made = make(folder, manifest, told)
        sections = _sections(folder, manifest, told)
        write_page(Page(*made, sections, manifest["command"], manifest), folder / name)
    return folder / name


def _supported(told: Sequence[Told]) -> int:
    return sum(t.claim.verdict == "supported" for t in told)


def _sections(folder: Path, manifest: dict[str, Any], told: Sequence[Told]) -> tuple[Section, ...]:
    return tuple(
        section
        for station in stations()
        if station.name in manifest["stations"]
        for section in station.sections(folder, manifest, [t for t in told if t.claim.station == station.name])
    )


def _tuning(_folder: Path, manifest: dict[str, Any], told: Sequence[Told]) -> _Own:
    about = told[0].claim.about
    facts = (
        (say("model"), str(about.model)),
        (say("value"), term(str(about.value))),
        (say("run"), ", ".join(str(run) for run in manifest["runs"])),
    )
    lead = say(
        "What do words, steering, tuned weights and trained vectors do for {value} in texts of {model}, and what does each "
        "cost? {supported} of {total} claims supported.",
        value=term(str(about.value)), model=about.model, supported=_supported(told), total=len(told),
    )  # fmt: skip
    return say("Methods compared"), lead, facts


def _alignment(folder: Path, _manifest: dict[str, Any], told: Sequence[Told]) -> _Own:
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
        a=first.model, b=second.model, supported=_supported(told), total=len(told),
    )  # fmt: skip
    return say("Two models"), lead, facts
