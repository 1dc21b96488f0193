"""What the alignment station leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from emotion_circuits.record.folder import CHOICE, JsonFile, StationFolder, TableFile
from emotion_circuits.stations.alignment import tables

if TYPE_CHECKING:
    from emotion_circuits.directions import DirectionSet

__all__ = ["AlignmentFolder", "Choice", "Side"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Side(_Record):
    """One of the two models.

    Attributes:
        run: the folder given.
        model: its name.
        width: of its residual stream.
        sentences: captured.
    """

    run: str
    model: str
    width: int
    sentences: int


class Choice(_Record):
    """Which map was chosen on neutral validation sentences.

    Attributes:
        first: whose directions are mapped.
        second: where to.
        layers: of the first and of the second model.
        matching: how their layers were paired.
        method: how the map was fitted.
        excluded: sentences captured in both of which attention sinks leave nothing in some layer.
    """

    first: Side
    second: Side
    layers: tuple[int, int]
    matching: str
    method: str
    excluded: int = 0


class AlignmentFolder(StationFolder):
    """Tables of the comparison, the mapped directions and, where the second model was steered, its texts."""

    station = "alignment"
    similarity = TableFile(tables.SIMILARITY)
    alignment = TableFile(tables.ALIGNMENT)
    words = TableFile(tables.WORDS)
    subspaces = TableFile(tables.SUBSPACES)
    steering = TableFile(tables.STEERING)
    texts = TableFile(tables.TEXTS)
    choice = JsonFile(CHOICE, Choice)

    def save_mapped(self, directions: DirectionSet) -> None:
        """Keep the first model's directions as they lie in the second one."""
        directions.save(self.path)

    @property
    def sweep(self) -> Path:
        """Folder of the sweep."""
        return self.path / "steering"
