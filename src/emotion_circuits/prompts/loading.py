"""Corpora by name (``load_prompts("core")``, ``load_prompts("languages/ja/implicit")``) or by path."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_args
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from emotion_circuits.documents import UnreadableError, bytes_of, loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import hash_json, path_of
from emotion_circuits.prompts.layouts import is_layout, laid_out, layout_problem, unnamed
from emotion_circuits.prompts.schema import Pair, Prompt, corpora_dir
from emotion_circuits.prompts.splitting import split_groups
from emotion_circuits.prompts.tables import Problem, no_column, parse_table

__all__ = [
    "FIELDS",
    "CorpusFile",
    "Numbered",
    "available_sets",
    "corpora_dir",
    "corpus_file",
    "explain",
    "load_pairs",
    "load_prompts",
    "parse_column_map",
    "prompts_sha256",
    "read_objects",
    "resolve_set",
    "validate_objects",
    "validation_messages",
    "validation_problems",
    "with_columns",
]

_log = logging.getLogger(__name__)

Row = TypeVar("Row", bound=Prompt)


def available_sets() -> list[str]:
    """Names of the bundled corpora."""
    root = corpora_dir()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.jsonl"))


class CorpusFile(NamedTuple):
    """A file of a corpus, and the columns its fields are in where these are not called as the fields are."""

    path: Path
    columns: tuple[tuple[str, str], ...] = ()


FIELDS: tuple[str, ...] = tuple(Pair.model_fields)


def parse_column_map(items: Iterable[str], where: str = "--map ") -> dict[str, str]:
    """``["text=Sentence", "label=Emotion"]`` → ``{"text": "Sentence", "label": "Emotion"}``.

    Args:
        items: ``FIELD=COLUMN``; where labels stand otherwise than in a column, as :mod:`.prompts.layouts` says.
        where: begins messages.

    Raises:
        EmotionCircuitsError: an item is not ``FIELD=COLUMN``, or names a field that no row has, or one twice.
    """
    columns: dict[str, str] = {}
    for item in items:
        field, equals, column = item.partition("=")
        if not equals or not column:
            raise EmotionCircuitsError(f"{where}{item}: write FIELD=COLUMN, for example text=Sentence")
        if field not in FIELDS and not is_layout(field):
            raise EmotionCircuitsError(
                f"{where}{item}: there is no field {field!r}; fields: {', '.join(FIELDS)}, text:LABEL, label:LABEL"
            )
        if field in columns:
            raise EmotionCircuitsError(f"{where}{item}: {field} is mapped already to {columns[field]!r}")
        columns[field] = column
    if problem := layout_problem(columns):
        raise EmotionCircuitsError(f"{where.removesuffix(' ')}: {problem}")
    return columns


def with_columns(name: str | os.PathLike[str], columns: Mapping[str, str]) -> str:
    """A corpus of a user's own with its columns named, as it may stand in settings and attributes.

    Bundled sets, whose columns are known, stay as they are.

    Example:
        >>> with_columns("letters.csv", {"text": "The letter"})
        'letters.csv#text=The letter'
    """
    text = os.fspath(name)
    if not columns or _bundled(text):
        return text
    return f"{text}#{','.join(f'{field}={_quoted(column)}' for field, column in columns.items())}"


def _quoted(column: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in "%,#" else c for c in column)


def corpus_file(name: str | os.PathLike[str]) -> CorpusFile:
    """A user's own file, ``FILE`` or ``FILE#FIELD=COLUMN,…`` (``,``, ``#`` and ``%`` in a column as ``%2C``, ``%23``, ``%25``).

    Example:
        >>> corpus_file("letters.csv#text=Sentence,label=Emotion").columns
        (('text', 'Sentence'), ('label', 'Emotion'))

    Raises:
        EmotionCircuitsError: columns that are not ``FIELD=COLUMN``.
    """
    text = os.fspath(name)
    before, mark, after = text.rpartition("#")
    if not mark or "=" not in after or path_of(text).is_file():
        return CorpusFile(path_of(text))
    columns = parse_column_map(after.split(","), where=f"{before}#")
    return CorpusFile(path_of(before), tuple((field, unquote(column)) for field, column in columns.items()))


def _bundled(name: str) -> list[Path]:
    root = corpora_dir()
    if not Path(name).is_absolute() and ".." not in Path(name).parts:
        if (root / f"{name}.jsonl").is_file():
            return [root / f"{name}.jsonl"]
        if name and (root / name).is_dir():
            return sorted((root / name).rglob("*.jsonl"))
    return []


def resolve_set(name_or_path: str | os.PathLike[str]) -> list[CorpusFile]:
    """The files of a bundled set, or the user's own file.

    A bundled name is a file (``core``), or a folder of them (``languages/ja`` takes all of its files).

    Raises:
        EmotionCircuitsError: neither a bundled name nor an existing file.
    """
    name = os.fspath(name_or_path)
    if bundled := _bundled(name):
        return [CorpusFile(path) for path in bundled]
    own = corpus_file(name)
    if own.path.is_file() or own.path.is_fifo():
        return [own]
    raise EmotionCircuitsError(f"{name}: neither a bundled set nor a file. Bundled sets: {', '.join(available_sets())}")


class Numbered(NamedTuple):
    """A row and the line it stands in."""

    line: int
    row: Prompt


def read_objects(file: CorpusFile, *, language: str = "en") -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    """``(line, object)`` of every row of a user's table, ready to be validated, and every problem on the way.

    What no row says: ``id`` is made of the file's name and the line, ``group`` is the row itself, ``split`` is drawn by group,
    ``language`` is the argument, ``set`` the file's name. ``spans`` may hold offsets (``[[4, 9]]``) or the marked words
    themselves, separated by ``|``; a word that does not stand in the text is a problem.

    Args:
        file: the file, and its columns; fields that are not named use the column of their own name, if there is one.
        language: for rows without one.

    Raises:
        EmotionCircuitsError: the file cannot be read, or lacks a column that is mapped or needed.
    """
    return _objects_in(bytes_of(file.path), file, language)


def _objects_in(
    content: bytes, file: CorpusFile, language: str
) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    path = file.path
    table = parse_table(content, path, unnamed=unnamed(dict(file.columns)))
    if not table.rows:
        return [], table.problems
    table, columns = laid_out(table, dict(file.columns), path)
    fields = {**{field: field for field in FIELDS}, **columns}
    position = table.positions(path, fields)
    if lacking := [field for field in ("text", "label") if field not in position]:
        line = 1 if table.delimited else table.rows[0][0]
        there = f"Columns: {', '.join(table.columns)}"
        said = [Problem(line, field, f"{no_column(field, path)}. {there}") for field in lacking]
        return [], [*table.problems, *said]
    # Whoever names columns, or brings a spreadsheet, has others beside them; in JSON an unknown key is a slip of the pen.
    strict = not file.columns and path.suffix.lower() in (".jsonl", ".ndjson", ".json")
    used = set(position.values())
    objects: list[tuple[int, dict[str, Any]]] = []
    problems = list(table.problems)
    numbers = [line for line, _ in table.rows]
    if len(set(numbers)) < len(numbers):  # an array in one line
        numbers = list(range(1, len(numbers) + 1))
    for number, (line, cells) in zip(numbers, table.rows, strict=True):
        value = {field: cells[column] for field, column in position.items() if column in cells}
        if strict:
            value.update({key: cell for key, cell in cells.items() if key not in used})
        problems += [Problem(line, *problem) for problem in _plain(value, delimited=table.delimited)]
        for field, default in (("id", f"{path.stem}-{number}"), ("language", language), ("set", path.stem)):
            if field not in position:
                value[field] = default
        if "group" not in position:
            value["group"] = value.get("id")
        objects.append((line, value))
    if "group" not in position and len(objects) > 1:
        _log.warning(
            "%s: no column for group, so every row is a group of its own; where rows belong together (one event told in "
            "several emotions, paraphrases), name it with --map group=COLUMN, or they are split apart",
            path,
        )
    if "split" not in position:
        splits = split_groups((str(value["group"]) for _, value in objects), salt=path.stem)
        for _, value in objects:
            value["split"] = splits[str(value["group"])]
    return objects, problems


_NAMES = ("id", "label", "group", "split", "language", "set", "corrupted_label")


def _plain(value: dict[str, Any], *, delimited: bool) -> list[tuple[str, str]]:
    """Bring cells into the form of a row, in place; ``(field, problem)`` where one cannot be."""
    problems: list[tuple[str, str]] = []
    for field in _NAMES:
        cell = value.get(field)
        if isinstance(cell, int) and not isinstance(cell, bool):
            value[field] = str(cell)  # numbers as names: survey ids, classes
        elif isinstance(cell, str):
            value[field] = unicodedata.normalize("NFC", cell.strip())  # before splits are drawn by it
    for field, text in (("spans", "text"), ("corrupted_spans", "corrupted")):
        if isinstance(value.get(field), str):
            value[field], missing = _spans(value[field], str(value.get(text, "")))
            problems += [(field, f"the text does not hold {word!r}") for word in missing]
    if delimited:
        for field in ("answers", "corrupted_answers"):
            if field in value:
                value[field] = [answer for answer in value[field].split("|") if answer]
        for field in ("corrupted", "corrupted_label", "answers", "corrupted_spans", "corrupted_answers"):
            if not value.get(field, True):
                del value[field]  # a row that is no pair, in a table that has some
    return problems


def _spans(cell: str, text: str) -> tuple[Any, list[str]]:
    cell = cell.strip()
    if cell.startswith("["):
        try:
            return loads(cell), []
        except UnreadableError:
            return [], [cell]
    spans: list[tuple[int, int]] = []
    missing: list[str] = []
    for word in filter(None, (part.strip() for part in cell.split("|"))):
        # Whole words first; inside a word only where the script has no spaces.
        found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) or (
            None if word.isascii() else re.search(re.escape(word), text)
        )
        if found is None:
            missing.append(word)
        else:
            spans.append(found.span())
    return sorted(spans), missing


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


@lru_cache(maxsize=64)
def _rows_in(content: bytes, file: CorpusFile, kind: type[Prompt]) -> tuple[tuple[Numbered, ...], tuple[Problem, ...]]:
    """The rows of a file's content and what is wrong with it; a study asks for the same corpora a hundred times."""
    objects, unreadable = _objects_in(content, file, "en")
    rows, invalid = validate_objects(objects, kind)
    return tuple(rows), tuple(sorted([*unreadable, *invalid]))


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
    places: dict[str, str] = {}
    for file in dict.fromkeys(file for name in names for file in resolve_set(name)):
        numbered, problems = _rows_in(bytes_of(file.path), file, kind)
        errors += [problem.at(file.path) for problem in problems]
        if not numbered and not problems:
            errors.append(f"{file.path}: holds no rows")
        for line, row in numbered:
            place = f"{file.path}:{line}"
            if places.setdefault(row.id, place) != place:
                errors.append(
                    f"{place}: id: {row.id!r} stands already in {places[row.id]}; ids of corpora used together differ"
                )
        rows += [cast(Row, row) for _, row in numbered]
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
        name_or_path: a bundled name, a file (CSV, TSV, JSONL, JSON, Parquet, Excel; ``FILE#text=COLUMN`` where its columns have
            other names), or a sequence of them. No two rows may have the same id.
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
        name_or_path: a bundled set, or a file as :func:`load_prompts` reads it.
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
