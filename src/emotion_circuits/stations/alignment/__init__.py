"""Alignment: do one model's directions do their work in another one, by reading and by steering?"""

from emotion_circuits.record.station import Station
from emotion_circuits.stations.alignment.folder import AlignmentFolder
from emotion_circuits.stations.alignment.settings import AlignmentSettings
from emotion_circuits.stations.alignment.words import ASPECTS, KINDS

__all__ = ["ALIGNMENT"]

ALIGNMENT = Station(
    name="alignment",
    title="Comparing two models",
    version=4,
    package=__name__,
    settings=AlignmentSettings,
    folder=AlignmentFolder,
    needs_of_runs=("capture",),
    kinds=KINDS,
    aspects=ASPECTS,
)
