"""The one reader of tables that users bring: CSV, TSV, JSON lines, JSON arrays, Parquet and Excel become rows of named cells."""

from __future__ import annotations

import csv
import io
import logging
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emotion_circuits.documents import LARGEST, UnreadableError, bytes_of, decoded, loads, parse_json
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["LONGEST_LINE", "TABLE_SUFFIXES", "Problem", "Table", "no_column", "parse_table", "read_table"]

_log = logging.getLogger(__name__)

LONGEST_LINE = 2**20
"""Characters of a line (of JSON) or a cell; a corpus holds sentences and letters."""

_LARGEST_SHEET = 2**30


class Problem(NamedTuple):
    """What is wrong with one line of a file; ``field`` is empty where the whole line is meant."""

    line: int
    field: str
    message: str

    def at(self, path: Any) -> str:
        """``file:line: field: message``."""
        field = f"{self.field}: " if self.field else ""
        return f"{path}:{self.line}: {field}{self.message}"


class Table(NamedTuple):
    """A table as it stands in its file.

    Attributes:
        columns: names in the order in which they first appear, without blanks around them.
        rows: the line of each row (of Parquet: its number; of Excel: that of the sheet), and its cells by column. Cells without
            a value are left out, except empty ones of CSV.
        problems: rows that cannot be read.
        delimited: whether cells are texts alone, so that lists are written inside them.
    """

    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, Any]]]
    problems: list[Problem]
    delimited: bool = False

    def positions(self, path: Path, fields: Mapping[str, str]) -> dict[str, str]:
        """Field → the column it is in, of those that are there; a name in another case will do where it is the only one.

        Args:
            path: for messages.
            fields: field → wanted column; where both are the same it may be missing.

        Raises:
            EmotionCircuitsError: no such column, or several.
        """
        found: dict[str, str] = {}
        for field, wanted in fields.items():
            alike = [c for c in self.columns if c == wanted] or [
                c for c in self.columns if c.strip().casefold() == wanted.strip().casefold()
            ]
            if len(alike) > 1:
                raise EmotionCircuitsError(f"{path}:1: the column {alike[0]!r} stands more than once")
            if alike:
                found[field] = alike[0]
            elif wanted != field:
                there = ", ".join(self.columns) or "none"
                raise EmotionCircuitsError(f"{path}:1: no column {wanted!r} for {field}. Columns: {there}")
        return found


def no_column(field: str, path: Path) -> str:
    """What to do where a field has no column."""
    return f"no column for {field}; name it with --map {field}=COLUMN (in settings and attributes: {path.name}#{field}=COLUMN)"


def read_table(path: Path, *, unnamed: bool = False) -> Table:
    """A user's file as a table, by the ending of its name in any case; ``unnamed`` as in :func:`parse_table`.

    Raises:
        EmotionCircuitsError: it cannot be read, is of no kind that is known, or holds no table.
    """
    _reader(path)
    return parse_table(bytes_of(path), path, unnamed=unnamed)


def parse_table(content: bytes, path: Path, *, unnamed: bool = False) -> Table:
    r"""A file's content as a table.

    Args:
        content: its bytes.
        path: tells the kind; for messages.
        unnamed: the first line is a row; columns are then called ``@1``, ``@2`` … (CSV and TSV).

    Raises:
        EmotionCircuitsError: as :func:`read_table`; unnamed columns in a file that names them.

    Example:
        >>> parse_table(b"text,label\nThank you!,gratitude\n", Path("letters.csv")).rows
        [(2, {'text': 'Thank you!', 'label': 'gratitude'})]
    """
    try:
        reader = _reader(path)
        if not unnamed:
            return reader(content, path)
        if reader is not _delimited:
            raise EmotionCircuitsError(f"{path}: names its columns; map them by name instead of @1, @2 …")
        return _delimited(content, path, unnamed=True)
    except UnreadableError as error:
        raise EmotionCircuitsError(f"{path}:{error.line}: {error.message}") from error


def _reader(path: Path) -> Callable[[bytes, Path], Table]:
    found = _READERS.get(path.suffix.lower())
    if found is None:
        raise EmotionCircuitsError(
            f"{path}: a table is a file that ends in {', '.join(_READERS)}; save it as one of these (CSV as UTF-8)"
        )
    return found


# --- CSV and TSV ---------------------------------------------------------------------------------------------------------------


