"""Stations with manifests: one whose inputs are unchanged is not run again; an interrupted one goes on.

A station's *key* is the hash of its version, the part of the config it reads, and the keys of the stations it needs (of this
run, and of others where it compares several). ``stage.json`` in its folder says ``running`` while it works and ``complete``
with the SHA-256 of every file when it is done. When the key has changed, the old folder is moved to ``superseded/``; nothing
is overwritten.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.locking import locked
from emotion_circuits.paths import cannot_write, file_sha256, hash_json, is_temporary, make_folder, write_json
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.station import Context, Station

__all__ = [
    "BUSY",
    "NOTE",
    "SUPERSEDED",
    "StationReport",
    "forget_files",
    "left_out",
    "read_note",
    "run_stations",
    "station_folder",
    "station_status",
]

_log = logging.getLogger(__name__)

NOTE = "stage.json"
FORMAT = 2
"""Version of ``stage.json``."""
CLEANED = "cleaned"
"""Entry of ``stage.json`` of a station without its large files."""
SUPERSEDED = "superseded"
"""Where stations of other inputs are moved to."""
BUSY = "another run is working here; wait for it or use another folder"


@dataclass(frozen=True)
class StationReport:
    """What happened to a station.

    Attributes:
        name: the station.
        status: ``reused``, ``ran`` or ``left out`` (what it needs of that which is studied is not there); in a dry run
            ``reused``, ``would resume``, ``would run`` or ``would run anew``
            (other inputs made what is there; it would be moved to ``superseded``).
        seconds: time it took.
        why: what it lacks where it was left out, in English.
    """

    name: str
    status: str
    seconds: float = 0.0
    why: str = ""


_WOULD = {"running": "would resume", "new": "would run", "other": "would run anew"}


def station_folder(run: Path, name: str) -> Path:
    """Where a station's artefacts are."""
    return run / name


def station_keys(context: Context, stations: Sequence[Station]) -> dict[str, str]:
    """The key of every station."""
    keys: dict[str, str] = {}
    lacking = left_out(context, stations)
    for station in stations:
        missing = lacking.get(station.name)
        keys[station.name] = hash_json(
            {
                "station": station.name,
                "version": station.version,
                "inputs": station.inputs(context) if missing is None else {"left out": str(missing)},
                # What stands before every text changes whatever reads one.
                **({} if context.config.prefix == "none" else {"prefix": context.config.prefix}),
                "needs": {name: keys[name] for name in station.needs},
                "runs": [[_key_of(run, name) for name in station.needs_of_runs] for run in context.runs],
            }
        )
    return keys


def left_out(context: Context, stations: Sequence[Station]) -> dict[str, NotMeasured]:
    """Stations that cannot be run with what is studied, and why."""
    found: dict[str, NotMeasured] = {}
    for station in stations:
        why = station.left_out(context.config, found)
        if why is not None:
            found[station.name] = why
    return found


def _key_of(run: Path, name: str) -> str:
    """Key of a station of another run, whose files are what was written; empty for a folder that no run made.

    Raises:
        EmotionCircuitsError: it has not finished, or a file of it was changed.
    """
    folder = station_folder(run, name)
    found = read_note(folder)
    if found is None and not folder.exists():
        return ""
    key = "" if found is None else str(found.get("key"))
    if station_status(folder, key) != "complete":
        raise EmotionCircuitsError(f"{folder}: has not finished; run 'emotion-circuits run --out {run}' first")
    return key


def run_stations(
    context: Context,
    stations: Sequence[Station],
    *,
    dry: bool = False,
    told: Callable[[Station, str], None] | None = None,
) -> list[StationReport]:
    """Run what has to be run, in order.

    Args:
        context: config and folder.
        stations: in an order in which every station follows what it needs.
        dry: only say what would be run.
        told: called with each station and its status before it runs.

    Raises:
        EmotionCircuitsError: the folder is in use, or an artefact was changed after it was written.
    """
    if not dry:
        make_folder(context.folder)
    # A dry run may look at a folder in which a run is working, or that cannot be written to.
    with nullcontext() if dry else locked(context.folder, BUSY):
        keys = station_keys(context, stations)
        statuses = _statuses(context.folder, keys)
        lacking = left_out(context, stations)
        reports: list[StationReport] = []
        for station in stations:
            folder, status = station_folder(context.folder, station.name), statuses[station.name]
            missing = lacking.get(station.name)
            _log.info("station %s: %s (key %s)", station.name, status, keys[station.name][:12])
            if missing is not None and (dry or status == "complete"):
                if told:
                    told(station, f"left out: {missing}")
                reports.append(StationReport(station.name, "left out", why=str(missing)))
                continue
            if status == "complete":
                if told:
                    told(station, "reused")
                reports.append(StationReport(station.name, "reused"))
                continue
            if dry:
                reports.append(StationReport(station.name, _WOULD[status]))
                continue
            if told:
                doing = "resumed" if status == "running" else "running"
                told(station, doing if missing is None else f"left out: {missing}")
            if status == "other":
                _supersede(context.folder, station.name)
            make_folder(folder)
            _sweep_temporaries(folder)
            write_json(folder / NOTE, {"format": FORMAT, "status": "running", "key": keys[station.name]})
            started = time.monotonic()
            if missing is None:
                station.run(context, folder)
            else:
                station.folder(folder).leave_out(missing)
            seconds = time.monotonic() - started
            timing = {"seconds": round(seconds, 3), "whole": status != "running", "threads": torch.get_num_threads()}
            _complete(folder, keys[station.name], timing)
            _log.info("station %s: %.1f s", station.name, seconds)
            if missing is None:
                reports.append(StationReport(station.name, "ran", seconds))
            else:
                reports.append(StationReport(station.name, "left out", why=str(missing)))
    return reports


