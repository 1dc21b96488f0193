"""Sharing: do what one language or attribute does to a model's heads, and its circuit, do the work of another's?"""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.sharing.folder import SharingFolder
from emotion_circuits.stations.sharing.settings import SharingSettings
from emotion_circuits.stations.sharing.words import ASPECTS, KINDS

__all__ = ["SHARING"]

SHARING = Station(
    name="sharing",
    title="Comparing heads and circuits",
    version=1,
    package=__name__,
    settings=SharingSettings,
    folder=SharingFolder,
    needs_of_runs=("circuits",),
    kinds=KINDS,
    aspects=ASPECTS,
    asks=N_("Do other languages and attributes use the same heads?"),
)
