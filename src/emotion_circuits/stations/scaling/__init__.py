"""Scaling: what differs between models that saw the same sentences, and what grows with their size."""

from emotion_circuits.record.station import Station
from emotion_circuits.stations.scaling.folder import ScalingFolder
from emotion_circuits.stations.scaling.settings import ScalingSettings
from emotion_circuits.stations.scaling.words import ASPECTS, KINDS

__all__ = ["SCALING"]

SCALING = Station(
    name="scaling",
    title="Comparing models of several sizes",
    version=1,
    package=__name__,
    settings=ScalingSettings,
    folder=ScalingFolder,
    needs_of_runs=("capture", "directions", "steering", "circuits"),
    kinds=KINDS,
    aspects=ASPECTS,
)
