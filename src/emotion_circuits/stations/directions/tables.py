"""Tables of the directions: how well they read, how they lie to one another, how long and how stable they are."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends

__all__ = [
    "CANDIDATES",
    "COSINES",
    "COSINES_BY_EXTRACTOR",
    "EVALUATION",
    "EXTRACTORS",
    "NORMS",
    "OVERLAPS",
    "READER",
    "SINGLE",
    "STABILITY",
    "SUBSPACES",
]


_SET = (
    Column("extractor", "text", "how the directions were found"),
    Column("pooling", "text", "states of a sentence they were fitted on"),
    Column("kind", "text", "site kind they were fitted at"),
)
_LAYER = Column("layer", "int", "layer of the model, counted from 0")
_CORPUS = (
    Column("set", "text", "corpus of the sentences"),
    Column("split", "text", "split of the sentences: validation or test"),
)
_WORDS = Column(
    "words_alone", "float", "accuracy of the better baseline of words, fitted and tuned on the same sentences", "share"
)
_WORDS_BY = (
    Column("words_by", "text", "which baseline of words that is: features and regularisation"),
    Column("words_family", "text", "its family: n-grams, or the model's static embeddings"),
)
_CHANCE = Column("chance", "float", "share of the commonest label", "share")
_SENTENCES = Column("n", "int", "sentences judged", "sentences")
_AUROC = "mean over emotions of the AUROC of telling an emotion's sentences from"

EVALUATION = Table(
    "evaluation",
    "one direction set at one layer, on one corpus and split",
    (
        *_SET,
        Column("reading", "text", "states of a sentence they are read from"),
        _LAYER,
        *_CORPUS,
        Column("accuracy", "float", "sentences labelled right, neutral included", "share"),
        Column("auroc", "float", f"{_AUROC} all others", "AUROC"),
        Column("auroc_against_neutral", "float", f"{_AUROC} neutral ones", "AUROC"),
        Column("auroc_{label}", "float", "the emotion's sentences told from all others", "AUROC"),
        _WORDS,
        _CHANCE,
        _SENTENCES,
        Column("excluded", "int", "sentences without such a state", "sentences"),
    ),
)

_HELD_OUT = (
    *_CORPUS,
    Column("accuracy", "float", "sentences labelled right, neutral included", "share"),
    *ends("", "the accuracy's 95 % interval, bootstrap by group", "share"),
    _WORDS,
    *_WORDS_BY,
    Column("difference", "float", "accuracy minus that of words alone, paired by sentence", "share"),
    *ends("difference_", "the difference's 95 % interval, bootstrap by group", "share"),
    Column("p", "float", "two-sided sign-flip test of the difference, by group"),
    _CHANCE,
    _SENTENCES,
    Column("groups", "int", "groups of these sentences, the unit of the statistics", "groups"),
)
_COMPARED = (
    *_SET,
    Column("layer", "int", "the set's best layer on validation, counted from 0"),
    *_HELD_OUT,
    Column("auroc", "float", f"{_AUROC} all others", "AUROC"),
    *ends("shuffled_", "the middle 95 % of accuracies of directions fitted on labels shuffled within groups", "share"),
    *ends("random_", "the middle 95 % of accuracies of random directions as long as the fitted ones", "share"),
    Column("validation", "float", "accuracy on validation sentences at the layer, mean over corpora", "share"),
    Column("relative_norm", "float", "length of the directions, mean over emotions", "residual norms"),
    Column(
        "stability", "float", "between directions of two disjoint halves of the groups, mean over emotions", "cosine"
    ),
    Column("stability_chance", "float", "root mean square of unrelated directions, 1/√d", "cosine"),
)
EXTRACTORS = Table("extractors", "one direction set at its best layer, on one corpus's test sentences", _COMPARED)
SINGLE = Table("single", "the set that reads best by itself, on one corpus's test sentences", _COMPARED)
READER = Table("reader", "the reader, on one corpus's test sentences", _HELD_OUT)
CANDIDATES = Table(
    "candidates",
    "one candidate for the reader, on validation sentences",
    (
        Column("candidate", "text", "extractor, poolings and layers whose scores are averaged"),
        Column("{corpus}", "float", "accuracy on the corpus", "share"),
        Column("mean", "float", "mean of the accuracies over corpora", "share"),
    ),
)

_COSINES = (
    Column("pair", "text", "the two emotions"),
    _LAYER,
    Column("cosine", "float", "between the two emotions' directions", "cosine"),
    *ends("", "its 95 % interval, bootstrap by group; missing without resamples", "cosine"),
    Column("chance", "float", "size within which 95 % of unrelated directions lie, 1.96/√d", "cosine"),
    Column("shared", "float", "the same from labels shuffled within groups, mean over draws", "cosine"),
    *ends("shared_", "the middle 95 % of those", "cosine"),
    Column("p", "float", "share of shuffles whose directions are at least as alike"),
)
COSINES = Table("cosines", "two emotions' steering directions at one layer", _COSINES)
COSINES_BY_EXTRACTOR = Table(
    "cosines_by_extractor", "two emotions' directions of one set at one layer", (*_SET, *_COSINES)
)
NORMS = Table(
    "norms",
    "an emotion's direction of one set at one layer",
    (
        *_SET,
        Column("label", "text", "the emotion"),
        _LAYER,
        Column("relative", "float", "length over the layer's residual norm", "residual norms"),
        Column("l2", "float", "length as fitted", "activation"),
        Column("l1", "float", "sum of absolute entries as fitted", "activation"),
        Column(
            "residual_norm",
            "float",
            "median length of the layer's token states on neutral text, sinks left out",
            "activation",
        ),
    ),
)
STABILITY = Table(
    "stability",
    "an emotion's steering direction at one layer, fitted on disjoint halves of the groups",
    (
        Column("label", "text", "the emotion"),
        _LAYER,
        Column("cosine", "float", "between the directions of two halves, mean over halvings", "cosine"),
        Column("low", "float", "smallest over halvings", "cosine"),
        Column("high", "float", "largest over halvings", "cosine"),
        Column("chance", "float", "root mean square of unrelated directions, 1/√d", "cosine"),
    ),
)

OVERLAPS = (
    Column("subspace", "text", "what spans it: centred states, directions or topics"),
    Column("k", "int", "dimensions of each of the two subspaces", "dimensions"),
    Column("overlap", "float", "mean squared cosine of the principal angles", "share"),
    Column("chance", "float", "expected overlap of random subspaces, k/d", "share"),
    *ends("null_", "the middle 95 % of overlaps of random subspaces", "share"),
    Column("smallest_angle", "float", "smallest principal angle", "degrees"),
    Column("largest_angle", "float", "largest principal angle", "degrees"),
)
"""How two subspaces lie to each other."""
SUBSPACES = Table(
    "subspaces",
    "two subspaces of the train sentences' states, of one number of dimensions",
    (
        Column("comparison", "text", "what is compared: halves (of the groups), or emotion × topics"),
        *OVERLAPS,
        Column("layer", "int", "layer whose directions steer, counted from 0"),
    ),
)
