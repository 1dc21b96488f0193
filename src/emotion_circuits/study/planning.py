"""A dry run: which stations are done, which would go on, which would begin, and what is left to pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_circuits.model import Blueprint
from emotion_circuits.record.running import StationReport, left_out
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import Speed, calibrate
from emotion_circuits.record.station import Estimate
from emotion_circuits.stations.registry import study_stations
from emotion_circuits.study.speeds import corrections

__all__ = ["METHOD", "Plan", "PlannedStation", "estimate_study", "plan_study"]

METHOD = (
    "Tokens: counted in the corpora with the model's tokenizer. Time: a model of the work, times how fast this machine does its "
    "pieces just now with nothing beside it (about two seconds of products of the model's shapes; no weights are loaded), times "
    "how much longer the stage took in earlier runs of this model here, where there are any. Disk: tensors exactly, tables "
    "about. Expect the time within a factor of 1.5, or 2 where no earlier run is known."
)

_WORDS = {"reused": "done", "would resume": "resumable", "would run": "to do", "would run anew": "to do"}
_REPORT_BYTES, _REPORT_SECONDS = 6_000_000, 4.0


@dataclass(frozen=True)
class PlannedStation:
    """One station.

    Attributes:
        stage: its name.
        status: ``done``, ``resumable`` or ``to do``.
        note: what else is to be said.
        tokens: still to go through the model.
        seconds: still to be spent.
        bytes: still to be written.
        runs: earlier runs that the seconds rest on.
    """

    stage: str
    status: str
    note: str
    tokens: int
    seconds: float
    bytes: int
    runs: int


@dataclass(frozen=True)
class Plan:
    """All stations, and how the figures were come by."""

    stages: tuple[PlannedStation, ...]
    method: str

    def total(self) -> dict[str, Any]:
        """What is left in all."""
        return {
            "tokens": sum(s.tokens for s in self.stages),
            "seconds": sum(s.seconds for s in self.stages),
            "bytes": sum(s.bytes for s in self.stages),
        }


def estimate_study(config: StudySettings, model: Blueprint, speed: Speed) -> dict[str, Estimate]:
    """What every station costs, as if it began anew; seconds are not corrected by earlier runs.

    Args:
        config: what is asked.
        model: the model's shapes and tokenizer.
        speed: of this machine.
    """
    found: dict[str, Estimate] = {}
    stations = [station for station in study_stations() if station.belongs(config)]
    lacking = left_out(config, stations)
    for station in stations:
        absent = station.name in lacking
        found[station.name] = Estimate(0, 0.0, 0) if absent else station.estimate(config, model, speed)
    return found


def plan_study(config: StudySettings, folder: Path, model: Blueprint, reports: Sequence[StationReport]) -> Plan:
    """Estimates for what a dry run found.

    Args:
        config: what is asked.
        folder: of the run.
        model: the model's shapes.
        reports: of :func:`emotion_circuits.study.run_study` with ``dry=True``.
    """
    speed = calibrate(model)
    guesses = estimate_study(config, model, speed)
    learnt = corrections(
        model, lambda other: {n: e.seconds for n, e in estimate_study(other, model, speed).items()}, list(guesses)
    )
    of = {station.name: station for station in study_stations()}
    stages = []
    for report in reports:
        if report.status == "left out":
            stages.append(PlannedStation(report.name, "left out", report.why, 0, 0.0, 0, 0))
            continue
        guess, (factor, runs) = guesses[report.name], learnt[report.name]
        status, share, note = _WORDS[report.status], 1.0, ""
        if report.status == "reused":
            share = 0.0
        elif report.status == "would run anew":
            note = "made from other inputs; what is there would be moved to superseded/"
        elif report.status == "would resume":
            done = of[report.name].done(config, folder)
            share = 1 - (done or 0.0)
            note = "figures are those of the whole stage" if done is None else f"{done:.0%} of its parts are there"
        stages.append(
            PlannedStation(
                report.name, status, note, round(share * guess.tokens), share * guess.seconds * factor,
                round(share * guess.bytes), runs,
            )
        )  # fmt: skip
    everything_done = all(s.status in ("done", "left out") for s in stages) and (folder / "report.html").exists()
    stages.append(
        PlannedStation("report", "done", "", 0, 0.0, 0, 0)
        if everything_done
        else PlannedStation("report", "to do", "", 0, _REPORT_SECONDS * speed.host, _REPORT_BYTES, 0)
    )
    return Plan(tuple(stages), METHOD)
