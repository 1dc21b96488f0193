"""What the station leaves."""

from __future__ import annotations

from pathlib import Path

from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.stations.tuning import tables

__all__ = ["TuningFolder"]


class TuningFolder(StationFolder):
    """Tables of the comparison, the trained adapters and vector, and the sweeps' folders."""

    station = "tuning"
    examples = TableFile(tables.EXAMPLES)
    training = TableFile(tables.TRAINING)
    methods = TableFile(tables.METHODS)
    arms = TableFile(tables.ARMS)
    equal = TableFile(tables.EQUAL)
    additive = TableFile(tables.ADDITIVE)
    shift = TableFile(tables.SHIFT)
    inside = TableFile(tables.INSIDE)
    heads = TableFile(tables.HEADS)
    harm = TableFile(tables.HARM)
    less = TableFile(tables.LESS)
    less_texts = TableFile(tables.LESS_TEXTS)
    texts = TableFile(tables.TEXTS)

    def adapter(self, name: str) -> Path:
        """Folder of an adapter, as ``--adapter`` takes it."""
        return self.path / "adapters" / name

    @property
    def vector(self) -> Path:
        """The vector that preferences taught, as ``steer --vector`` takes it."""
        return self.path / "preference.safetensors"

    @property
    def vector_training(self) -> Path:
        """How it was trained."""
        return self.path / "preference.json"

    def sweep(self, name: str) -> Path:
        """Folder of a sweep."""
        return self.path / "sweeps" / name

    def cost(self, name: str) -> Path:
        """Costs on neutral text and margins on harmful requests of the arms that one model writes."""
        return self.path / "costs" / f"{name}.parquet"
