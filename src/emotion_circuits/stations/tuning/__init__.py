"""Tuning: a value by words, by steering, by weights and by a vector that preferences taught, on one scale."""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.settings import TuningSettings
from emotion_circuits.stations.tuning.words import ASPECTS, KINDS

__all__ = ["TUNING"]

TUNING = Station(
    name="tuning",
    title="Steering beside prompting and tuned weights",
    version=4,
    package=__name__,
    settings=TuningSettings,
    folder=TuningFolder,
    needs_of_runs=("capture", "directions", "steering"),
    kinds=KINDS,
    aspects=ASPECTS,
    asks=N_("What do words, weights and vectors do to the same texts?"),
)
