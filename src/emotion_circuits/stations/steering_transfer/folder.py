"""What steering with other sentences' directions leaves."""

from __future__ import annotations

from pathlib import Path

from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["PUSHES", "TEXTS", "SteeringTransferFolder"]

PUSHES = Table(
    "pushes",
    "directions of one run's sentences in texts on another's openings",
    (
        Column("model", "text", "who writes"),
        Column("source", "text", "attribute whose sentences the direction was fitted on"),
        Column("target", "text", "attribute on whose openings texts are written, and whose judge reads them"),
        Column("value", "text", "value that both have"),
        Column("layers", "text", "that are pushed, as chosen for the target's own direction"),
        Column("change", "float", "of the judge's probability of the value against unsteered text", "probability"),
        *ends("", "its 95 % interval, paired by opening", "probability"),
        *ends("null_", "the range of directions of labels shuffled within the source's groups", "probability"),
        Column("p", "float", "the larger of the paired test's and of the rank among shuffled directions"),
        Column("own", "float", "what the target's own direction changes", "probability"),
        Column("share", "float", "what of that is reached", "share"),
        Column("astray", "float", "mean change of this probability by the source's other values", "probability"),
        Column("wrong", "float", "largest change by a value that the target does not know", "probability"),
        Column("specific", "float", "the change less that", "probability"),
        *ends("specific_", "its 95 % interval, paired by opening", "probability"),
        Column("p_specific", "float", "of the paired test of that"),
        Column("ratio", "float", "perplexity over that of unsteered text"),
        *ends("ratio_", "its 95 % interval"),
        Column("n", "int", "openings", "openings"),
    ),
)
TEXTS = Table(
    "texts",
    "one text, steered or not",
    (
        Column("target", "text", "attribute of the opening"),
        Column("condition", "text", "whose direction of what, or none"),
        Column("prompt_id", "text", "id of the opening"),
        Column("prompt", "text", "the opening"),
        Column("text", "text", "what the model wrote"),
        Column("label", "text", "what the judge calls it"),
    ),
)


class SteeringTransferFolder(StationFolder):
    """The matrix of pushes, the texts, and the sweeps' folders."""

    station = "steering_transfer"
    pushes = TableFile(PUSHES)
    texts = TableFile(TEXTS)

    def sweep(self, target: str, name: str) -> Path:
        """Folder of a sweep on a target's openings: ``test`` or ``null``."""
        return self.path / "sweeps" / target / name
