"""Tables of the trace: who writes an emotion at the last token, who reads it, who looks at its words."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["ATTENTION", "READERS", "WRITERS"]

_COMPONENT = (
    Column("component", "text", "embedding, head (L3H2), or a layer's MLP, attention or attention bias"),
    Column("layer", "int", "its layer, counted from 0; −1 for the embedding"),
)
_WHERE = (
    Column("n", "int", "groups with a sentence of the emotion and a neutral one", "groups"),
    Column("emotion", "text", "whose sentences and direction"),
    Column("split", "text", "split of the sentences: validation (components are chosen) or test (they are reported)"),
)


def _selected(of: str, unit: str) -> tuple[Column, ...]:
    return (
        Column("rank", "int", "place among the parts chosen on validation, from 1; 0: not chosen"),
        Column("selected_p", "float", f"share of {of} whose own part of that rank stands out as far on test (+1 rule)"),
        *ends("selected_", f"the middle 95 % of the difference of the part of that rank that {of} choose", unit),
        Column("draws", "int", f"how many {of} chose"),
    )


def _difference(of: str, unit: str, family: str) -> tuple[Column, ...]:
    return (
        Column("difference", "float", of, unit),
        *ends("", "the difference's 95 % interval, bootstrap by group", unit),
        Column("p", "float", "two-sided sign-flip test of the difference, by group"),
        Column("q", "float", f"p after the false discovery rate over {family} of the emotion and split"),
    )


WRITERS = Table(
    "writers",
    "what one component adds to the projection on an emotion's direction at the last token",
    (
        *_COMPONENT,
        Column("part", "float", "mean on sentences of the emotion", "residual norms"),
        *ends("part_", "the part's 95 % interval, bootstrap by sentence", "residual norms"),
        Column("neutral", "float", "mean on the neutral sentences of the same groups", "residual norms"),
        *_difference("part minus neutral, paired by group", "residual norms", "all components"),
        *ends("null_", "the middle 95 % of the difference along directions of shuffled labels", "residual norms"),
        *_selected("directions of shuffled labels", "residual norms"),
        *_WHERE,
    ),
)
READERS = Table(
    "readers",
    "how much one later component changes when an emotion is taken out of the residual stream at the last token",
    (
        *_COMPONENT,
        Column("change", "float", "length of its output's change, mean over sentences", "share of the output's length"),
        Column("null", "float", "the same for directions of shuffled labels, mean", "share of the output's length"),
        Column("ratio", "float", "change over null", "times the null"),
        *_difference("change minus null, paired by sentence", "share of the output's length", "all later components"),
        *ends("null_", "the middle 95 % of the difference for shuffled labels", "share of the output's length"),
        *_selected("directions of shuffled labels", "share of the output's length"),
        *_WHERE,
    ),
)
ATTENTION = Table(
    "attention",
    "one head's attention from the last token to an emotion's words",
    (
        Column("layer", "int", "layer of the head, counted from 0"),
        Column("head", "int", "head of the layer, counted from 0"),
        Column("attention", "float", "mean on the words in sentences of the emotion", "share of attention"),
        Column("neutral", "float", "mean on the same place of neutral sentences of that length", "share of attention"),
        *_difference("attention minus neutral, paired by sentence", "share of attention", "all heads"),
        *_selected("shuffles of the sentences' labels", "share of attention"),
        *_WHERE,
        Column("excluded", "int", "sentences without a like neutral one, or that end in the word", "sentences"),
    ),
)
