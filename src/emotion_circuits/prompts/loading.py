"""Corpora by name (``load_prompts("core")``, ``load_prompts("languages/ja/implicit")``) or by path."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import hash_json
from emotion_circuits.prompts.schema import Pair, Prompt

__all__ = ["available_sets", "corpora_dir", "load_pairs", "load_prompts", "prompts_sha256", "read_rows", "resolve_set"]

Row = TypeVar("Row", bound=Prompt)


def corpora_dir() -> Path:
    """Folder of the bundled corpora."""
    return Path(str(files("emotion_circuits.prompts") / "corpora"))


def available_sets() -> list[str]:
    """Names of the bundled corpora."""
    root = corpora_dir()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.jsonl"))


def resolve_set(name_or_path: str | os.PathLike[str]) -> list[Path]:
    """The files of a bundled set, or the user's own file.

    A bundled name is a file (``core``), or a folder of them (``languages/ja`` takes all of its files).

    Raises:
        EmotionCircuitsError: neither a bundled name nor an existing ``.jsonl`` file.
    """
    name = os.fspath(name_or_path)
    root = corpora_dir()
    bundled = root / f"{name}.jsonl"
    if not Path(name).is_absolute() and ".." not in Path(name).parts:
        if bundled.is_file():
            return [bundled]
        if name and (root / name).is_dir() and (inside := sorted((root / name).rglob("*.jsonl"))):
            return inside
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() not in (".jsonl", ".ndjson"):
            raise EmotionCircuitsError(
                f"{name}: a corpus is a .jsonl file; convert a CSV with "
                f"'emotion-circuits data check {name} --map text=COLUMN … --write OUT.jsonl'"
            )
        return [path]
    raise EmotionCircuitsError(f"{name}: neither a bundled set nor a file. Bundled sets: {', '.join(available_sets())}")


def read_rows(path: Path, kind: type[Row]) -> tuple[list[Row], list[str]]:
    """Every valid row of a JSONL file, and every error as ``file:line: field: message``."""
    rows: list[Row] = []
    errors: list[str] = []
    seen: dict[str, int] = {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EmotionCircuitsError(f"{path}: cannot be read: {error.strerror}") from error
    for number, raw in enumerate(content.split(b"\n"), start=1):
        where = f"{path}:{number}"
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            errors.append(f"{where}: is not UTF-8 (byte {error.start + 1}); save the file as UTF-8")
            continue
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except json.JSONDecodeError as error:
            errors.append(f"{where}: is not JSON (column {error.colno}): {error.msg}")
            continue
        if not isinstance(value, dict):
            errors.append(f"{where}: is not a JSON object")
            continue
        try:
            row = kind.model_validate(value)
        except ValidationError as error:
            errors += [f"{where}: {message}" for message in validation_messages(error)]
            continue
        if row.id in seen:
            errors.append(f"{where}: id: {row.id!r} stands already in line {seen[row.id]}")
            continue
        seen[row.id] = number
        rows.append(row)
    return rows, errors


def validation_messages(error: ValidationError) -> list[str]:
    """Pydantic's errors as ``field: message`` lines."""
    messages = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        messages.append(f"{field}: {message}" if field else message)
    return messages


def _load(name_or_path: str | os.PathLike[str] | Sequence[str], kind: type[Row]) -> list[Row]:
    names = [name_or_path] if isinstance(name_or_path, str | os.PathLike) else list(name_or_path)
    rows: list[Row] = []
    errors: list[str] = []
    for name in names:
        for path in resolve_set(name):
            more, problems = read_rows(path, kind)
            rows += more
            errors += problems
            if not more and not problems:
                errors.append(f"{path}: holds no rows")
    if errors:
        shown = "\n  ".join(errors[:20])
        rest = f"\n  … and {len(errors) - 20} more" if len(errors) > 20 else ""
        raise EmotionCircuitsError(f"{len(errors)} problem(s) in the corpus:\n  {shown}{rest}")
    return rows


def load_prompts(
    name_or_path: str | os.PathLike[str] | Sequence[str],
    *,
    split: str | None = None,
    labels: Iterable[str] | None = None,
) -> list[Prompt]:
    """The rows of a corpus (or of several), validated.

    Args:
        name_or_path: a bundled name, a path to a JSONL file, or a sequence of them.
        split: keep only ``train``, ``validation`` or ``test``.
        labels: keep only these labels.

    Raises:
        EmotionCircuitsError: unknown name; or bad rows, each with file, line and field.
    """
    names = [name_or_path] if isinstance(name_or_path, str | os.PathLike) else list(name_or_path)
    paired = [n for n in names if any(p.stem == "pairs" for p in resolve_set(n) if p.is_relative_to(corpora_dir()))]
    rows: list[Prompt] = []
    for name in names:
        rows += _load(name, Pair if name in paired else Prompt)
    return _select(rows, split, labels)


def load_pairs(name_or_path: str | os.PathLike[str] = "pairs", *, split: str | None = None) -> list[Pair]:
    """Token-aligned minimal pairs; as :func:`load_prompts`."""
    return _select(_load(name_or_path, Pair), split, None)


def _select(rows: list[Row], split: str | None, labels: Iterable[str] | None) -> list[Row]:
    if split is not None and split not in ("train", "validation", "test"):
        raise EmotionCircuitsError(f"split must be train, validation or test, got {split!r}")
    wanted = None if labels is None else set(labels)
    return [r for r in rows if split in (None, r.split) and (wanted is None or r.label in wanted)]


def prompts_sha256(rows: Iterable[Prompt]) -> str:
    """One hash over the rows in order."""
    return hash_json([row.model_dump(mode="json") for row in rows])
