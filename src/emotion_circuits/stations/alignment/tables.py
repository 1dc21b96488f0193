"""Tables of the comparison of two models: their states, the maps between them, the second model steered."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends
from emotion_circuits.stations.directions.tables import OVERLAPS
from emotion_circuits.stations.steering.tables import EFFECT_COLUMNS, JUDGED, SWEEP

__all__ = ["ALIGNMENT", "SIMILARITY", "STEERING", "SUBSPACES", "TEXTS", "WORDS"]

_SIDES = (
    Column("layer_a", "int", "layer of the first model, counted from 0"),
    Column("layer_b", "int", "layer of the second model, counted from 0"),
)
_LAYERS = (
    Column("matching", "text", "how the layers were paired: depth (same relative depth) or best (most similar)"),
    *_SIDES,
)
_COS2 = "mean squared cosine of the principal angles between mapped and own directions"
_AUROC = "mean over emotions of the second model's test sentences of the emotion told from all others"

SIMILARITY = Table(
    "similarity",
    "two layers' states of the same test sentences",
    (
        *_LAYERS,
        Column("cka", "float", "linear centred kernel alignment, unbiased", "CKA"),
        *ends("cka_", "the middle 95 % under permuted sentences", "CKA"),
        Column(
            "rsa", "float", "Spearman correlation of the two models' cosine distances between sentences", "correlation"
        ),
        *ends("rsa_", "the middle 95 % under permuted sentences", "correlation"),
    ),
)
ALIGNMENT = Table(
    "alignment",
    "one map between two layers, or one of its controls",
    (
        *_LAYERS,
        Column("method", "text", "how the map was fitted: ridge, reduced_rank or procrustes"),
        Column("control", "text", "paired (the map), shuffled (fitted on unpaired sentences), or random map"),
        Column("r2_validation", "float", "variance explained on neutral validation sentences", "share of variance"),
        Column("r2_neutral", "float", "variance explained on neutral test sentences", "share of variance"),
        Column("r2_emotion", "float", "variance explained on emotional test sentences", "share of variance"),
        Column("cos2", "float", _COS2, "cos²"),
        Column("cos2_chance", "float", "the same of random subspaces, k/d", "cos²"),
        *ends("cos2_random_", "the middle 95 % for mapped random directions", "cos²"),
        *ends("cos2_shuffled_", "the middle 95 % for directions of labels shuffled alike in both models", "cos²"),
        Column("cos2_apart", "float", "cos2 of directions fitted on disjoint halves of the groups, mean", "cos²"),
        *ends("cos2_apart_", "the middle 95 % over halvings", "cos²"),
        *ends("apart_shuffled_", "the middle 95 % over halvings with shuffled labels", "cos²"),
        Column("p_apart", "float", "share of those halvings with as high a cos2, counting the figure itself as one"),
        Column("auroc", "float", f"{_AUROC}, by the mapped directions", "AUROC"),
        *ends("auroc_", "its 95 % interval, bootstrap by group", "AUROC"),
        *ends("auroc_random_", "the middle 95 % for mapped random directions", "AUROC"),
        *ends("auroc_shuffled_", "the middle 95 % for mapped directions of shuffled labels", "AUROC"),
        Column("p", "float", "one-sided: share of shuffled labels with an auroc as high"),
        Column("auroc_own", "float", f"{_AUROC}, by its own directions", "AUROC"),
        Column("strength", "float", "ridge penalty, 0 without one", "mean eigenvalues"),
        Column("rank", "float", "rank of the map", "dimensions"),
    ),
)
WORDS = Table(
    "words",
    "directions of word features, mapped like those of states at the chosen layers",
    (
        Column("family", "text", "n-grams or static embeddings"),
        Column("features", "text", "which n-grams, or whose embeddings"),
        Column("auroc", "float", f"{_AUROC}, by directions of the features mapped by a map of their own", "AUROC"),
        Column("difference", "float", "AUROC of the mapped directions of states minus that of the features", "AUROC"),
        *ends("difference_", "its 95 % interval, bootstrap by group", "AUROC"),
    ),
)
SUBSPACES = Table(
    "subspaces",
    "both models' subspaces in raw coordinates, of one number of dimensions (models of one width)",
    (*_SIDES, *OVERLAPS),
)
STEERING = Table(
    "steering",
    "the second model steered with one emotion's direction, and one metric, on test openings",
    (*EFFECT_COLUMNS, Column("arm", "text", "whose direction: mapped (the first model's) or own")),
)
TEXTS = Table(
    "texts",
    "one continuation of a test opening by the second model, under one condition or control",
    (*SWEEP, *JUDGED, Column("arm", "text", "mapped or own; empty without steering and for controls")),
)
