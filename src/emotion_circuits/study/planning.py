"""A dry run: which stages are done, which would go on, which would begin, and what is left to pay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_circuits.ledger import Ledger
from emotion_circuits.model import Blueprint
from emotion_circuits.study.calibrating import calibrate
from emotion_circuits.study.config import StudyConfig
from emotion_circuits.study.estimating import estimate_study
from emotion_circuits.study.running import StageReport, stage_folder
from emotion_circuits.study.speeds import corrections
from emotion_circuits.study.stations import study_prompts

__all__ = ["METHOD", "Plan", "PlannedStage", "plan_study"]

METHOD = (
    "Tokens: counted in the corpora with the model's tokenizer. Time: a model of the work, times how fast this machine does its "
    "pieces just now with nothing beside it (about two seconds of products of the model's shapes; no weights are loaded), times "
    "how much longer the stage took in earlier runs of this model here, where there are any. Disk: tensors exactly, tables "
    "about. Expect the time within a factor of 1.5, or 2 where no earlier run is known."
)

_WORDS = {"reused": "done", "would resume": "resumable", "would run": "to do", "would run anew": "to do"}
_REPORT_BYTES, _REPORT_SECONDS = 6_000_000, 4.0


@dataclass(frozen=True)
class PlannedStage:
    """One stage.

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
    """All stages, and how the figures were come by."""

    stages: tuple[PlannedStage, ...]
    method: str

    def total(self) -> dict[str, Any]:
        """What is left in all."""
        return {
            "tokens": sum(s.tokens for s in self.stages),
            "seconds": sum(s.seconds for s in self.stages),
            "bytes": sum(s.bytes for s in self.stages),
        }


def plan_study(config: StudyConfig, folder: Path, model: Blueprint, reports: tuple[StageReport, ...]) -> Plan:
    """Estimates for what a dry run found.

    Args:
        config: what is asked.
        folder: of the run.
        model: the model's shapes.
        reports: of :func:`emotion_circuits.study.run_study` with ``dry=True``.
    """
    speed = calibrate(model, rows=config.steering.batch_rows)
    guesses = {e.stage: e for e in estimate_study(config, model, speed)}
    learnt = corrections(
        model, lambda other: {e.stage: e.seconds for e in estimate_study(other, model, speed)}, list(guesses)
    )
    stages = []
    for report in reports:
        guess, (factor, runs) = guesses[report.name], learnt[report.name]
        status, share, note = _WORDS[report.status], 1.0, ""
        if report.status == "reused":
            share = 0.0
        elif report.status == "would run anew":
            note = "made from other inputs; what is there would be moved to superseded/"
        elif report.status == "would resume" and report.name == "capture":
            share = 1 - _captured(config, stage_folder(folder, "capture"))
            note = f"{1 - share:.0%} of its shards are there"
        elif report.status == "would resume":
            note = "figures are those of the whole stage"
        stages.append(
            PlannedStage(
                report.name, status, note, round(share * guess.tokens), share * guess.seconds * factor,
                round(share * guess.bytes), runs,
            )
        )  # fmt: skip
    everything_done = all(s.status == "done" for s in stages) and (folder / "report.html").exists()
    stages.append(
        PlannedStage("report", "done", "", 0, 0.0, 0, 0)
        if everything_done
        else PlannedStage("report", "to do", "", 0, _REPORT_SECONDS * speed.host, _REPORT_BYTES, 0)
    )
    return Plan(tuple(stages), METHOD)


def _captured(config: StudyConfig, folder: Path, shard_rows: int = 256) -> float:
    """Share of the shards that an interrupted capture has finished."""
    known = Ledger(folder).known or {}
    total = -(-len(study_prompts(config)) // shard_rows)
    there = sum((folder / name).is_file() for name in known if name.startswith("shard-"))
    return min(1.0, there / max(total, 1))
