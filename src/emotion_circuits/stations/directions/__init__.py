"""Directions: a vector per emotion and layer, fitted, chosen and tested on sentences that each step had not seen."""

from emotion_circuits.record.station import Station
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.directions.settings import DirectionsSettings, consistent
from emotion_circuits.stations.directions.words import ASPECTS, KINDS

__all__ = ["DIRECTIONS"]

DIRECTIONS = Station(
    name="directions",
    title="Fitting and testing directions",
    version=7,
    package=__name__,
    settings=DirectionsSettings,
    folder=DirectionsFolder,
    needs=("capture",),
    kinds=KINDS,
    aspects=ASPECTS,
    consistent=consistent,
)
