"""Tables of the capture: what attention sinks cost."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table

__all__ = ["SINKS"]

SINKS = Table(
    "sinks",
    "attention sinks among the states of one site kind at one layer: tokens and sentences left out",
    (
        Column("kind", "text", "site kind"),
        Column("layer", "int", "layer of the model, counted from 0"),
        Column("median", "float", "median L2 norm of token states on neutral text, sinks left out", "activation"),
        Column("tokens", "int", "tokens of all sentences, without what stands before every text", "tokens"),
        Column("first", "int", "of these left out as the first one that the model reads", "tokens"),
        Column("longer", "int", "of these left out because they are longer than four medians", "tokens"),
        Column("rows", "int", "sentences captured", "sentences"),
        Column("without_{pooling}", "int", "sentences of which sinks leave nothing to pool", "sentences"),
    ),
)
