"""What the capture station leaves: an activation store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.stations.capture import tables

if TYPE_CHECKING:
    from emotion_circuits.activations import ActivationStore

__all__ = ["CaptureFolder"]


class CaptureFolder(StationFolder):
    """The store's folder; which files it holds besides the table is the store's own affair."""

    station = "capture"
    sinks = TableFile(tables.SINKS)

    def store(self) -> ActivationStore:
        """The states."""
        from emotion_circuits.activations import ActivationStore

        return ActivationStore.open(self.path)

    def rows(self) -> pd.DataFrame:
        """One row per sentence, see :attr:`emotion_circuits.activations.ActivationStore.rows`; states need not be there."""
        from emotion_circuits.activations.store import read_rows

        return read_rows(self.path)
