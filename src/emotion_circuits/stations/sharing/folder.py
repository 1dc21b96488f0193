"""What the sharing station leaves."""

from __future__ import annotations

from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["CROSSED", "SHARED", "STRONGEST", "SharingFolder"]

_TASK = Column("task", "text", "pairs (attribution on minimal pairs) or carried (to the value's direction)")
_PAIR = (
    Column("source", "text", "attribute of one run"),
    Column("target", "text", "attribute of the other run"),
)
_R = "correlation"
SHARED = Table(
    "shared",
    "what single heads do in two runs of one model, from disjoint halves of the groups",
    (
        _TASK,
        Column("model", "text", "whose heads"),
        *_PAIR,
        Column("values", "text", "values that both have; figures are means over them"),
        Column("heads", "int", "heads that all runs measured", "heads"),
        Column("groups", "int", "groups of pairs or sentences, of the run that has fewer", "groups"),
        Column("raw", "float", "correlation of signed effects over heads, one run's half with the other's", _R),
        Column(
            "correlation", "float", "raw over the geometric mean of both reliabilities; empty where one has none", _R
        ),
        *ends("", "its 95 % interval, bootstrap by group", _R),
        Column("chance", "float", "mean of it with heads permuted within layers", _R),
        *ends("null_", "the middle 95 % of it with heads permuted within layers", _R),
        Column("p", "float", "share of permutations with at least as high a correlation (+1 rule)"),
        Column("reliability_source", "float", "correlation of the source's halves with each other", _R),
        Column("reliability_target", "float", "correlation of the target's halves with each other", _R),
        Column("least_source", "float", "lower end of the 95 % interval of the source's reliability", _R),
        Column("least_target", "float", "lower end of the 95 % interval of the target's reliability", _R),
        Column("repeats_source", "float", "p of the source's reliability beside permuted heads"),
        Column("repeats_target", "float", "p of the target's reliability beside permuted heads"),
        Column("others", "float", "the correlation of each value with the other run's other values, mean", _R),
        Column("unrelated", "text", "attribute of other values that comes closest; empty where there is none"),
        Column(
            "wrong", "float", "the largest correlation of either run with it, value by value, whichever its sign", _R
        ),
        Column("specific", "float", "correlation minus wrong", _R),
        *ends("specific_", "its 95 % interval, bootstrap by group", _R),
    ),
)
STRONGEST = Table(
    "strongest",
    "the strongest heads of two runs, from disjoint halves of the groups",
    (
        _TASK,
        *_PAIR,
        Column("k", "int", "heads in each set", "heads"),
        Column(
            "jaccard", "float", "shared heads over all heads of both, mean over halvings and values", "Jaccard index"
        ),
        Column("within", "float", "the same of two halves of one run, mean of both", "Jaccard index"),
        *ends("null_", "the middle 95 % of it with heads permuted within layers", "Jaccard index"),
        Column("p", "float", "share of permutations with at least as high an index (+1 rule)"),
    ),
)
_F = "share of the gap"
CROSSED = Table(
    "crossed",
    "one run's circuit on another run's test pairs",
    (
        Column("model", "text", "whose circuits"),
        Column("source", "text", "attribute on whose pairs the circuit was found"),
        Column("target", "text", "attribute whose test pairs it is run on"),
        Column("size", "int", "its heads and MLPs", "parts"),
        Column("heads", "int", "its heads", "parts"),
        Column("total", "int", "heads and MLPs of the model", "parts"),
        Column("faithfulness", "float", "what it keeps of the clean-corrupted gap", _F),
        *ends("", "its 95 % interval, bootstrap by group", _F),
        Column("own", "float", "the same of the circuit that was found on the target's pairs", _F),
        Column("share", "float", "what of the own circuit's faithfulness beyond random ones is reached", "share"),
        Column("random", "float", "mean of random circuits with as many heads and MLPs", _F),
        *ends("random_", "the middle 95 % of them", _F),
        Column("random_p", "float", "share of them that keep as much (+1 rule)"),
        Column("layers", "float", "mean of circuits of the same MLPs and random heads of the same layers", _F),
        *ends("layers_", "the middle 95 % of them", _F),
        Column("layers_p", "float", "share of them that keep as much (+1 rule)"),
        Column("samples", "int", "random circuits of either kind", "circuits"),
        Column("unrelated", "text", "attribute of other values whose circuit keeps most; empty where there is none"),
        Column("wrong", "float", "what that one keeps", _F),
        Column("specific", "float", "faithfulness minus wrong", _F),
        *ends("specific_", "its 95 % interval, bootstrap by group", _F),
        Column("groups", "int", "groups of test pairs", "groups"),
    ),
)


class SharingFolder(StationFolder):
    """Heads compared, their strongest, and circuits on one another's pairs."""

    station = "sharing"
    shared = TableFile(SHARED)
    strongest = TableFile(STRONGEST)
    crossed = TableFile(CROSSED)
