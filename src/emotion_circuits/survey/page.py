"""The page of a survey: what its points share, and a way to each of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.language import nsay, say
from emotion_circuits.page.appearance import shown_as
from emotion_circuits.page.page import Page, Section, Table, write_page
from emotion_circuits.page.telling import Told, tell
from emotion_circuits.prompts.attribute import Attribute
from emotion_circuits.record.reading import read_claims, read_finished
from emotion_circuits.report.questions import answer_questions
from emotion_circuits.sealing import read_sealed
from emotion_circuits.stations.registry import aspects, kinds, stations
from emotion_circuits.statistics import Claim, together
from emotion_circuits.survey.running import SURVEY

__all__ = ["survey_claims", "survey_left_out", "write_survey_page"]


def survey_claims(out: Path) -> list[Claim]:
    """All claims of what a survey has gathered, each family corrected over all of it.

    Ids begin with the name of what they were gathered over: the same claim is made of several models or attributes.
    """
    return [claim for own in _claims(out).values() for claim in own]


def _claims(out: Path) -> dict[Path, list[Claim]]:
    """Claims by the folder of their gathering."""
    found = [
        (folder, claim.model_copy(update={"id": f"{row['name']}:{claim.id}"}))
        for row, folder in _gathered(out)
        for claim in read_claims(folder)
    ]
    by: dict[Path, list[Claim]] = {folder: [] for _, folder in _gathered(out)}
    for (folder, _), claim in zip(found, together([claim for _, claim in found]), strict=True):
        by[folder].append(claim)
    return by


def survey_left_out(out: Path) -> list[dict[str, str]]:
    """What was not gathered, or in part only: ``what`` (the station), ``name`` (of the gathering), ``part`` of it, and ``why``.

    Args:
        out: folder of the survey.
    """
    by_name = {station.name: station for station in stations()}
    return [
        {"what": row["what"], "name": row["name"], "part": left.what, "why": str(left)}
        for row, folder in _gathered(out)
        for left in by_name[row["what"]].folder.of(folder).left_out()
    ]


def _kept(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_sealed(out / SURVEY, "run the survey again, which writes it anew")
    return found


def _gathered(out: Path) -> list[tuple[dict[str, Any], Path]]:
    kept = _kept(out)
    return [(row, out / row["folder"]) for row in kept["gathered"] if row["status"] in ("ran", "reused")]


def write_survey_page(out: Path, *, language: str = "en") -> Path:
    """Write ``survey.html`` into the folder of a survey; returns its path.

    Args:
        out: of :func:`emotion_circuits.survey.run_survey`.
        language: of the page.
    """
    path = out / "survey.html"
    manifests = {row["name"]: read_finished(folder) for row, folder in _gathered(out)}
    runs = [row for row in _kept(out)["points"] if row["status"] in ("ran", "reused")]
    first = next(iter(manifests.values()), None) or read_finished(out / runs[0]["folder"])
    with shown_as(Attribute.model_validate(first["studied"]["attribute"]), language):
        write_page(_page(out, first), path)
    return path


def _page(out: Path, manifest: dict[str, Any]) -> Page:
    kept = _kept(out)
    sections: list[Section] = []
    every: list[Told] = []
    claims = _claims(out)
    for row, folder in _gathered(out):
        told = tell(claims[folder], kinds())
        every += told
        for station in stations():
            if station.name != row["what"]:
                continue
            for section in station.sections(folder, read_finished(folder), told):
                anchor = f"{section.anchor}-{len(sections)}"
                parts = tuple(_renamed(part, anchor) for part in section.parts)
                title = f"{section.title} ({row['name']})"
                sections.append(Section(anchor, title, section.prose, section.claims, parts))
    sections.append(_points(out, kept))
    asked = kept["survey"]
    answers = tuple(a for a in answer_questions(every, str(out), aspects()) if a.evidence)
    facts = (
        (say("models"), ", ".join(dict.fromkeys(str(p["model"]) for p in kept["points"]))),
        (say("attributes"), ", ".join(dict.fromkeys(str(p["attribute"]) for p in kept["points"]))),
        (say("profile"), str(asked["profile"])),
    )
    lead = say(
        "{points}, {gathered} over them; of {total} claims about what they share, {supported} are supported.",
        points=nsay("{n} study", "{n} studies", len(kept["points"])),
        gathered=nsay("{n} comparison", "{n} comparisons", len(_gathered(out))),
        supported=sum(t.claim.verdict == "supported" for t in every), total=len(every),
    )  # fmt: skip
    return Page(str(asked["name"]), lead, facts, tuple(sections), kept["command"], manifest, answers=answers)


def _renamed(part: Any, anchor: str) -> Any:
    """Several sections of one station stand on one page: their parts need names of their own."""
    from dataclasses import replace

    return replace(part, name=f"{anchor}-{part.name}")


def _points(out: Path, kept: dict[str, Any]) -> Section:
    rows = pd.DataFrame(
        [
            {
                "point": p["name"], "model": p["model"], "attribute": p["attribute"], "status": p["status"],
                "report": _report(out, p) if p["status"] != "failed" else p["why"],
            }
            for p in kept["points"]
        ]
    )  # fmt: skip
    prose = say("Every study has a folder and a report of its own.")
    return Section("points", say("Studies"), (prose,), (), (Table("points-table", say("Studies"), "", rows),))


def _report(out: Path, point: dict[str, Any]) -> str:
    return os.path.relpath(out / point["folder"] / "report.html", out)
