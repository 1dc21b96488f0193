"""Steering along the dimensions that people rate: does a push towards pleasant values make texts pleasant?"""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.axes.folder import AxesFolder
from emotion_circuits.stations.axes.settings import AxesSettings, belongs, lacks
from emotion_circuits.stations.axes.words import ASPECTS, KINDS

__all__ = ["AXES"]

AXES = Station(
    name="axes",
    title="Steering along ratings",
    version=1,
    package=__name__,
    settings=AxesSettings,
    folder=AxesFolder,
    needs=("steering",),
    kinds=KINDS,
    aspects=ASPECTS,
    belongs=belongs,
    lacks=lacks,
    asks=N_("Can texts be moved along what people rate?"),
)
