"""What the trace station leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from emotion_circuits.record.folder import CHOICE, JsonFile, StationFolder, TableFile
from emotion_circuits.stations.trace import tables

if TYPE_CHECKING:
    from emotion_circuits.directions import Trace

__all__ = ["Choice", "TraceFolder"]


class Choice(BaseModel):
    """What was traced.

    Attributes:
        layer: whose directions.
        directions: name of the set.
        text: the sentence that is followed through the model.
        drawn: the emotion drawn of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: int
    directions: str
    text: str
    drawn: str


class TraceFolder(StationFolder):
    """Tables of writers, readers and attention, the choice, and one sentence's trace."""

    station = "trace"
    writers = TableFile(tables.WRITERS)
    readers = TableFile(tables.READERS)
    attention = TableFile(tables.ATTENTION)
    choice = JsonFile(CHOICE, Choice)

    def save_example(self, trace: Trace) -> None:
        """Keep the trace of the sentence that is drawn."""
        from emotion_circuits.directions import save_trace

        save_trace(trace, self.path / "example")

    def example(self) -> Trace:
        """The trace of the sentence that is drawn."""
        from emotion_circuits.directions import load_trace

        return load_trace(self.path / "example")
