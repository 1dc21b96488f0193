"""Tables of heads and circuits: every head and MLP, emotions against one another, weights, texts with patched heads."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends

__all__ = ["AGREEMENT", "CARRIERS", "DISSOCIATION", "EFFECTS", "HEADS", "OVERLAP", "PATCHED", "WEIGHTS"]

HEADS = Table(
    "heads",
    "one head or MLP: attention and attribution on train pairs, exact noising effect on test pairs",
    (
        Column("node", "text", "name: L3H2 for a head, M3 for an MLP"),
        Column("kind", "text", "head or mlp"),
        Column("layer", "int", "its layer, counted from 0"),
        Column("head", "int", "head of the layer, counted from 0; −1 for an MLP"),
        Column("attribution", "float", "estimated effect, positive where it supports the clean answers", "logits"),
        Column(
            "attention", "float", "to the emotion word, clean minus corrupted prompt; heads only", "share of attention"
        ),
        Column("attention_q", "float", "sign-flip test of it after the false discovery rate over all heads"),
        Column("effect", "float", "noising effect, positive where it supports the clean answers; if noised", "logits"),
        *ends("", "the effect's 95 % interval, bootstrap by group; if noised", "logits"),
        Column("share", "float", "effect over the clean-corrupted gap; if noised", "share of the gap"),
        Column("kl", "float", "divergence of the next token's distribution from the clean run's; if noised", "nats"),
        Column("p", "float", "two-sided sign-flip test of the effect, by group; if noised"),
        Column("q", "float", "p after the false discovery rate over all noised heads and MLPs; if noised"),
        *ends("null_", "the middle 95 % of effects read from random answers; if noised", "logits"),
        Column("n", "float", "groups of test pairs; if noised", "groups"),
        Column("verdict", "text", "supported, not supported or inconclusive; if noised"),
    ),
)
OVERLAP = Table(
    "overlap",
    "the strongest heads of two emotions, or of one with itself, from disjoint halves of the train pairs' groups",
    (
        Column("a", "text", "an emotion"),
        Column("b", "text", "an emotion, perhaps the same"),
        Column("jaccard", "float", "shared heads over all heads of both, mean over halvings", "Jaccard index"),
        Column("chance", "float", "the same of random sets of that size, mean", "Jaccard index"),
    ),
)
DISSOCIATION = Table(
    "dissociation",
    "what taking out one set of heads does to one emotion's test pairs",
    (
        Column("circuit", "text", "whose heads are taken out: an emotion's, or a random set"),
        Column("task", "text", "emotion of the clean prompts"),
        Column("effect", "float", "ablation effect, positive where the heads support the clean answers", "logits"),
        *ends("", "the effect's 95 % interval, bootstrap by group", "logits"),
        Column("share", "float", "effect over the clean-corrupted gap", "share of the gap"),
        Column("n", "int", "groups of pairs", "groups"),
    ),
)

_CHANCE = "1 is chance; copying: −1 to 1"
WEIGHTS = Table(
    "weights",
    "one figure of the strongest heads' weights, for one emotion's directions",
    (
        Column("figure", "text", "copying, reads_v, reads_q, reads_k, or output (writes along the direction)"),
        Column("emotion", "text", "whose directions; empty for copying, which has none"),
        Column("chosen", "float", "mean over the strongest heads, relative to random directions", _CHANCE),
        Column("others", "float", "mean over the other heads of their layers, likewise", _CHANCE),
        *ends("null_", "the middle 95 % of random choices of as many heads per layer", _CHANCE),
        Column("p", "float", "share of random choices with as high a mean"),
        Column("heads", "int", "strongest heads that are compared", "heads"),
    ),
)
PATCHED = Table(
    "patched",
    "one text that continues a neutral test opening, plainly or with patched heads",
    (
        Column(
            "arm", "text", "plain, circuit (the emotion's heads), random (other heads of its layers), or neutral source"
        ),
        Column("emotion", "text", "whose heads are patched; empty for the plain arm"),
        Column("draw", "int", "which random heads, counted from 0; 0 for the other arms"),
        Column("prompt", "text", "the opening"),
        Column("text", "text", "the continuation"),
        Column(
            "own_{label}",
            "float",
            "probability of the label, or whether one of its words occurs, by the texts' own judge",
        ),
        Column("{evaluator}", "float", "figure of another evaluator, under its name", optional=True),
    ),
)


CARRIERS = Table(
    "carriers",
    "what one head or MLP carries to a value's direction: how much of the projection goes when it is held at its mean",
    (
        Column("component", "text", "name: L3H2 for a head, M3 for an MLP"),
        Column("layer", "int", "its layer, counted from 0"),
        Column(
            "effect", "float", "projection with it minus without it, mean on sentences of the value", "residual norms"
        ),
        Column("neutral", "float", "the same on the neutral sentences of the same groups", "residual norms"),
        Column("difference", "float", "effect minus neutral, paired by group", "residual norms"),
        *ends("", "the difference's 95 % interval, bootstrap by group", "residual norms"),
        Column("p", "float", "two-sided sign-flip test of the difference, by group"),
        Column("q", "float", "p after the false discovery rate over all parts of the value and split"),
        Column("log_odds", "float", "the difference in the log-odds of the value against neutral", "nats"),
        *ends("null_", "the middle 95 % of the difference along directions of shuffled labels", "residual norms"),
        Column("rank", "int", "place among the parts chosen on validation, from 1; 0: not chosen"),
        Column(
            "selected_p",
            "float",
            "share of shuffled directions whose own part of that rank stands out as far (+1 rule)",
        ),
        *ends(
            "selected_", "the middle 95 % of the part of that rank that shuffled directions choose", "residual norms"
        ),
        Column("draws", "int", "how many shuffled directions chose"),
        Column("n", "int", "groups with a sentence of the value and a neutral one", "groups"),
        Column("emotion", "text", "the value"),
        Column("split", "text", "split of the sentences: validation (parts are chosen) or test (they are reported)"),
    ),
)
AGREEMENT = Table(
    "agreement",
    "whether minimal pairs and projections name the same heads and MLPs",
    (
        Column("emotion", "text", "the value; the pairs are those whose clean prompt has it"),
        Column("rank", "float", "rank correlation of the signed effects of parts that both measured"),
        *ends("", "its 95 % interval, parts resampled within layers"),
        *ends("null_", "the middle 95 % of it with parts permuted within layers"),
        Column("p", "float", "share of permutations with at least as high a correlation (+1 rule)"),
        Column("parts", "int", "heads and MLPs compared", "parts"),
    ),
)
EFFECTS = Table(
    "effects",
    "what one head or MLP does in one group of pairs or sentences, for one value: what shared circuits are compared by",
    (
        Column(
            "task",
            "text",
            "pairs (attribution on train pairs) or carried (to the value's direction, validation and test)",
        ),
        Column("value", "text", "the value; of pairs those that have it on either side"),
        Column("group", "text", "the group, which is the unit of every statistic"),
        Column("node", "text", "name: L3H2 for a head, M3 for an MLP"),
        Column(
            "effect",
            "float",
            "signed: positive where the part supports the clean answers, or carries the value to its direction",
            "logits, or residual norms",
        ),
    ),
)
