"""Run a survey: its points, then what is gathered over them. An engine only schedules; every folder keeps its own work.

A point is one piece of work for an engine: a study in a folder of its own, which resumes at its stations and their parts. So a
worker that is killed costs the part it was computing, and adding a model to a finished survey computes that model and the
gathering over it. Workers need the folder on a file system that all of them see.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.locking import locked
from emotion_circuits.page.notebook import card
from emotion_circuits.paths import make_folder
from emotion_circuits.progress import progress_bar
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.engines.inline import Inline
from emotion_circuits.record.parts import cut
from emotion_circuits.record.reading import read_claims
from emotion_circuits.record.running import BUSY
from emotion_circuits.sealing import write_sealed
from emotion_circuits.stations.registry import stations
from emotion_circuits.study import run_study
from emotion_circuits.study.config import load_config
from emotion_circuits.study.over_runs import run_over
from emotion_circuits.survey.config import SurveyConfig
from emotion_circuits.survey.points import Gathering, Point, gatherings, points_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["SURVEY", "Done", "SurveyResult", "run_survey"]

SURVEY = "survey.json"
"""The survey's configuration and what became of every point."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What became of a point or of something gathered.

    Attributes:
        what: ``run``, or the name of what was gathered.
        name: of it.
        folder: where it is.
        status: ``ran``, ``reused``, ``failed`` or ``waiting`` (of something gathered over a point that failed); in a dry run
            ``would run`` or ``reused``.
        why: it failed or waits.
    """

    what: str
    name: str
    folder: str
    status: str
    why: str = ""


@dataclass(frozen=True)
class SurveyResult:
    """A survey, finished as far as its points let it.

    Attributes:
        folder: of the survey.
        points: what became of every point.
        gathered: what became of everything gathered.
    """

    folder: Path
    points: tuple[Done, ...]
    gathered: tuple[Done, ...]

    def __repr__(self) -> str:
        counts = f"{len(self.points)} studies, {len(self.gathered)} comparisons, {len(self.failed)} failed"
        return f"SurveyResult({self.folder}: {counts})"

    def _repr_html_(self) -> str:
        rows = [(d.what, d.name, d.status, d.why) for d in (*self.points, *self.gathered)]
        facts = {"folder": self.folder, "failed": len(self.failed)}
        return card("Survey", facts, pd.DataFrame(rows, columns=["what", "name", "status", "why"]))

    def plot(self) -> Figure:
        """How many claims of each study are supported, inconclusive and not supported; studies that finished."""
        from emotion_circuits.survey.pictures import verdict_bars

        finished = {d.name: Path(d.folder) for d in self.points if d.status in ("ran", "reused")}
        return verdict_bars({name: read_claims(folder) for name, folder in finished.items()})

    @property
    def failed(self) -> tuple[Done, ...]:
        """What failed."""
        return tuple(d for d in (*self.points, *self.gathered) if d.status == "failed")


def run_survey(
    config: SurveyConfig,
    out: Path | str,
    *,
    engine: Engine | None = None,
    dry: bool = False,
    language: str = "en",
    told: Callable[[Done], None] | None = None,
) -> SurveyResult:
    """Run every point that has to be run, then gather.

    Args:
        config: what is asked.
        out: folder of the survey; the same one goes on where it stopped.
        engine: where points are run; in this process by default. Artefacts do not depend on it.
        dry: only say what would run.
        language: of the points' reports.
        told: called with everything when it is done.

    Raises:
        EmotionCircuitsError: bad input, or a busy folder. A point that fails is reported, and the others go on.
    """
    out = Path(out)
    points = points_of(config, out)
    if dry:
        planned = tuple(_planned(point) for point in points)
        return SurveyResult(out, planned, tuple(_waiting(g, out, "would run") for g in gatherings(config, points)))
    make_folder(out)
    with locked(out, BUSY):
        tell = told or (lambda _: None)
        tasks = [_task(point, language) for point in points if point.config is not None]
        ran = _scheduled("Studies", _run_point, tasks, engine, tell)
        taken = [Done("run", point.name, str(point.folder), "reused") for point in points if point.config is None]
        by_name = {done.name: done for done in (*ran, *taken)}
        finished = [point for point in points if by_name[point.name].status != "failed"]
        asked = gatherings(config, points)
        whole = {p.name for p in finished}
        ready = [g for g in asked if all(p.name in whole for p in g.points)]
        waits = [_waiting(g, out, "waiting", whole) for g in asked if g not in ready]
        gathered = [
            *_scheduled("Gathering", _gather, [_gather_task(config, g, out) for g in ready], engine, tell),
            *waits,
        ]
        result = SurveyResult(out, tuple(by_name[p.name] for p in points), tuple(gathered))
        _write(out, config, points, result)
    return result


def _planned(point: Point) -> Done:
    if point.config is None:
        return Done("run", point.name, str(point.folder), "reused")
    reports = run_study(point.config, point.folder, dry=True).stages
    done = all(report.status in ("reused", "left out") for report in reports)
    return Done("run", point.name, str(point.folder), "reused" if done else "would run")


def _waiting(gathering: Gathering, out: Path, status: str, whole: set[str] | None = None) -> Done:
    absent = [] if whole is None else [p.name for p in gathering.points if p.name not in whole]
    why = f"{', '.join(absent)} failed" if absent else ""
    return Done(gathering.station, gathering.name, str(gathering.folder(out)), status, why)


def _scheduled(
    title: str,
    function: Callable[[Any, Any, Any], pd.DataFrame],
    tasks: Sequence[dict[str, Any]],
    engine: Engine | None,
    told: Callable[[Done], None],
) -> list[Done]:
    """Tasks through an engine, handed back in order."""
    if not tasks:
        return []
    compute: Compute[pd.DataFrame] = Compute(function, payload=None)
    parts = cut({"work": title}, tasks)
    found: dict[int, Done] = {}
    with progress_bar(title, len(parts)) as bar:
        for part, table in (engine or Inline()).run(compute.settled(len(parts)), parts):
            found[part.index] = Done(**{str(k): str(v) for k, v in table.iloc[0].items()})
            told(found[part.index])
            bar.advance()
    return [found[index] for index in range(len(parts))]


def _task(point: Point, language: str) -> dict[str, Any]:
    assert point.config is not None
    return {
        "name": point.name,
        "folder": str(point.folder.absolute()),
        "config": point.config.model_dump(mode="json"),
        "language": language,
    }


def _run_point(_model: None, _ground: None, task: dict[str, Any]) -> pd.DataFrame:
    """A study and its report, wherever an engine calls it."""
    from emotion_circuits.report.study_page import write_report

    folder = Path(task["folder"])
    try:
        config = load_config(overrides=task["config"])
        done = run_study(config, folder, told=lambda s, status: _log.info("%s: %s: %s", task["name"], s.title, status))
        report = folder / "report.html"
        anew = any(stage.status == "ran" for stage in done.stages)
        if anew or not report.is_file():
            write_report(folder, out=report, language=task["language"])
    except EmotionCircuitsError as error:
        return _row("run", task["name"], folder, "failed", str(error))
    return _row("run", task["name"], folder, "ran" if anew else "reused")


def _gather_task(config: SurveyConfig, gathering: Gathering, out: Path) -> dict[str, Any]:
    first = gathering.points[0]
    asked = first.config.attribute if first.config is not None else ""
    return {
        "name": gathering.name,
        "station": gathering.station,
        "runs": [str(point.folder.absolute()) for point in gathering.points],
        "folder": str(gathering.folder(out).absolute()),
        "settings": config.gather.get(gathering.station, {}),
        "seed": first.seed,
        "attribute": asked,
    }


def _gather(_model: None, _ground: None, task: dict[str, Any]) -> pd.DataFrame:
    """One station over finished runs, wherever an engine calls it."""
    from emotion_circuits.record.reading import read_config

    folder = Path(task["folder"])
    station = next(s for s in stations() if s.name == task["station"])
    try:
        settings = station.settings.model_validate(task["settings"])
        attribute = task["attribute"] or str(read_config(Path(task["runs"][0]))["attribute"])
        report = run_over(
            station, [Path(run) for run in task["runs"]], folder, settings, seed=task["seed"], attribute=attribute,
            command=f"emotion-circuits survey … ({station.name})",
        )  # fmt: skip
    except EmotionCircuitsError as error:
        return _row(station.name, task["name"], folder, "failed", str(error))
    return _row(station.name, task["name"], folder, report.status)


def _row(what: str, name: str, folder: Path, status: str, why: str = "") -> pd.DataFrame:
    return pd.DataFrame([asdict(Done(what, name, str(folder), status, why))])


def _write(out: Path, config: SurveyConfig, points: Sequence[Point], result: SurveyResult) -> None:
    """What the survey asked and what became of it; folders inside it are named from it, so that it can be moved."""

    def place(folder: str) -> str:
        path, root = Path(folder).absolute(), out.absolute()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    rows = {
        "points": [
            {**asdict(done), "folder": place(done.folder), "model": p.model, "attribute": p.attribute, "seed": p.seed}
            for done, p in zip(result.points, points, strict=True)
        ],
        "gathered": [{**asdict(done), "folder": place(done.folder)} for done in result.gathered],
    }
    command = shlex.join(["emotion-circuits", "survey", str(out / SURVEY), "--out", str(out)])
    write_sealed(out / SURVEY, {"survey": config.model_dump(mode="json"), "command": command, **rows})
