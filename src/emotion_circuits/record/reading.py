"""A run folder as others left it: configuration, claims, choices and times, whether the run is finished or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import read_json
from emotion_circuits.record.folder import CHOICE, StationFolder
from emotion_circuits.record.running import NOTE, read_note
from emotion_circuits.statistics import Claim

__all__ = ["FORMAT", "MANIFEST", "RunFolder", "is_run", "open_run", "read_claims", "read_manifest", "stations_of"]

MANIFEST = "manifest.json"
FORMAT = 2
"""Version of ``manifest.json``."""


@dataclass(frozen=True)
class RunFolder:
    """What a run's folder says.

    Attributes:
        folder: where it is.
        config: the configuration, nested; empty where the run has not finished.
        manifest: the manifest; empty where the run has not finished.
        claims: every claim by its id.
        choices: per station, what was chosen on validation.
        seconds: per station; only where the time was noted.
        statuses: per station: ``complete`` or ``running``.
    """

    folder: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    claims: dict[str, Claim]
    choices: dict[str, Any]
    seconds: dict[str, float]
    statuses: dict[str, str]


def read_manifest(run: Path) -> dict[str, Any]:
    """A run's manifest.

    Raises:
        EmotionCircuitsError: the run has not finished, its manifest is damaged, or another version wrote it.
    """
    path = run / MANIFEST
    if not path.exists():
        raise EmotionCircuitsError(f"{path}: is missing; finish the run first (emotion-circuits run --out {run})")
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("stations", found.get("stages")), dict):
        raise EmotionCircuitsError(f"{path}: is not the manifest of a run")
    if found.get("format") != FORMAT:
        raise EmotionCircuitsError(
            f"{path}: has format {found.get('format')}, this version reads {FORMAT}: another version of emotion-circuits made "
            "this run; use that version, or run it again into another folder"
        )
    return found


def stations_of(run: Path) -> tuple[str, ...]:
    """The stations of a run's folder, in the order of its manifest; those of an unfinished run by when they began."""
    begun = [note.parent.name for note in sorted(run.glob(f"*/{NOTE}"), key=lambda note: note.stat().st_mtime_ns)]
    try:
        known = list(read_manifest(run)["stations"])
    except EmotionCircuitsError:
        known = []
    return tuple(dict.fromkeys([*(name for name in known if name in begun), *begun]))


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run: a manifest of a study, or a station."""
    if any(folder.glob(f"*/{NOTE}")):
        return True
    try:
        return bool(read_manifest(folder))
    except EmotionCircuitsError:
        return False


def read_claims(run: Path) -> list[Claim]:
    """All claims of a run, in the order of its stations."""
    return [claim for name in stations_of(run) for claim in StationFolder(run / name).read_claims()]


def open_run(folder: Path) -> RunFolder:
    """Read a run's folder.

    Raises:
        EmotionCircuitsError: not a run, a damaged file, or a run of another version.
    """
    if not is_run(folder):
        raise EmotionCircuitsError(f"{folder}: is not the folder of a run (no manifest.json of a study and no station)")
    manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    choices: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    statuses: dict[str, str] = {}
    for station in stations_of(folder):
        place = folder / station
        found = read_note(place)
        statuses[station] = "running" if found is None else str(found.get("status", "running"))
        if found is not None and "timing" in found:
            seconds[station] = float(found["timing"]["seconds"])
        if (place / CHOICE).is_file():
            choices[station] = read_json(place / CHOICE)
    claims = {claim.id: claim for claim in read_claims(folder)}
    return RunFolder(folder, dict(manifest.get("config", {})), manifest, claims, choices, seconds, statuses)