def _delimited(content: bytes, path: Path, *, unnamed: bool = False) -> Table:
    text = decoded(content)
    first, rest = _first_line(text)
    line, hint = 1, re.fullmatch(r"\"?sep=(.)\"?", first)
    if hint:  # what spreadsheets write for one another
        text, line = rest, 2
        first = _first_line(rest)[0]
    delimiter = hint[1] if hint else "\t" if path.suffix.lower() == ".tsv" else _delimiter(first)
    # A blank behind the delimiters of the header is one of the writer's habits, and quotes stand behind it.
    spaced = re.search(rf"{re.escape(delimiter)} +\S", first) is not None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    rows: list[tuple[int, dict[str, Any]]] = []
    problems: list[Problem] = []
    header: list[str] | None = None
    while True:
        at = reader.line_num + line
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            message = _csv_message(str(error))
            if header is None:
                raise UnreadableError(at, message) from error
            problems.append(Problem(at, "", message))
            continue
        if not any(cells):
            continue
        if header is None:
            header = [f"@{i}" for i in range(1, len(cells) + 1)] if unnamed else [cell.strip() for cell in cells]
            if not unnamed:
                continue
        if len(cells) != len(header):
            problems.append(Problem(at, "", f"has {len(cells)} cells where the header has {len(header)}"))
        else:
            rows.append((at, {name: _lines(cell) for name, cell in zip(header, cells, strict=True)}))
    if header is None:
        raise UnreadableError(1, "is empty; the first line must name the columns")
    return Table(tuple(header), rows, problems, delimited=True)


