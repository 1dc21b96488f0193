"""Stages with manifests: a stage whose inputs are unchanged is not run again; an interrupted one goes on.

A stage's *key* is the hash of its version, the part of the config it reads, and the keys of the stages it needs.
``stage.json`` in its folder says ``running`` while it works and ``complete`` with the SHA-256 of every file when it is
done. When the key has changed, the old folder is moved to ``superseded/``; nothing is overwritten.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.locking import locked
from emotion_circuits.model import LanguageModel, load_model
from emotion_circuits.paths import cannot_write, file_sha256, hash_json, is_temporary, make_folder, write_json
from emotion_circuits.record.engines import Engine
from emotion_circuits.study.config import StudyConfig

__all__ = [
    "BUSY",
    "STAGE_FILE",
    "SUPERSEDED",
    "Context",
    "Stage",
    "StageReport",
    "forget_files",
    "read_stage",
    "run_stages",
    "stage_folder",
    "stage_status",
]

_log = logging.getLogger(__name__)

STAGE_FILE = "stage.json"
FORMAT = 1
"""Version of ``stage.json``."""
CLEANED = "cleaned"
"""Entry of ``stage.json`` of a stage without its large files."""
SUPERSEDED = "superseded"
"""Where stages of other inputs are moved to."""
BUSY = "another run is working here; wait for it or use another folder"


@dataclass(eq=False)
class Context:
    """What a stage may use: the config, the run folder, the model, loaded when first asked for, and the engine.

    Parts of a stage are computed by the engine, in this process where there is none.
    """

    config: StudyConfig
    folder: Path
    loaded: LanguageModel | None = None
    engine: Engine | None = None

    @cached_property
    def model(self) -> LanguageModel:
        """The study's model."""
        if self.loaded is not None:
            return self.loaded
        c = self.config
        return load_model(c.model, device=c.device, dtype=c.dtype, revision=c.revision)

    def path(self, stage: str) -> Path:
        """Folder of a stage's artefacts."""
        return stage_folder(self.folder, stage)


@dataclass(frozen=True)
class Stage:
    """One station of a study.

    Attributes:
        name: folder name.
        title: what is shown while it runs.
        version: raised when its artefacts change for the same inputs.
        needs: stages whose artefacts it reads.
        inputs: what of the config and the outside world it depends on.
        run: does the work into the folder; may find its own unfinished work there.
    """

    name: str
    title: str
    version: int
    needs: tuple[str, ...]
    inputs: Callable[[Context], dict[str, Any]]
    run: Callable[[Context, Path], None]


@dataclass(frozen=True)
class StageReport:
    """What happened to a stage.

    Attributes:
        name: the stage.
        status: ``reused`` or ``ran``; in a dry run ``reused``, ``would resume``, ``would run`` or ``would run anew``
            (other inputs made what is there; it would be moved to ``superseded``).
        seconds: time it took.
    """

    name: str
    status: str
    seconds: float = 0.0


_WOULD = {"running": "would resume", "new": "would run", "other": "would run anew"}


def stage_folder(run: Path, name: str) -> Path:
    """Where a stage's artefacts are."""
    return run / name


def stage_keys(context: Context, stages: Sequence[Stage]) -> dict[str, str]:
    """The key of every stage."""
    keys: dict[str, str] = {}
    for stage in stages:
        keys[stage.name] = hash_json(
            {
                "stage": stage.name,
                "version": stage.version,
                "inputs": stage.inputs(context),
                "needs": {name: keys[name] for name in stage.needs},
            }
        )
    return keys


