"""What the scaling station leaves."""

from __future__ import annotations

from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["BY_DEPTH", "DIFFERENCES", "MODELS", "READING", "STEERING", "ScalingFolder"]

_MODEL = Column("model", "text", "whose")
_AUROC = "mean over values of the AUROC of telling a value's test sentences from all others"

MODELS = Table(
    "models",
    "one model's separation of the values, on test sentences that all models have",
    (
        _MODEL,
        Column("parameters", "float", "of the model; missing where its run does not say", "parameters", optional=True),
        Column("layer", "int", "layer chosen on validation sentences, counted from 0"),
        Column("depth", "float", "of that layer, relative"),
        Column("axes", "int", "principal axes it was read from, the same in every model", "axes"),
        Column("auroc", "float", _AUROC, "AUROC"),
        *ends("", "its 95 % interval, over scenes", "AUROC"),
        Column("gain", "float", "that minus the same at the first layer captured", "AUROC"),
        *ends("gain_", "its 95 % interval, over scenes", "AUROC"),
        Column("d_prime", "float", "distance of a value's mean score from the others'", "standard deviations"),
        Column("ceiling", "float", "reliability of the scores over halves of the training scenes", "correlation"),
        Column("scenes", "int", "test scenes", "scenes"),
    ),
)
BY_DEPTH = Table(
    "by_depth",
    "one layer's separation",
    (_MODEL, Column("depth", "float", "relative depth"), Column("auroc", "float", _AUROC, "AUROC")),
)
DIFFERENCES = Table(
    "differences",
    "two models' gains, on scenes drawn together",
    (
        Column("first", "text", "whose"),
        Column("second", "text", "minus whose"),
        Column("difference", "float", "second minus first", "AUROC"),
        *ends("", "its 95 % interval, over scenes", "AUROC"),
        Column("p", "float", "two-sided, that agrees with the interval"),
    ),
)
READING = Table(
    "reading",
    "one model's reader on one corpus's test sentences",
    (
        _MODEL,
        Column("set", "text", "corpus of the sentences"),
        Column("accuracy", "float", "sentences labelled right", "share"),
        *ends("", "its 95 % interval", "share"),
        Column("words_alone", "float", "accuracy of the better baseline of words", "share"),
        Column("difference", "float", "accuracy minus that of words", "share"),
        *ends("difference_", "its 95 % interval", "share"),
        Column("groups", "int", "groups of these sentences", "groups"),
    ),
)
STEERING = Table(
    "steering",
    "one model steered towards one value, at a perplexity ratio that is the same for all",
    (
        _MODEL,
        Column("value", "text", "towards which"),
        Column("ratio", "float", "perplexity ratio", "times the unsteered"),
        Column(
            "change",
            "float",
            "largest change of the value's probability within it, on validation openings",
            "probability",
        ),
        Column("at", "text", "the condition nearest below the ratio"),
    ),
)


class ScalingFolder(StationFolder):
    """Tables of the comparison."""

    station = "scaling"
    models = TableFile(MODELS)
    by_depth = TableFile(BY_DEPTH)
    differences = TableFile(DIFFERENCES)
    reading = TableFile(READING)
    steering = TableFile(STEERING)
