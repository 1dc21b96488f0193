"""A run folder as others left it: configuration, claims, choices and times, whether the run is finished or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import read_json
from emotion_circuits.record.folder import CHOICE, StationFolder
from emotion_circuits.record.notes import NOTE, checked, files_of, going_on, is_there, read_note, remedy
from emotion_circuits.sealing import SEAL, broken, read_sealed, unsealed, write_sealed
from emotion_circuits.statistics import Claim

__all__ = [
    "FORMAT", "MANIFEST", "STUDY", "RunFolder", "is_run", "open_run", "read_claims", "read_config", "read_finished",
    "read_manifest", "read_study", "stations_of", "write_manifest", "write_study",
]  # fmt: skip

MANIFEST = "manifest.json"
STUDY = "study.json"
"""The whole configuration, written before the first station begins."""
FORMAT = 3
"""Version of ``manifest.json``: from 3 on it carries a seal."""
READS = (2, FORMAT)


@dataclass(frozen=True)
class RunFolder:
    """What a run's folder says.

    Attributes:
        folder: where it is.
        config: the configuration, nested; empty where nothing tells of it.
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


def _again(run: Path) -> str:
    return f"run '{going_on(run)}', which makes it again"


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a run's manifest, with its seal."""
    write_sealed(folder / MANIFEST, {"format": FORMAT, **manifest})


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest of a run, or of a folder that was made from runs.

    Raises:
        EmotionCircuitsError: the run has not finished, its manifest is damaged or was changed, or another version wrote it.
    """
    path = run / MANIFEST
    if not path.exists():
        raise EmotionCircuitsError(f"{path}: is missing; finish the run first ({going_on(run)})")
    try:
        found = read_json(path)
    except EmotionCircuitsError as error:
        raise EmotionCircuitsError(f"{error}; {_again(run)}") from error
    if not isinstance(found, dict) or not isinstance(found.get("stations", found.get("stages")), dict):
        raise EmotionCircuitsError(f"{path}: is not the manifest of a run; {_again(run)}")
    if found.get("format") not in READS:
        raise EmotionCircuitsError(
            f"{path}: has format {found.get('format')}, this version reads {FORMAT}: another version of emotion-circuits made "
            "this run; use that version, or run it again into another folder"
        )
    if broken(found) or (found["format"] == FORMAT and SEAL not in found):
        raise EmotionCircuitsError(
            f"{path}: was changed after it was written (it differs from its own seal); {_again(run)}"
        )
    plain: dict[str, Any] = unsealed(found)
    return plain


def read_finished(run: Path) -> dict[str, Any]:
    """The manifest of a finished run, every station of which is the one that it tells of.

    Raises:
        EmotionCircuitsError: as :func:`read_manifest`; or a station is gone, damaged, at work, or was made from other inputs
            since.
    """
    manifest = read_manifest(run)
    for name, key in manifest["stations"].items():
        folder = run / name
        note = read_note(folder)
        if note is None:
            raise EmotionCircuitsError(
                f"{folder / NOTE}: is missing, though {MANIFEST} tells of station '{name}'; {remedy(folder)}"
            )
        if files_of(note) is None or note.get("key") != key:
            raise EmotionCircuitsError(
                f"{folder}: is not the station '{name}' that {MANIFEST} tells of: another run was begun in this folder since; "
                f"finish it first ({going_on(run)})"
            )
    return manifest


def write_study(folder: Path, config: dict[str, Any]) -> None:
    """Write a run's configuration, with its seal."""
    write_sealed(folder / STUDY, config)


def read_study(run: Path) -> dict[str, Any] | None:
    """The configuration with which a run was begun last; ``None`` where there is none.

    Raises:
        EmotionCircuitsError: it is damaged or was changed.
    """
    path = run / STUDY
    if not path.is_file():
        return None
    remedy = "give the run's own settings again (emotion-circuits run --profile … --set … --out …)"
    if (run / MANIFEST).is_file():
        remedy = f"delete it: {MANIFEST} tells the same, and '{going_on(run)}' makes it again"
    found = read_sealed(path, remedy)
    if not isinstance(found, dict):
        raise EmotionCircuitsError(f"{path}: is not the configuration of a run")
    return found


def read_config(run: Path) -> dict[str, Any]:
    """The configuration of a run, of one that has not finished too.

    Raises:
        EmotionCircuitsError: no run; or a file that tells of it is damaged, was changed, or is gone.
    """
    study = read_study(run)
    if not (run / MANIFEST).is_file():
        if study is None:
            raise EmotionCircuitsError(f"{run}: is not the folder of a run (no readable {STUDY})")
        return study
    config: dict[str, Any] = read_finished(run)["config"]
    if study is not None and study != config:
        raise EmotionCircuitsError(
            f"{run / STUDY}: differs from what {MANIFEST} tells of: another run was begun in this folder since; finish it first "
            f"({going_on(run)})"
        )
    return config


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
        EmotionCircuitsError: not a run, a damaged or changed file, or a run of another version.
    """
    if not is_run(folder):
        raise EmotionCircuitsError(f"{folder}: is not the folder of a run (no manifest.json of a study and no station)")
    manifest = read_finished(folder) if (folder / MANIFEST).is_file() else {}
    config = dict(manifest.get("config") or read_study(folder) or {})
    choices: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    statuses: dict[str, str] = {}
    for station in stations_of(folder):
        place = folder / station
        found = read_note(place)
        statuses[station] = "running" if found is None else str(found.get("status", "running"))
        if found is not None and "timing" in found:
            seconds[station] = float(found["timing"]["seconds"])
        if is_there(place / CHOICE):
            choices[station] = read_json(checked(place / CHOICE))
    claims = {claim.id: claim for claim in read_claims(folder)}
    return RunFolder(folder, config, manifest, claims, choices, seconds, statuses)
