"""Circuits: which heads and MLPs carry the answers, on minimal pairs."""

from emotion_circuits.language import N_
from emotion_circuits.record.station import Station
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.circuits.settings import CircuitsSettings, lacks, possible
from emotion_circuits.stations.circuits.words import ASPECTS, KINDS

__all__ = ["CIRCUITS"]

CIRCUITS = Station(
    name="circuits",
    title="Heads and circuits",
    version=5,
    package=__name__,
    settings=CircuitsSettings,
    folder=CircuitsFolder,
    needs=("capture", "directions"),
    kinds=KINDS,
    aspects=ASPECTS,
    possible=possible,
    lacks=lacks,
    asks=N_("Which heads and circuits carry it?"),
)
