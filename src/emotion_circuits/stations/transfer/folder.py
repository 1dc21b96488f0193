"""What the transfer station leaves."""

from __future__ import annotations

from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["TRANSFERS", "TransferFolder"]

_AUROC = "mean over values of the AUROC of telling a value's test sentences from all others"

TRANSFERS = Table(
    "transfers",
    "directions of one run's sentences on another's test sentences",
    (
        Column("model", "text", "whose states"),
        Column("source", "text", "attribute whose sentences directions were fitted on"),
        Column("target", "text", "attribute whose test sentences they rank"),
        Column("values", "text", "values that both have"),
        Column("layer", "int", "layer chosen on the source's validation sentences, counted from 0"),
        Column("auroc", "float", _AUROC, "AUROC"),
        *ends("", "its 95 % interval, bootstrap by group", "AUROC"),
        *ends("shuffled_", "the middle 95 % of directions of labels shuffled within the source's groups", "AUROC"),
        Column("p", "float", "share of shuffles that do as well"),
        Column("words", "float", "the same of n-grams tuned on the source's sentences", "AUROC"),
        Column("difference", "float", "states minus words", "AUROC"),
        *ends("difference_", "its 95 % interval, bootstrap by group", "AUROC"),
        Column("wrong", "float", "the best that directions of another attribute do, where there is one", "AUROC"),
        Column("beyond", "float", "states minus those; missing where there is none", "AUROC"),
        *ends("beyond_", "its 95 % interval, bootstrap by group, the best one looked for in every resample", "AUROC"),
        Column("own", "float", "the same of the target's own directions", "AUROC"),
        *ends("own_", "its 95 % interval, bootstrap by group", "AUROC"),
        Column("share", "float", "what of the target's own reading above chance is reached", "share"),
        Column("groups", "int", "groups of the target's test sentences", "groups"),
    ),
)


class TransferFolder(StationFolder):
    """The matrix of transfers."""

    station = "transfer"
    transfers = TableFile(TRANSFERS)
