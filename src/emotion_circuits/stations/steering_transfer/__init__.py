"""Steering transfer: does a direction that one language or attribute taught steer what is written in another?"""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.steering_transfer.folder import SteeringTransferFolder
from emotion_circuits.stations.steering_transfer.settings import SteeringTransferSettings
from emotion_circuits.stations.steering_transfer.words import ASPECTS, KINDS

__all__ = ["STEERING_TRANSFER"]

STEERING_TRANSFER = Station(
    name="steering_transfer",
    title="Steering with other sentences' directions",
    version=1,
    package=__name__,
    settings=SteeringTransferSettings,
    folder=SteeringTransferFolder,
    needs_of_runs=("capture", "directions", "steering"),
    kinds=KINDS,
    aspects=ASPECTS,
    asks=N_("Do directions of other languages and attributes steer texts, too?"),
)