def run_stages(
    context: Context,
    stages: Sequence[Stage],
    *,
    dry: bool = False,
    told: Callable[[Stage, str], None] | None = None,
) -> list[StageReport]:
    """Run what has to be run, in order.

    Args:
        context: config and folder.
        stages: in an order in which every stage follows what it needs.
        dry: only say what would be run.
        told: called with each stage and its status before it runs.

    Raises:
        EmotionCircuitsError: the folder is in use, or an artefact was changed after it was written.
    """
    if not dry:
        make_folder(context.folder)
    # A dry run may look at a folder in which a run is working, or that cannot be written to.
    with nullcontext() if dry else locked(context.folder, BUSY):
        keys = stage_keys(context, stages)
        statuses = _statuses(context.folder, keys)
        reports: list[StageReport] = []
        for stage in stages:
            folder, status = stage_folder(context.folder, stage.name), statuses[stage.name]
            _log.info("stage %s: %s (key %s)", stage.name, status, keys[stage.name][:12])
            if status == "complete":
                if told:
                    told(stage, "reused")
                reports.append(StageReport(stage.name, "reused"))
                continue
            if dry:
                reports.append(StageReport(stage.name, _WOULD[status]))
                continue
            if told:
                told(stage, "resumed" if status == "running" else "running")
            if status == "other":
                _supersede(context.folder, stage.name)
            make_folder(folder)
            _sweep_temporaries(folder)
            write_json(folder / STAGE_FILE, {"format": FORMAT, "status": "running", "key": keys[stage.name]})
            started = time.monotonic()
            stage.run(context, folder)
            seconds = time.monotonic() - started
            timing = {"seconds": round(seconds, 3), "whole": status != "running", "threads": torch.get_num_threads()}
            _complete(folder, keys[stage.name], timing)
            _log.info("stage %s: %.1f s", stage.name, seconds)
            reports.append(StageReport(stage.name, "ran", seconds))
    return reports


def read_stage(folder: Path) -> dict[str, Any] | None:
    """What ``stage.json`` of a stage's folder says: ``status``, ``key``, and where it is complete ``files`` and ``timing``.

    ``timing`` holds ``seconds``, ``threads`` and ``whole`` (false where the stage went on with interrupted work, whose time
    is not counted); runs of earlier versions have none.

    Returns:
        ``None`` where there is no such file, or one that is cut off or damaged.

    Raises:
        EmotionCircuitsError: another version wrote it.
    """
    note = folder / STAGE_FILE
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


def stage_status(folder: Path, key: str) -> str:
    """``complete``, ``running`` (this very work was interrupted), ``other`` (other inputs) or ``new``.

    Raises:
        EmotionCircuitsError: an artefact of a complete stage is missing or was changed, or another version wrote it.
    """
    found = read_stage(folder)
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
                f"{path}: is missing, though stage '{folder.name}' was complete; delete {folder} to compute it again"
            )
        if file_sha256(path) != digest:
            raise EmotionCircuitsError(
                f"{path}: was changed after it was written (SHA-256 differs); delete {folder} to compute it again"
            )
    return "complete"


def _statuses(run: Path, keys: dict[str, str]) -> dict[str, str]:
    """Status of every stage. One whose large files were cleaned away is done as long as no other stage has to read them."""
    statuses = {name: stage_status(stage_folder(run, name), key) for name, key in keys.items()}
    if any(status != "complete" for status in statuses.values()):
        for name, status in statuses.items():
            if status == "complete" and (read_stage(stage_folder(run, name)) or {}).get(CLEANED):
                statuses[name] = "running"
    return statuses


def forget_files(folder: Path, names: Sequence[str]) -> None:
    """Note in a complete stage's ``stage.json`` that files are about to be removed: they are made again when needed."""
    found = read_stage(folder)
    assert found is not None
    found["files"] = {name: digest for name, digest in found["files"].items() if name not in set(names)}
    write_json(folder / STAGE_FILE, {**found, CLEANED: True})


def _complete(folder: Path, key: str, timing: dict[str, Any]) -> None:
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != STAGE_FILE and not path.name.startswith(".")
    }
    write_json(
        folder / STAGE_FILE, {"format": FORMAT, "status": "complete", "key": key, "files": files, "timing": timing}
    )


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
        shutil.move(stage_folder(run, name), target / f"{name}-{max(taken, default=0) + 1}")
    except OSError as error:
        raise cannot_write(target, error) from error
