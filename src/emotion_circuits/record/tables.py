"""Declared tables: every column with its type, unit and meaning, checked when a table is written and when it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import replacing
from emotion_circuits.record.notes import checked, going_on

__all__ = ["Column", "Table", "ends"]

Type = Literal["text", "int", "float", "bool", "pair"]
_CHECKS = {
    "text": lambda s: pd.api.types.is_string_dtype(s) or (s.dtype == object and s.map(_is_text).all()),
    "int": pd.api.types.is_integer_dtype,
    "float": lambda s: (pd.api.types.is_float_dtype(s) or pd.api.types.is_integer_dtype(s)) or s.isna().all(),
    "bool": pd.api.types.is_bool_dtype,
    "pair": lambda s: s.map(lambda value: value is None or len(value) == 2).all(),
}

_EMPTY = {"text": "object", "int": "int64", "float": "float64", "bool": "bool", "pair": "object"}


def _is_text(value: object) -> bool:
    # A missing value is None, or NaN where pandas made it of one.
    return value is None or isinstance(value, str) or value != value


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as in the file; ``p_{label}`` stands for one column per label.
        type: ``text``, ``int``, ``float``, ``bool`` or ``pair`` (a lower and an upper end).
        meaning: what it holds, in a phrase.
        unit: of a number; empty where it has none.
        optional: a table may lack it.
    """

    name: str
    type: Type
    meaning: str
    unit: str = ""
    optional: bool = False

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(self.name)))

    def fits(self, name: str) -> bool:
        """Whether a table's column is this one."""
        return self._pattern.fullmatch(name) is not None


def ends(prefix: str, of: str, unit: str = "", *, optional: bool = False) -> tuple[Column, Column]:
    """The two columns of a range, ``<prefix>low`` and ``<prefix>high``.

    Args:
        prefix: of both names.
        of: which range, in words.
        unit: of both.
        optional: a table may lack them.
    """
    return (
        Column(f"{prefix}low", "float", f"lower end of {of}", unit, optional),
        Column(f"{prefix}high", "float", f"upper end of {of}", unit, optional),
    )


@dataclass(frozen=True)
class Table:
    """One kind of table.

    Attributes:
        name: of the file, without its ending.
        meaning: what one row is.
        columns: what it may hold.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]

    def problems(self, frame: pd.DataFrame) -> Iterator[str]:
        """How a table differs from its declaration, each in a phrase."""
        for name in map(str, frame.columns):
            column = self.column(name)
            if column is None:
                yield f"column {name!r} is not declared"
            elif not _CHECKS[column.type](frame[name]):
                yield f"column {name!r} should be {column.type}, but is {frame[name].dtype}"
        for column in self.columns:
            if not column.optional and not any(column.fits(str(name)) for name in frame.columns):
                yield f"column {column.name!r} is missing"

    def column(self, name: str) -> Column | None:
        """The declaration of a column; one that names it outright comes before a pattern."""
        fitting = [c for c in self.columns if c.fits(name)]
        return min(fitting, key=lambda c: c.name != name) if fitting else None

    def empty(self) -> pd.DataFrame:
        """The table without rows: every column that it must have, of its type."""
        return pd.DataFrame({c.name: pd.Series(dtype=_EMPTY[c.type]) for c in self.columns if not c.optional})

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        """Write it as Parquet, atomically.

        Raises:
            EmotionCircuitsError: it is not as declared, or cannot be written.
        """
        if frame.empty:
            frame = self.empty()
        self._check(frame, path)
        with replacing(path) as temporary:
            frame.to_parquet(temporary, index=False)

    def read(self, path: Path) -> pd.DataFrame:
        """Read it.

        Raises:
            EmotionCircuitsError: it is missing, damaged, changed, or not as declared.
        """
        try:
            frame = pd.read_parquet(checked(path))
        except FileNotFoundError as error:
            raise EmotionCircuitsError(
                f"{path}: is missing; finish the run first ({going_on(path.parent.parent)})"
            ) from error
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise EmotionCircuitsError(f"{path}: cannot be read: {error}") from error
        self._check(frame, path)
        return frame

    def _check(self, frame: pd.DataFrame, path: Path) -> None:
        found = list(self.problems(frame))
        if found:
            more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
            raise EmotionCircuitsError(f"{path}: is not a table of {self.name!r}: {'; '.join(found[:3])}{more}")
