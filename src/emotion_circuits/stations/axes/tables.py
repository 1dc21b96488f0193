"""Tables of steering along ratings."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["COSTS", "EFFECTS", "TEXTS"]

TEXTS = Table(
    "texts",
    "one text pushed towards high or low ratings, or not at all",
    (
        Column("condition", "text", "the dimension and the side, or none"),
        Column("prompt_id", "text", "id of the opening"),
        Column("prompt", "text", "the opening"),
        Column("text", "text", "what the model wrote"),
        Column(
            "judge {dimension}",
            "float",
            "what the judge reads in it, counted from the mean rating of all values",
            "ratings",
        ),
        Column(
            "words {dimension}", "float", "mean rating of its lexicon words, counted likewise; 0 without any", "ratings"
        ),
    ),
)
EFFECTS = Table(
    "effects",
    "what pushing along one dimension does to the texts' ratings of one dimension",
    (
        Column("axis", "text", "dimension that was pushed along"),
        Column("read", "text", "dimension that is read off the texts"),
        Column("measure", "text", "judge: the values' judge; words: the values' lexicon"),
        Column(
            "change", "float", "texts towards high ratings minus texts towards low ones, paired by opening", "ratings"
        ),
        *ends("", "its 95 % interval"),
        Column("up", "float", "texts towards high ratings minus unsteered ones", "ratings"),
        Column("down", "float", "texts towards low ratings minus unsteered ones", "ratings"),
        *ends("null_", "the middle 95 % of ratings that were permuted among the values"),
        Column("p_permuted", "float", "share of permutations that do at least as much on the same openings (+1 rule)"),
        Column("p", "float", "the larger of that and of the paired permutation test"),
        Column("n", "int", "openings", "openings"),
    ),
)
COSTS = Table(
    "costs",
    "what a push along one dimension costs in fluency",
    (
        Column("axis", "text", "dimension that was pushed along"),
        Column("side", "text", "+ towards high ratings, − towards low ones"),
        Column("ratio", "float", "perplexity of the texts over that of unsteered ones"),
        *ends("", "its 95 % interval"),
    ),
)
