"""How often is a run's program wrong? Its own claims, made again many times where labels mean nothing.

Each draw shuffles labels, does everything behind the capture again, selection included, and asks for the claims. A claim
that comes out supported is false. With an effect planted where the labels mean nothing, the share that is supported is the
program's power. Draws are parts like any other work: computed by an engine, committed one by one, and never twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import file_sha256, write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.manifest import environment
from emotion_circuits.record.parts import Kept, Parts, Tables
from emotion_circuits.record.reading import MANIFEST, read_finished, write_manifest
from emotion_circuits.record.running import read_note, station_folder
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.station import Context, Program, Station
from emotion_circuits.record.tables import Column, Table, ends
from emotion_circuits.stations.registry import study_stations
from emotion_circuits.statistics import clustered_share, interval_coverage
from emotion_circuits.study.config import StudyConfig

__all__ = ["BAR", "CALIBRATION", "DRAWS", "POWER_BAR", "UPPER_BAR", "Calibration", "calibrate_run", "supported"]

CALIBRATION = "calibration.json"
BAR = 0.05
"""Most claims of a kind that may be false."""
UPPER_BAR = 0.08
"""Most that the upper end of the share's interval may be."""
POWER_BAR = 0.8
"""Least share of planted effects that should be found."""

DRAWS = Table(
    "draws",
    "one claim of one shuffle",
    (
        Column("program", "text", "shuffled: labels mean nothing; planted: an effect of what they name was planted"),
        Column("station", "text", "whose claim"),
        Column("draw", "int", "number of the shuffle"),
        Column("kind", "text", "kind of claim"),
        Column("id", "text", "the claim's id"),
        Column("verdict", "text", "what the judge said"),
        Column("reason", "text", "code of the rule that gave the verdict"),
        Column("estimate", "float", "the figure, in the kind's own unit"),
        *ends("", "its 95 % interval"),
        Column("p", "float", "before correction"),
        Column("q", "float", "within its family"),
        Column("n", "int", "units"),
    ),
)


