"""Stages with manifests: a stage whose inputs are unchanged is not run again; an interrupted one goes on.

A stage's *key* is the hash of its version, the part of the config it reads, and the keys of the stages it needs.
``stage.json`` in its folder says ``running`` while it works and ``complete`` with the SHA-256 of every file when it is
done. When the key has changed, the old folder is moved to ``superseded/``; nothing is overwritten.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, load_model
from emotion_circuits.paths import file_sha256, hash_json, write_json
from emotion_circuits.study.config import StudyConfig

__all__ = ["Context", "Stage", "StageReport", "run_stages", "stage_folder"]

STAGE_FILE = "stage.json"


@dataclass(eq=False)
class Context:
    """What a stage may use: the config, the run folder, and the model, loaded when first asked for."""

    config: StudyConfig
    folder: Path
    loaded: LanguageModel | None = None

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
        status: ``reused``, ``ran`` or (in a dry run) ``would run``.
        seconds: time it took.
    """

    name: str
    status: str
    seconds: float = 0.0


@dataclass
class _Keys:
    by_stage: dict[str, str] = field(default_factory=dict)


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
    context.folder.mkdir(parents=True, exist_ok=True)
    with _locked(context.folder):
        keys = stage_keys(context, stages)
        reports: list[StageReport] = []
        for stage in stages:
            folder = stage_folder(context.folder, stage.name)
            status = _status(folder, keys[stage.name])
            if status == "complete":
                if told:
                    told(stage, "reused")
                reports.append(StageReport(stage.name, "reused"))
                continue
            if dry:
                reports.append(StageReport(stage.name, "would run"))
                continue
            if told:
                told(stage, "resumed" if status == "running" else "running")
            if status == "other":
                _supersede(context.folder, stage.name)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / STAGE_FILE, {"status": "running", "key": keys[stage.name]})
            started = time.monotonic()
            stage.run(context, folder)
            _complete(folder, keys[stage.name])
            reports.append(StageReport(stage.name, "ran", time.monotonic() - started))
    return reports


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise EmotionCircuitsError(
            f"{folder}: another run is working here; wait for it or use another folder"
        ) from None
    except OSError as error:
        raise EmotionCircuitsError(f"{folder}: cannot be written to: {error.strerror}") from error


def _status(folder: Path, key: str) -> str:
    """``complete``, ``running`` (this very work was interrupted), ``other`` (other inputs) or ``new``."""
    note = folder / STAGE_FILE
    if not note.exists():
        return "other" if folder.exists() and any(folder.iterdir()) else "new"
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        return "other"
    if found.get("key") != key:
        return "other"
    if found.get("status") != "complete":
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


def _complete(folder: Path, key: str) -> None:
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != STAGE_FILE and not path.name.startswith(".")
    }
    write_json(folder / STAGE_FILE, {"status": "complete", "key": key, "files": files})


def _supersede(run: Path, name: str) -> None:
    """Move a folder of other inputs aside."""
    target = run / "superseded"
    target.mkdir(exist_ok=True)
    count = sum(1 for _ in target.glob(f"{name}-*"))
    shutil.move(stage_folder(run, name), target / f"{name}-{count + 1}")
