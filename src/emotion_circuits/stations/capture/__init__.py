"""Capture: the states of every sentence, once."""

from emotion_circuits.record.station import Remade, Station
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.capture.settings import CaptureSettings, possible

__all__ = ["CAPTURE"]

CAPTURE = Station(
    name="capture",
    title="Capturing activations",
    version=4,
    package=__name__,
    settings=CaptureSettings,
    folder=CaptureFolder,
    possible=possible,
    remade=(Remade("shard-*.safetensors", "captured states"),),
)
