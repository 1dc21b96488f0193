"""A station's folder: one class that names its files, writes them and reads them back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import read_json, write_json
from emotion_circuits.prompts.loading import validation_messages
from emotion_circuits.record.notes import checked, going_on, is_there
from emotion_circuits.record.parts import PARTS
from emotion_circuits.record.tables import Table
from emotion_circuits.statistics import Claim

__all__ = ["CHOICE", "CLAIMS", "JsonFile", "NotMeasured", "StationFolder", "TableFile"]

CLAIMS = "claims.json"
CHOICE = "choice.json"
"""What a station chose on validation, where it chooses."""
_CLAIMS: TypeAdapter[list[Claim]] = TypeAdapter(list[Claim])
T = TypeVar("T", bound=BaseModel)


def _missing(path: Path) -> EmotionCircuitsError:
    return EmotionCircuitsError(f"{path}: is missing; finish the run first ({going_on(path.parent.parent)})")


class TableFile:
    """A declared table in a station's folder; as a class attribute it names the file, on a folder it reads and writes it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.path = Path(f"{table.name}.parquet")

    def __get__(self, folder: StationFolder | None, _owner: type) -> TableFile:
        if folder is None:
            return self
        bound = TableFile(self.table)
        bound.path = folder.path / self.path.name
        return bound

    def exists(self) -> bool:
        """Whether it was written.

        Raises:
            EmotionCircuitsError: it was, and is gone.
        """
        return is_there(self.path)

    def write(self, frame: pd.DataFrame) -> None:
        """See :meth:`Table.write`."""
        self.table.write(frame, self.path)

    def read(self) -> pd.DataFrame:
        """See :meth:`Table.read`."""
        return self.table.read(self.path)


class JsonFile(Generic[T]):
    """A JSON file that holds one record."""

    def __init__(self, name: str, record: type[T]) -> None:
        self.record = record
        self.path = Path(name)

    def __get__(self, folder: StationFolder | None, _owner: type) -> JsonFile[T]:
        if folder is None:
            return self
        bound = JsonFile(self.path.name, self.record)
        bound.path = folder.path / self.path.name
        return bound

    def exists(self) -> bool:
        """Whether it was written.

        Raises:
            EmotionCircuitsError: it was, and is gone.
        """
        return is_there(self.path)

    def write(self, record: T) -> None:
        """Write it, atomically."""
        write_json(self.path, record.model_dump(mode="json"))

    def read(self) -> T:
        """Read it.

        Raises:
            EmotionCircuitsError: missing, damaged, changed, or not such a record.
        """
        if not is_there(self.path):
            raise _missing(self.path)
        try:
            return self.record.model_validate(read_json(checked(self.path)))
        except ValidationError as error:
            raise EmotionCircuitsError(f"{self.path}: {'; '.join(validation_messages(error)[:3])}") from error


class NotMeasured(BaseModel):
    """What a station left out, and why.

    Attributes:
        reason: in English, with ``{places}``; catalogues hold it.
        values: what the places hold.
        what: the part of the station that was left out; empty where it is all of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str
    values: dict[str, str] = {}
    what: str = ""

    def __str__(self) -> str:
        return self.reason.format(**self.values)


class _NotMeasuredRows(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: tuple[NotMeasured, ...]


class StationFolder:
    """Where a station keeps what it made.

    Attributes:
        path: the folder.
    """

    station: ClassVar[str]
    _not_measured = JsonFile("not_measured.json", _NotMeasuredRows)

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, run: Path | str) -> Self:
        """That of a run."""
        return cls(Path(run) / cls.station)

    @classmethod
    def tables(cls) -> dict[str, Table]:
        """The declared tables, by attribute."""
        return {name: value.table for name, value in vars(cls).items() if isinstance(value, TableFile)}

    @property
    def parts(self) -> Path:
        """Where parts of unfinished work are kept; :meth:`drop_parts` when what they were joined into is written."""
        return self.path / PARTS

    def drop_parts(self) -> None:
        """Remove the parts of work that is whole."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def leave_out(self, *left: NotMeasured) -> None:
        """Write what was left out; where that is the whole station, it claims nothing."""
        self._not_measured.write(_NotMeasuredRows(rows=left))
        if self.skipped is not None:
            self.write_claims([])

    def left_out(self) -> tuple[NotMeasured, ...]:
        """What was left out."""
        return self._not_measured.read().rows if self._not_measured.exists() else ()

    @property
    def skipped(self) -> NotMeasured | None:
        """Why all of it was left out; ``None`` where it was not."""
        return next((row for row in self.left_out() if not row.what), None)

    def write_claims(self, claims: Sequence[Claim]) -> None:
        """Write the station's claims."""
        write_json(self.path / CLAIMS, [claim.model_dump(mode="json") for claim in claims])

    def read_claims(self) -> list[Claim]:
        """The station's claims; none where it makes none or has not finished.

        Raises:
            EmotionCircuitsError: damaged, changed, gone, or not claims.
        """
        path = self.path / CLAIMS
        if not is_there(path):
            return []
        try:
            return _CLAIMS.validate_json(json.dumps(read_json(checked(path))))
        except ValidationError as error:
            raise EmotionCircuitsError(
                f"{path}: holds no claims that this version reads: {'; '.join(validation_messages(error)[:3])}"
            ) from error