def _first_line(text: str) -> tuple[str, str]:
    """A line and the rest; spreadsheets on a Macintosh end lines with a carriage return alone."""
    first, _, rest = re.match(r"([^\r\n]*)(\r\n|\r|\n|\Z)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return first, rest


def _delimiter(header: str) -> str:
    """The separator that stands most often in the header outside of quotes; of several the first of these."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max("\t;,|", key=bare.count) if any(mark in bare for mark in "\t;,|") else ","


def _csv_message(reason: str) -> str:
    if "unexpected end" in reason:
        return "a quotation mark is opened and not closed before the end of the file"
    if "field limit" in reason:
        return f"a cell is longer than {csv.field_size_limit():,} characters, or a quotation mark is not closed"
    return f"is not a row of the table: {reason}"


def _lines(cell: str) -> str:
    """A cell with the line ends of its own text, not those of the file."""
    return cell.replace("\r\n", "\n").replace("\r", "\n")


# --- JSON ----------------------------------------------------------------------------------------------------------------------


def _json(content: bytes, path: Path) -> Table:
    text = decoded(content)
    if text.lstrip(" \t\r\n").startswith("["):
        return _named(*_array(text))
    objects: list[tuple[int, dict[str, Any]]] = []
    problems: list[Problem] = []
    # Not splitlines(): it would cut texts at separators that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise UnreadableError(1, _too_long(len(line)))
            value = loads(line)
        except UnreadableError as error:
            problems.append(Problem(number, "", error.message))
            continue
        _take(value, number, objects, problems)
    if not objects and len(problems) > 1 and text.lstrip().startswith("{"):
        try:
            value = loads(text)
        except UnreadableError:
            return _named(objects, problems)
        keys = ", ".join(map(repr, list(value)[:4]))
        raise EmotionCircuitsError(
            f"{path}: is one JSON object ({keys}); a corpus is an array of objects, or one object a line"
        )
    return _named(objects, problems)


def _too_long(size: int) -> str:
    return f"is {size:,} characters long; a row may have {LONGEST_LINE:,}"


def _array(text: str) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    """The elements of an array one by one, each with its line."""
    objects: list[tuple[int, dict[str, Any]]] = []
    problems: list[Problem] = []
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        while position < len(text) and text[position] in " \t\r\n":
            position += 1
        line += text.count("\n", counted, position)
        counted = position
        if text[position : position + 1] == "]" and not objects and not problems:
            break
        try:
            value, end = parse_json(text, position)
        except UnreadableError as error:
            problems.append(Problem(error.line, "", error.message))
            return objects, problems
        if end - position > LONGEST_LINE:
            problems.append(Problem(line, "", _too_long(end - position)))
        else:
            _take(value, line, objects, problems)
        position = end
        while position < len(text) and text[position] in " \t\r\n":
            position += 1
        mark = text[position : position + 1]
        position += 1
        if mark == "]":
            break
        if mark != ",":
            line += text.count("\n", counted, position - 1)
            problems.append(Problem(line, "", "is not JSON: a comma or the end of the array is missing"))
            return objects, problems
    if text[position:].strip():
        line += text.count("\n", counted, position)
        problems.append(Problem(line, "", "goes on behind the end of its array"))
    return objects, problems


def _take(value: Any, line: int, objects: list[tuple[int, dict[str, Any]]], problems: list[Problem]) -> None:
    if isinstance(value, dict):
        objects.append((line, value))
    else:
        problems.append(Problem(line, "", "is not a JSON object"))


def _named(objects: list[tuple[int, dict[str, Any]]], problems: list[Problem]) -> Table:
    columns: dict[str, None] = {}
    for _, value in objects:
        columns.update(dict.fromkeys(value))
    return Table(tuple(columns), objects, problems)


# --- Parquet and Excel ---------------------------------------------------------------------------------------------------------


def _parquet(content: bytes, path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        columns = [name.strip() for name in file.schema_arrow.names]
        size = 0
        rows: list[Any] = []
        for batch in file.iter_batches(batch_size=256):
            # A few bytes of a file can stand for gigabytes of texts.
            if (size := size + batch.nbytes) > LARGEST:
                raise UnreadableError(1, f"unpacks to more than {LARGEST // 2**20} MiB; divide it")
            rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise EmotionCircuitsError(f"{path}: is not Parquet, or is damaged: {_first(error)}") from error
    return _from_cells(columns, rows, first=1)


def _excel(content: bytes, path: Path) -> Table:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise EmotionCircuitsError(
            f"{path}: Excel needs the extra 'excel' (pip install 'emotion-circuits[excel]'); or save the sheet as CSV UTF-8"
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            if sum(part.file_size for part in parts.infolist()) > _LARGEST_SHEET:
                raise EmotionCircuitsError(
                    f"{path}: unpacks to more than {_LARGEST_SHEET // 2**20} MiB; save it as CSV"
                )
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = [sheet for sheet in book.worksheets if any(any(row) for row in sheet.iter_rows(values_only=True))]
        rows = [[_excel_cell(cell) for cell in row] for row in sheets[0].iter_rows()] if sheets else []
        formulas = load_workbook(io.BytesIO(content), read_only=True)[sheets[0].title].iter_rows() if sheets else ()
        for number, (cells, row) in enumerate(zip(formulas, rows, strict=False), start=1):
            for cell, value in zip(cells, row, strict=False):
                if cell.data_type == "f" and value is None:
                    raise UnreadableError(
                        number,
                        f"cell {cell.coordinate} is a formula whose result was not saved; save the sheet in Excel, or as CSV",
                    )
    except (EmotionCircuitsError, UnreadableError):
        raise
    except Exception as error:  # whatever the library meets in a damaged file
        raise EmotionCircuitsError(f"{path}: is not an Excel workbook, or is damaged: {_first(error)}") from error
    if len(sheets) > 1:
        _log.warning(
            "%s: holds %d sheets; only %r is read (save each one as a file of its own)",
            path,
            len(sheets),
            sheets[0].title,
        )
    header = [str(cell).strip() if cell is not None else "" for cell in (rows[0] if rows else ())]
    if not any(header):
        raise UnreadableError(1, "is empty; the first row must name the columns")
    return _from_cells(header, rows[1:], first=2)


def _excel_cell(cell: Any) -> Any:
    """A cell's value, characters as they were typed; what Excel could not compute is no text."""
    value = cell.value
    if cell.data_type == "e":
        raise UnreadableError(cell.row, f"cell {cell.coordinate} holds the error {value}; correct it")
    return _typed(value) if isinstance(value, str) else value


_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def _typed(text: str) -> str:
    """Characters that Excel writes as their numbers."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _from_cells(columns: list[str], rows: Any, *, first: int) -> Table:
    kept = []
    for number, cells in enumerate(rows, start=first):
        row = {
            name: _lines(cell) if isinstance(cell, str) else cell
            for name, cell in zip(columns, cells, strict=False)
            if name and cell is not None and cell == cell
        }
        if row:
            kept.append((number, row))
    return Table(tuple(name for name in columns if name), kept, [], delimited=False)


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


_READERS: dict[str, Callable[[bytes, Path], Table]] = {
    ".csv": _delimited, ".tsv": _delimited, ".jsonl": _json, ".ndjson": _json, ".json": _json, ".parquet": _parquet,
    ".xlsx": _excel, ".xlsm": _excel,
}  # fmt: skip
TABLE_SUFFIXES: tuple[str, ...] = tuple(_READERS)
