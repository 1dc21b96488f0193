"""Steering: a condition chosen on validation openings, reported on test openings beside its controls."""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.plan import lacks
from emotion_circuits.stations.steering.settings import SteeringSettings, possible
from emotion_circuits.stations.steering.words import ASPECTS, KINDS

__all__ = ["STEERING"]

STEERING = Station(
    name="steering",
    title="Steering and its controls",
    version=7,
    package=__name__,
    settings=SteeringSettings,
    folder=SteeringFolder,
    needs=("directions",),
    kinds=KINDS,
    aspects=ASPECTS,
    possible=possible,
    lacks=lacks,
    asks=N_("Can it be steered?"),
)
