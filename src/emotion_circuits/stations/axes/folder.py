"""What steering along ratings leaves."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from emotion_circuits.record.folder import CHOICE, JsonFile, StationFolder, TableFile
from emotion_circuits.stations.axes import tables

__all__ = ["AxesFolder", "Choice"]


class Choice(BaseModel):
    """Where and how strongly texts were pushed: as the values were, most of which share a place.

    Attributes:
        layers: that were steered.
        alpha: residual norms at all tokens but the first.
        first: residual norms at the first token.
        values: that steering chose this place for.
        source: of the ratings, as a citation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: tuple[int, ...]
    alpha: float
    first: float
    values: tuple[str, ...]
    source: str


class AxesFolder(StationFolder):
    """Texts, effects and costs, and the sweeps' folders."""

    station = "axes"
    texts = TableFile(tables.TEXTS)
    effects = TableFile(tables.EFFECTS)
    costs = TableFile(tables.COSTS)
    choice = JsonFile(CHOICE, Choice)

    def sweep(self, name: str) -> Path:
        """Folder of a sweep: ``test`` or ``null``."""
        return self.path / name
