"""The map: how the values lie to one another, beside where people place them."""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.map.folder import MapFolder
from emotion_circuits.stations.map.settings import MapSettings, belongs, lacks
from emotion_circuits.stations.map.words import ASPECTS, KINDS

__all__ = ["MAP"]

MAP = Station(
    name="map",
    title="The map of values",
    version=1,
    package=__name__,
    settings=MapSettings,
    folder=MapFolder,
    needs=("capture", "directions"),
    kinds=KINDS,
    aspects=ASPECTS,
    belongs=belongs,
    lacks=lacks,
    asks=N_("How do the values lie to one another?"),
)
