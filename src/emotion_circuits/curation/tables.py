"""A user's table (CSV or TSV) as rows of a corpus, with a column for each field."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.loading import Problem
from emotion_circuits.prompts.schema import Prompt
from emotion_circuits.prompts.splitting import split_groups

__all__ = ["FIELDS", "TABLE_SUFFIXES", "parse_column_map", "read_table"]

_log = logging.getLogger(__name__)

FIELDS: tuple[str, ...] = tuple(Prompt.model_fields)
TABLE_SUFFIXES: tuple[str, ...] = (".csv", ".tsv")


def parse_column_map(items: list[str]) -> dict[str, str]:
    """``["text=Sentence", "label=Emotion"]`` → ``{"text": "Sentence", "label": "Emotion"}``.

    Raises:
        EmotionCircuitsError: an item is not ``FIELD=COLUMN``, or names a field that no row has, or one twice.
    """
    columns: dict[str, str] = {}
    for item in items:
        field, equals, column = item.partition("=")
        if not equals or not column:
            raise EmotionCircuitsError(f"--map {item}: write FIELD=COLUMN, for example text=Sentence")
        if field not in FIELDS:
            raise EmotionCircuitsError(f"--map {item}: there is no field {field!r}; fields: {', '.join(FIELDS)}")
        if field in columns:
            raise EmotionCircuitsError(f"--map {item}: {field} is mapped already to {columns[field]!r}")
        columns[field] = column
    return columns


def read_table(
    path: Path, columns: Mapping[str, str] | None = None, *, language: str = "en"
) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    """``(line, object)`` of every row of a table, ready to be validated, and every problem on the way.

    Without a column: ``id`` is made of the file's name and the line, ``group`` is the row itself, ``split`` is drawn
    by group, ``language`` is the argument, ``set`` the file's name. ``spans`` may hold offsets (``[[4, 9]]``) or the
    marked words themselves, separated by ``|``; a word that does not stand in the text is a problem.

    Args:
        path: a ``.csv`` (comma or semicolon) or ``.tsv`` file with a header, UTF-8.
        columns: field → column; fields left out use the column of their own name, if there is one.
        language: for rows without a language column.

    Raises:
        EmotionCircuitsError: the file cannot be read, or lacks a column that is mapped or needed.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise EmotionCircuitsError(f"{path}:{line}: is not UTF-8; save the table as UTF-8") from error
    except OSError as error:
        raise EmotionCircuitsError(f"{path}: cannot be read: {error.strerror}") from error
    header_line = content.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" or "\t" in header_line else ","
    if delimiter == "," and header_line.count(";") > header_line.count(","):
        delimiter = ";"
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    header = next(reader, None)
    if not header:
        raise EmotionCircuitsError(f"{path}: is empty; the first line must name the columns")
    position = _positions(path, header, columns or {})
    objects: list[tuple[int, dict[str, Any]]] = []
    problems: list[Problem] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            problems.append(Problem(line, "", f"is not a row of the table: {error}"))
            continue
        if not any(cells):
            continue
        if len(cells) != len(header):
            problems.append(Problem(line, "", f"has {len(cells)} cells where the header has {len(header)}"))
            continue
        value: dict[str, Any] = {field: cells[index] for field, index in position.items()}
        value.setdefault("id", f"{path.stem}-{line}")
        value.setdefault("group", value["id"])
        value.setdefault("language", language)
        value.setdefault("set", path.stem)
        if "spans" in value:
            value["spans"], missing = _spans(value["spans"], value["text"])
            problems += [Problem(line, "spans", f"the text does not hold {word!r}") for word in missing]
        objects.append((line, value))
    if "group" not in position:
        _log.warning(
            "%s: no column for group, so every row is a group of its own; where rows belong together (one event told in "
            "several emotions, paraphrases), name it with --map group=COLUMN, or they are split apart",
            path,
        )
    if "split" not in position:
        splits = split_groups((value["group"] for _, value in objects), salt=path.stem)
        for _, value in objects:
            value["split"] = splits[value["group"]]
    return objects, problems


def _positions(path: Path, header: list[str], columns: Mapping[str, str]) -> dict[str, int]:
    wanted = {**{field: field for field in FIELDS if field in header}, **columns}
    for field in ("text", "label"):
        if field not in wanted:
            raise EmotionCircuitsError(
                f"{path}:1: no column for {field}; name it with --map {field}=COLUMN. Columns: {', '.join(header)}"
            )
    for field, column in wanted.items():
        if column not in header:
            raise EmotionCircuitsError(f"{path}:1: no column {column!r} for {field}. Columns: {', '.join(header)}")
        if header.count(column) > 1:
            raise EmotionCircuitsError(f"{path}:1: the column {column!r} stands more than once")
    return {field: header.index(column) for field, column in wanted.items()}


def _spans(cell: str, text: str) -> tuple[list[tuple[int, int]], list[str]]:
    cell = cell.strip()
    if cell.startswith("["):
        try:
            return json.loads(cell), []
        except json.JSONDecodeError:
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