@dataclass(frozen=True)
class Calibration:
    """What shuffles gave.

    Attributes:
        draws: the claims of every shuffle.
        false_claims: per kind of claim ``rate low high n hits draws``: shuffled labels, supported nonetheless.
        power: the same of planted effects; empty where none were asked for.
        coverage: shape of simulated data and number of units → ``rate low high n`` of the intervals that claims carry.
        left_out: stations that were not asked, do not say what they would claim, or that the run has not got.
    """

    draws: pd.DataFrame
    false_claims: dict[str, dict[str, float]]
    power: dict[str, dict[str, float]]
    coverage: dict[str, dict[str, float]]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As it is printed and kept."""
        return {
            "false_claims": self.false_claims,
            "power": self.power,
            "coverage": self.coverage,
            "left_out": list(self.left_out),
        }


def calibrate_run(
    run: Path,
    out: Path,
    *,
    draws: int = 200,
    first: int = 0,
    planted: int = 0,
    only: Sequence[str] | None = None,
    model: LanguageModel | None = None,
    engine: Engine | None = None,
    command: str = "",
) -> Calibration:
    """Make the claims of a finished run again with shuffled labels, and count those that come out supported.

    The coverage of intervals is simulated beside them; it depends on no run.

    Args:
        run: folder of a finished study; nothing is written there.
        out: where draws, figures and a manifest go; the same folder goes on where an earlier call stopped.
        draws: shuffles per station.
        first: number of the first shuffle.
        planted: shuffles per station in which an effect is planted, of the stations that say how.
        only: stations; all that say what they would claim by default.
        model: the run's, where it is loaded already.
        engine: where draws are computed; in this process by default.
        command: that makes the same again, for the manifest.

    Raises:
        EmotionCircuitsError: the run has not finished, a station that is unknown or says nothing, no draw.
    """
    if draws < 1 or planted < 0:
        raise EmotionCircuitsError(f"calibrate: at least one draw is needed, got {draws}, and {planted} planted ones")
    manifest = read_finished(run)
    config = StudyConfig.model_validate(manifest["config"])
    asked, left_out = _stations(run, only)
    context = Context(config, run, loaded=model)
    tables = [_draws_of(station, "shuffled", context, out, range(first, first + draws), engine) for station in asked]
    for station in asked:
        if planted and station.calibrates("planted"):
            tables.append(_draws_of(station, "planted", context, out, range(first, first + planted), engine))
    found = pd.concat(tables, ignore_index=True)
    DRAWS.write(found, out / f"{DRAWS.name}.parquet")
    by = {program: found[found["program"] == program] for program in ("shuffled", "planted")}
    result = Calibration(found, supported(by["shuffled"]), supported(by["planted"]), _coverage(), left_out)
    write_json(out / CALIBRATION, result.to_json())
    write_manifest(
        out,
        {
            "command": command,
            "run": str(run),
            "run_manifest_sha256": file_sha256(run / MANIFEST),
            "model": manifest["model"],
            "config": manifest["config"],
            "draws": draws,
            "first": first,
            "planted": planted,
            "environment": environment(),
            "stations": {station.name: manifest["stations"].get(station.name) for station in asked},
        },
    )
    return result


def _stations(run: Path, only: Sequence[str] | None) -> tuple[list[Station], tuple[str, ...]]:
    known = {station.name: station for station in study_stations()}
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise EmotionCircuitsError(f"station {unknown[0]!r} is unknown; choose from {', '.join(known)}")
    asked, left_out = [], []
    for name, station in known.items():
        if only is not None and name not in only:
            left_out += [name] if station.kinds else []
            continue
        finished = (read_note(station_folder(run, name)) or {}).get("status") == "complete"
        if station.calibrates("shuffled") and finished:
            asked.append(station)
        elif station.kinds:
            left_out.append(name)
    if not asked:
        raise EmotionCircuitsError(
            f"{run}: none of its finished stations says what it would claim with shuffled labels"
            + ("" if only is None else f" (asked: {', '.join(only)})")
        )
    return asked, tuple(left_out)


def _draws_of(
    station: Station, program: Program, context: Context, out: Path, draws: Sequence[int], engine: Engine | None
) -> pd.DataFrame:
    note = read_note(station_folder(context.folder, station.name)) or {}
    work = {
        "format": 1,
        "station": station.name,
        "program": program,
        "version": station.version,
        "key": note.get("key"),
    }
    size = station.draws_at_once
    tasks = [list(draws[i : i + size]) for i in range(0, len(draws), size)]
    payload = _Payload(station, program, context.config, context.folder)
    folder = out / (station.name if program == "shuffled" else f"{station.name}-{program}")
    title = f"{station.name}: shuffled labels" if program == "shuffled" else f"{station.name}: planted effects"
    with Parts(folder, work, tasks, Kept("calibration", Tables())) as parts, progress_bar(title, len(draws)) as bar:
        bar.advance(len(draws) - sum(len(part.task) for part in parts.missing()))
        for part, _ in parts.compute(Compute(_claims, payload, context.model), engine):
            bar.advance(len(part.task))
        return pd.concat(parts.read(), ignore_index=True)


@dataclass(frozen=True)
class _Payload:
    station: Station
    program: Program
    config: StudySettings
    run: Path


def _claims(model: LanguageModel, payload: _Payload, draws: Sequence[int]) -> pd.DataFrame:
    """The claims of some draws."""
    context = Context(payload.config, payload.run, loaded=model)
    rows = [
        {
            "program": payload.program,
            "station": payload.station.name,
            "draw": draw,
            "kind": claim.kind,
            "id": claim.id,
            "verdict": claim.verdict,
            "reason": claim.reason,
            "estimate": claim.figures.estimate,
            "low": float("nan") if claim.figures.interval is None else claim.figures.interval[0],
            "high": float("nan") if claim.figures.interval is None else claim.figures.interval[1],
            "p": float("nan") if claim.figures.p is None else claim.figures.p,
            "q": float("nan") if claim.figures.q is None else claim.figures.q,
            "n": claim.figures.n,
        }
        for draw, claims in zip(draws, payload.station.calibrated(payload.program, context, draws), strict=True)
        for claim in claims
    ]
    return pd.DataFrame(rows, columns=[column.name for column in DRAWS.columns])


@cache
def _coverage() -> dict[str, dict[str, float]]:
    """By simulation, so the same for every run."""
    return {
        f"{shape}, n = {n}": {"rate": r.rate, "low": r.low, "high": r.high, "n": r.n}
        for (shape, n), r in interval_coverage().items()
    }


def supported(draws: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Share of supported claims per kind, with an interval that knows that claims of one draw go together.

    Args:
        draws: a table of :data:`DRAWS`.
    """
    found = {}
    for kind, part in draws.groupby("kind", sort=False):
        share = clustered_share((part["verdict"] == "supported").tolist(), part["draw"].tolist())
        found[str(kind)] = {
            "rate": share.rate, "low": share.low, "high": share.high, "n": share.n, "hits": share.hits,
            "draws": share.clusters,
        }  # fmt: skip
    return found
