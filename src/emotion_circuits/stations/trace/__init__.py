"""Trace: where an emotion is written, who looks at its words, who reads it."""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.trace.folder import TraceFolder
from emotion_circuits.stations.trace.settings import TraceSettings, consistent, lacks
from emotion_circuits.stations.trace.words import ASPECTS, KINDS

__all__ = ["TRACE"]

TRACE = Station(
    name="trace",
    title="Tracing emotion through the model",
    version=3,
    package=__name__,
    settings=TraceSettings,
    folder=TraceFolder,
    needs=("capture", "directions"),
    kinds=KINDS,
    aspects=ASPECTS,
    consistent=consistent,
    lacks=lacks,
    asks=N_("Where is it written, how does it travel, who reads it?"),
)
