"""What the directions station leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.folder import CHOICE, JsonFile, StationFolder, TableFile
from emotion_circuits.record.notes import going_on
from emotion_circuits.stations.directions import tables

if TYPE_CHECKING:
    from emotion_circuits.directions import DirectionSet

__all__ = ["Choice", "DirectionsFolder", "set_name"]


def set_name(pair: str) -> str:
    """Name of a direction set of the residual stream from ``extractor.pooling``."""
    extractor, _, pooling = pair.partition(".")
    return f"{extractor}.resid_post.{pooling}"


class Choice(BaseModel):
    """What was chosen on validation sentences.

    Attributes:
        single: the direction set that reads best by itself.
        layer: its layer.
        steering: the direction set that steers.
        steering_layer: its layer.
        reader: ``(direction set, layer)`` of the reader's members.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    single: str
    layer: int
    steering: str
    steering_layer: int
    reader: tuple[tuple[str, int], ...]


class DirectionsFolder(StationFolder):
    """Direction sets (``<name>.json`` and ``<name>.safetensors``), the reader, tables and the choice."""

    station = "directions"
    evaluation = TableFile(tables.EVALUATION)
    extractors = TableFile(tables.EXTRACTORS)
    single = TableFile(tables.SINGLE)
    candidates = TableFile(tables.CANDIDATES)
    reader = TableFile(tables.READER)
    cosines = TableFile(tables.COSINES)
    cosines_by_extractor = TableFile(tables.COSINES_BY_EXTRACTOR)
    norms = TableFile(tables.NORMS)
    stability = TableFile(tables.STABILITY)
    subspaces = TableFile(tables.SUBSPACES)
    choice = JsonFile(CHOICE, Choice)

    def load_set(self, name: str) -> DirectionSet:
        """A direction set by its name."""
        from emotion_circuits.directions import DirectionSet

        return DirectionSet.load(self.path / f"{name}.json")

    def chosen_set(self, role: Literal["single", "steering"] = "steering") -> DirectionSet:
        """The directions a run steers with, or the best single set of its reading.

        Raises:
            EmotionCircuitsError: the directions of the run have not finished.
        """
        if not self.choice.exists():
            run = self.path.parent
            raise EmotionCircuitsError(
                f"{run}: holds no finished directions ({self.choice.path} is missing); run '{going_on(run)}' first"
            )
        return self.load_set(getattr(self.choice.read(), role))
