"""Tables of the map: every layer against the ratings, and where each value lies."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["DISTANCES", "LAYERS", "PLACES"]

LAYERS = Table(
    "layers",
    "one dimension of ratings beside the leading axis that fits it best, at one layer",
    (
        Column("layer", "int", "layer of the states, counted from 0; −1 for the model's static embeddings"),
        Column("dimension", "text", "what was rated, e.g. valence"),
        Column("axis", "int", "which of the leading axes was chosen on training sentences, counted from 0"),
        Column("r", "float", "correlation of the values' places along it on test sentences with the ratings"),
        *ends("", "its 95 % interval, resampling the values"),
        Column("p", "float", "share of permuted ratings whose own axis fits at least as well (+1 rule)"),
        *ends("null_", "the middle 95 % of it for labels shuffled within groups"),
        Column("ceiling", "float", "rank correlation of the values' distances on training and on test sentences"),
        Column("n", "int", "values that are rated", "values"),
    ),
)
PLACES = Table(
    "places",
    "where one value lies on the first two axes of the chosen layer, test sentences",
    (
        Column("emotion", "text", "the value"),
        Column("first", "float", "its place along the first axis", "residual norms"),
        Column("second", "float", "its place along the second axis", "residual norms"),
        Column("rated_{dimension}", "float", "what people said; missing where nobody was asked"),
    ),
)
DISTANCES = Table(
    "distances",
    "how far two values lie apart at the chosen layer, test sentences",
    (
        Column("a", "text", "a value"),
        Column("b", "text", "another one"),
        Column("distance", "float", "one minus the cosine of their vectors, the mean of all taken off"),
    ),
)
