"""What the circuits station leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.stations.circuits import tables

if TYPE_CHECKING:
    from emotion_circuits.circuits import Circuit

__all__ = ["CircuitsFolder"]


class CircuitsFolder(StationFolder):
    """Tables of heads and emotions, the circuit, the exact scan; or why there is none of them."""

    station = "circuits"
    heads = TableFile(tables.HEADS)
    overlap = TableFile(tables.OVERLAP)
    dissociation = TableFile(tables.DISSOCIATION)
    weights = TableFile(tables.WEIGHTS)
    patched = TableFile(tables.PATCHED)
    carriers = TableFile(tables.CARRIERS)
    agreement = TableFile(tables.AGREEMENT)
    effects = TableFile(tables.EFFECTS)

    def save_circuit(self, circuit: Circuit) -> None:
        """Keep the circuit."""
        circuit.save(self.path / "circuit.json")

    def circuit(self) -> Circuit:
        """The circuit that was found."""
        from emotion_circuits.circuits import load_circuit

        return load_circuit(self.path / "circuit.json")