def read_note(folder: Path) -> dict[str, Any] | None:
    """What ``stage.json`` of a station's folder says: ``status``, ``key``, and where it is complete ``files`` and ``timing``.

    ``timing`` holds ``seconds``, ``threads`` and ``whole`` (false where the station went on with interrupted work, whose time
    is not counted); runs of earlier versions have none.

    Returns:
        ``None`` where there is no such file, or one that is cut off or damaged.

    Raises:
        EmotionCircuitsError: another version wrote it.
    """
    note = folder / NOTE
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return None
    except OSError as error:
        raise EmotionCircuitsError(f"{note}: cannot be read: {error.strerror}") from error
    if not isinstance(found, dict):
        return None
    if found.get("format", FORMAT) != FORMAT:
        raise EmotionCircuitsError(
            f"{note}: has format {found['format']}, this version reads {FORMAT}: another version of emotion-circuits made this "
            "run; use that version, or another folder"
        )
    return found


def station_status(folder: Path, key: str) -> str:
    """``complete``, ``running`` (this very work was interrupted), ``other`` (other inputs) or ``new``.

    Raises:
        EmotionCircuitsError: an artefact of a complete station is missing or was changed, or another version wrote it.
    """
    found = read_note(folder)
    if found is None:
        return "other" if folder.exists() and any(folder.iterdir()) else "new"
    if found.get("key") != key:
        return "other"
    if found.get("status") != "complete" or not isinstance(found.get("files"), dict):
        return "running"
    for name, digest in found["files"].items():
        path = folder / name
        if not path.is_file():
            raise EmotionCircuitsError(
                f"{path}: is missing, though station '{folder.name}' was complete; delete {folder} to compute it again"
            )
        if file_sha256(path) != digest:
            raise EmotionCircuitsError(
                f"{path}: was changed after it was written (SHA-256 differs); delete {folder} to compute it again"
            )
    return "complete"


def _statuses(run: Path, keys: dict[str, str]) -> dict[str, str]:
    """Status of every station. One whose large files were cleaned away is done as long as no other station has to read them."""
    statuses = {name: station_status(station_folder(run, name), key) for name, key in keys.items()}
    if any(status != "complete" for status in statuses.values()):
        for name, status in statuses.items():
            if status == "complete" and (read_note(station_folder(run, name)) or {}).get(CLEANED):
                statuses[name] = "running"
    return statuses


def forget_files(folder: Path, names: Sequence[str]) -> None:
    """Note in a complete station's ``stage.json`` that files are about to be removed: they are made again when needed."""
    found = read_note(folder)
    assert found is not None
    found["files"] = {name: digest for name, digest in found["files"].items() if name not in set(names)}
    write_json(folder / NOTE, {**found, CLEANED: True})


def _complete(folder: Path, key: str, timing: dict[str, Any]) -> None:
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NOTE and not path.name.startswith(".")
    }
    write_json(folder / NOTE, {"format": FORMAT, "status": "complete", "key": key, "files": files, "timing": timing})


def _sweep_temporaries(folder: Path) -> None:
    """Remove half-written files of a process that was killed: under the run's lock nobody else is writing."""
    for path in list(folder.rglob(".*.tmp")):
        if is_temporary(path):
            path.unlink(missing_ok=True)


def _supersede(run: Path, name: str) -> None:
    """Move a folder of other inputs aside."""
    target = make_folder(run / SUPERSEDED)
    taken = [int(number) for p in target.glob(f"{name}-*") if (number := p.name.rpartition("-")[2]).isdigit()]
    try:
        shutil.move(station_folder(run, name), target / f"{name}-{max(taken, default=0) + 1}")
    except OSError as error:
        raise cannot_write(target, error) from error
