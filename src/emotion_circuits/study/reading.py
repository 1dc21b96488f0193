"""A run folder as others left it: configuration, claims, choices and times, whether the run is finished or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import read_json
from emotion_circuits.study.running import STAGE_FILE, read_stage

__all__ = ["STAGE_NAMES", "RunFolder", "is_run", "open_run"]

STAGE_NAMES = ("capture", "directions", "trace", "steering", "circuits")
FORMAT = 1
"""Version of ``manifest.json``."""


@dataclass(frozen=True)
class RunFolder:
    """What a run's folder says.

    Attributes:
        folder: where it is.
        config: the configuration, nested; empty where the run has not finished.
        manifest: the manifest; empty where the run has not finished.
        claims: every claim by its id.
        choices: per stage, what was chosen on validation.
        seconds: per stage; only where the time was noted.
        statuses: per stage: ``complete``, ``running`` or ``missing``.
    """

    folder: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    claims: dict[str, dict[str, Any]]
    choices: dict[str, Any]
    seconds: dict[str, float]
    statuses: dict[str, str]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run: a manifest of a study, or a stage."""
    if any((folder / stage / STAGE_FILE).is_file() for stage in STAGE_NAMES):
        return True
    try:
        return isinstance(read_json(folder / "manifest.json").get("stages"), dict)
    except (EmotionCircuitsError, AttributeError):
        return False


def open_run(folder: Path) -> RunFolder:
    """Read a run's folder.

    Raises:
        EmotionCircuitsError: not a run, a damaged file, or a run of another version.
    """
    if not is_run(folder):
        raise EmotionCircuitsError(f"{folder}: is not the folder of a run (no manifest.json of a study and no stage)")
    manifest = read_json(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
    if manifest.get("format", FORMAT) != FORMAT:
        raise EmotionCircuitsError(
            f"{folder / 'manifest.json'}: has format {manifest['format']}, this version reads {FORMAT}: another version of "
            "emotion-circuits made this run"
        )
    claims: dict[str, dict[str, Any]] = {}
    choices: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    statuses: dict[str, str] = {}
    for stage in STAGE_NAMES:
        place = folder / stage
        found = read_stage(place)
        statuses[stage] = "missing" if found is None else str(found.get("status", "running"))
        if found is not None and "timing" in found:
            seconds[stage] = float(found["timing"]["seconds"])
        if (place / "claims.json").is_file():
            claims |= {str(claim["id"]): claim for claim in read_json(place / "claims.json")}
        if (place / "choice.json").is_file():
            choices[stage] = read_json(place / "choice.json")
    return RunFolder(folder, dict(manifest.get("config", {})), manifest, claims, choices, seconds, statuses)
