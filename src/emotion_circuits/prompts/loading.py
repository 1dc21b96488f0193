"""Corpora by name (``load_prompts("core")``, ``load_prompts("languages/ja/implicit")``) or by path."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import hash_json
from emotion_circuits.prompts.schema import Pair, Prompt, corpora_dir

__all__ = [
    "Numbered",
    "Problem",
    "available_sets",
    "corpora_dir",
    "explain",
    "load_pairs",
    "load_prompts",
    "prompts_sha256",
    "read_objects",
    "read_rows",
    "resolve_set",
    "validate_objects",
    "validation_messages",
    "validation_problems",
]

Row = TypeVar("Row", bound=Prompt)


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


class Problem(NamedTuple):
    """What is wrong with one line of a file; ``field`` is empty where the whole line is meant."""

    line: int
    field: str
    message: str

    def at(self, path: str | os.PathLike[str]) -> str:
        """``file:line: field: message``."""
        field = f"{self.field}: " if self.field else ""
        return f"{os.fspath(path)}:{self.line}: {field}{self.message}"


class Numbered(NamedTuple):
    """A row and the line it stands in."""

    line: int
    row: Prompt


def read_objects(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    """``(line, object)`` of every line of a JSONL file that holds a JSON object, and every line that doesn't.

    Raises:
        EmotionCircuitsError: the file cannot be read.
    """
    return _objects_in(_content_of(path))


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EmotionCircuitsError(f"{path}: cannot be read: {error.strerror}") from error


def _objects_in(content: bytes) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    objects: list[tuple[int, dict[str, Any]]] = []
    problems: list[Problem] = []
    if content.startswith(codecs.BOM_UTF8):
        problems.append(Problem(1, "", "begins with a byte-order mark; save the file as UTF-8 without it"))
        content = content.removeprefix(codecs.BOM_UTF8)
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            problems.append(Problem(number, "", f"is not UTF-8 (byte {error.start + 1}); save the file as UTF-8"))
            continue
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(Problem(number, "", f"is not JSON (column {error.colno}): {error.msg}"))
            continue
        if isinstance(value, dict):
            objects.append((number, value))
        else:
            problems.append(Problem(number, "", "is not a JSON object"))
    return objects, problems


def validate_objects(
    objects: Iterable[tuple[int, dict[str, Any]]], kind: type[Prompt] = Prompt
) -> tuple[list[Numbered], list[Problem]]:
    """The valid rows with their lines, and every problem. An object with ``corrupted`` is a :class:`Pair`."""
    rows: list[Numbered] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for number, value in objects:
        model = Pair if "corrupted" in value else kind
        try:
            row = model.model_validate(value)
        except ValidationError as error:
            problems += [Problem(number, field, message) for field, message in validation_problems(error)]
            continue
        if row.id in seen:
            problems.append(Problem(number, "id", f"{row.id!r} stands already in line {seen[row.id]}"))
            continue
        seen[row.id] = number
        rows.append(Numbered(number, row))
    return rows, problems


def read_rows(path: Path, kind: type[Row]) -> tuple[list[Row], list[str]]:
    """Every valid row of a JSONL file, and every error as ``file:line: field: message``.

    Where ``kind`` is :class:`Prompt`, rows that are pairs come as :class:`Pair`.
    """
    rows, problems = _rows_in(_content_of(path), kind)
    return [cast(Row, row) for row in rows], [problem.at(path) for problem in problems]


@lru_cache(maxsize=64)
def _rows_in(content: bytes, kind: type[Prompt]) -> tuple[tuple[Prompt, ...], tuple[Problem, ...]]:
    """The rows of a file's content and what is wrong with it; a study asks for the same corpora a hundred times."""
    objects, unreadable = _objects_in(content)
    rows, invalid = validate_objects(objects, kind)
    return tuple(numbered.row for numbered in rows), tuple(sorted([*unreadable, *invalid]))


def validation_problems(error: ValidationError) -> list[tuple[str, str]]:
    """Pydantic's errors as ``(field, message)``."""
    problems = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        # A rule over several fields names the field it is about itself.
        if not field and (split := message.split(": ", 1))[0] in Pair.model_fields:
            field, message = split
        problems.append((field, message))
    return problems


def validation_messages(error: ValidationError) -> list[str]:
    """Pydantic's errors as ``field: message`` lines."""
    return [f"{field}: {message}" if field else message for field, message in validation_problems(error)]


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """:func:`validation_messages`, where an unknown key names those that are known at its place.

    Args:
        error: of validating ``model``.
        model: what was asked for.
    """
    return [
        f"{'.'.join(map(str, item['loc']))}: unknown key; known: {', '.join(_section(model, item['loc'][:-1]).model_fields)}"
        if item["type"] == "extra_forbidden"
        else text
        for item, text in zip(error.errors(), validation_messages(error), strict=True)
    ]


def _section(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The model at a place inside a model; keys of mappings, which are no fields, are passed over."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = None if field is None else _model_in(field.annotation)
        model = inner or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in ``Model | None`` or ``dict[str, Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


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
    rows = _load(name_or_path, Prompt)
    return _select(rows, split, labels)


def load_pairs(name_or_path: str | os.PathLike[str] = "pairs", *, split: str | None = None) -> list[Pair]:
    """Token-aligned minimal pairs; as :func:`load_prompts`.

    Args:
        name_or_path: a bundled set, or a JSONL file.
        split: only pairs of this split.

    Example:
        >>> pair = load_pairs("pairs", split="test")[0]
        >>> pair.split, pair.label != pair.corrupted_label
        ('test', True)

    Raises:
        EmotionCircuitsError: no such set or file, or rows that are no pairs, each named with its line.
    """
    return _select(_load(name_or_path, Pair), split, None)


def _select(rows: list[Row], split: str | None, labels: Iterable[str] | None) -> list[Row]:
    if split is not None and split not in ("train", "validation", "test"):
        raise EmotionCircuitsError(f"split must be train, validation or test, got {split!r}")
    wanted = None if labels is None else set(labels)
    return [r for r in rows if split in (None, r.split) and (wanted is None or r.label in wanted)]


def prompts_sha256(rows: Iterable[Prompt]) -> str:
    """One hash over the rows in order."""
    return hash_json([row.model_dump(mode="json") for row in rows])
