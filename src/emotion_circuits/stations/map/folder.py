"""What the map leaves."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from emotion_circuits.record.folder import CHOICE, JsonFile, StationFolder, TableFile
from emotion_circuits.stations.map import tables

__all__ = ["Choice", "MapFolder"]


class Choice(BaseModel):
    """Which layer is drawn.

    Attributes:
        layer: the one that reads best on validation sentences.
        source: of the ratings, as a citation.
        licence: of the ratings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: int
    source: str
    licence: str


class MapFolder(StationFolder):
    """Tables of layers, places and distances, and the choice."""

    station = "map"
    layers = TableFile(tables.LAYERS)
    places = TableFile(tables.PLACES)
    distances = TableFile(tables.DISTANCES)
    choice = JsonFile(CHOICE, Choice)
