"""Stations with manifests: one whose inputs are unchanged is not run again; an interrupted one goes on.

A station's *key* is the hash of its version, the part of the config it reads, and the keys of the stations it needs (of this
run, and of others where it compares several). ``stage.json`` in its folder says ``running`` while it works and ``complete``
with the SHA-256 of every file when it is done. When the key has changed, the old folder is moved to ``superseded/``; nothing
is overwritten.
"""

from __future__ import annotations

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
from emotion_circuits.locking import LOCK, locked
from emotion_circuits.paths import cannot_write, file_sha256, hash_json, make_folder
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.notes import NOTE, checked, files_of, going_on, read_note, write_note
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.station import Context, Station
from emotion_circuits.temporaries import is_temporary, sweep

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
    lacking = left_out(context.config, stations)
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
                "runs": [list(keys.values()) for keys in keys_of_runs(station, context.runs)],
            }
        )
    return keys


def left_out(config: StudySettings, stations: Sequence[Station]) -> dict[str, NotMeasured]:
    """Stations that cannot be run with what is studied, and why."""
    found: dict[str, NotMeasured] = {}
    for station in stations:
        why = station.left_out(config, found)
        if why is not None:
            found[station.name] = why
    return found


def keys_of_runs(station: Station, runs: Sequence[Path]) -> list[dict[str, str]]:
    """The keys of every other run's stations that it needs, as they lie there now.

    Raises:
        EmotionCircuitsError: one has not finished, or a file of it was changed.
    """
    return [{name: _key_of(run, name) for name in station.needs_of_runs} for run in runs]


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
        raise EmotionCircuitsError(f"{folder}: has not finished; run '{going_on(run)}' first")
    return key


def run_stations(
    context: Context,
    stations: Sequence[Station],
    *,
    dry: bool = False,
    told: Callable[[Station, str], None] | None = None,
    begun: Callable[[], None] | None = None,
) -> list[StationReport]:
    """Run what has to be run, in order.

    Args:
        context: config and folder.
        stations: in an order in which every station follows what it needs.
        dry: only say what would be run.
        told: called with each station and its status before it runs.
        begun: called under the folder's lock before the first station, once it is known that none is refused.

    Raises:
        EmotionCircuitsError: the folder is in use or holds files of somebody else, or an artefact was changed later.
    """
    if not dry:
        make_folder(context.folder)
    # A dry run may look at a folder in which a run is working, or that cannot be written to.
    with nullcontext() if dry else locked(context.folder, BUSY):
        keys = station_keys(context, stations)
        statuses = _statuses(context.folder, keys)
        lacking = left_out(context.config, stations)
        if not dry:
            sweep(context.folder)
            if begun is not None:
                begun()
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
            sweep(folder, deep=True)
            write_note(folder, {"status": "running", "key": keys[station.name]})
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


def station_status(folder: Path, key: str) -> str:
    """``complete``, ``running`` (this very work was interrupted), ``other`` (other inputs) or ``new``.

    Raises:
        EmotionCircuitsError: an artefact of a complete station is missing or was changed, another version wrote it, or the
            folder holds files and no note: they are not ours to move.
    """
    found = read_note(folder)
    if found is None:
        theirs = next((p for p in sorted(folder.rglob("*")) if not p.is_dir() and not _passing(p)), None)
        if theirs is not None:
            raise EmotionCircuitsError(
                f"{folder}: holds {theirs.relative_to(folder)} and no {NOTE}, so it is not this program's folder; use another "
                "--out, or move what it holds elsewhere"
            )
        return "new"
    if found.get("key") != key:
        return "other"
    files = files_of(found)
    if files is None:
        return "running"
    for name in files:
        checked(folder / name)
    return "complete"


def _passing(path: Path) -> bool:
    """Whether a file says nothing of whose folder it is in: a lock, or one that was half written."""
    return path.name == LOCK or is_temporary(path)


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
    write_note(folder, {**found, CLEANED: True})


def _complete(folder: Path, key: str, timing: dict[str, Any]) -> None:
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NOTE and not path.name.startswith(".")
    }
    write_note(folder, {"status": "complete", "key": key, "files": files, "timing": timing})


def _supersede(run: Path, name: str) -> None:
    """Move a folder of other inputs aside."""
    target = make_folder(run / SUPERSEDED)
    taken = [int(number) for p in target.glob(f"{name}-*") if (number := p.name.rpartition("-")[2]).isdigit()]
    try:
        shutil.move(station_folder(run, name), target / f"{name}-{max(taken, default=0) + 1}")
    except OSError as error:
        raise cannot_write(target, error) from error
