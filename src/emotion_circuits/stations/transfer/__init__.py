"""Transfer: does what sentences of one language or attribute teach about a model read those of another?"""

from emotion_circuits.record.station import Station
from emotion_circuits.stations.transfer.folder import TransferFolder
from emotion_circuits.stations.transfer.settings import TransferSettings
from emotion_circuits.stations.transfer.words import ASPECTS, KINDS

__all__ = ["TRANSFER"]

TRANSFER = Station(
    name="transfer",
    title="Carrying directions over to other sentences",
    version=2,
    package=__name__,
    settings=TransferSettings,
    folder=TransferFolder,
    needs_of_runs=("capture",),
    kinds=KINDS,
    aspects=ASPECTS,
)
