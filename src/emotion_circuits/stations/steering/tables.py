"""Tables of steering: every continuation with its scores, figures by condition, and effects beside controls."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends

__all__ = [
    "AGAINST",
    "ARMS",
    "COMPARISON",
    "DOSES",
    "EFFECTS",
    "EFFECT_COLUMNS",
    "GRID",
    "JUDGED",
    "LABELLED",
    "MATRIX",
    "REPLIES",
    "SOURCES",
    "SWEEP",
    "TEST",
    "TOKENS",
    "VALIDATION",
]

# -- continuations ---------------------------------------------------------------------------------------------------

_ALPHA = Column(
    "alpha",
    "float",
    "strength; in raw units a multiple of the fitted direction; of a clamp, where it holds",
    "residual norms",
)
_LAYERS = Column("layers", "text", "layers that are changed, separated by spaces; empty for none")
_HOW = Column("how", "text", "operation, unit, time, positions, first token, origin and gate of the change")
_FIRST = Column("first", "float", "strength at the first token", "residual norms")
_CONDITION = (
    Column("condition", "text", "name of the condition"),
    Column("kind", "text", "of the condition: none, emotion, random, shuffled, other or prompting"),
    Column("emotion", "text", "the emotion meant; empty for none, and for controls that emotions share"),
    _ALPHA,
    _LAYERS,
    _HOW,
    Column("units", "text", "of the strength: norm or raw"),
    _FIRST,
)
SWEEP = (
    *_CONDITION,
    Column("prompt_id", "text", "identifier of the opening"),
    Column("group", "text", "group of the opening"),
    Column("split", "text", "split of the opening"),
    Column("sample", "int", "which of the texts on the opening, counted from 0"),
    Column("prompt", "text", "the opening"),
    Column("asked", "text", "of chat: the request alone as the chat template renders it", optional=True),
    Column("context", "text", "what the model read: the opening, for prompting with its instruction or examples"),
    Column("text", "text", "the continuation"),
    Column("ids", "text", "token numbers of the continuation, separated by spaces", optional=True),
    Column("n_tokens", "int", "length of the continuation", "tokens"),
    Column("finished", "bool", "the model ended the text itself"),
)
"""A continuation: what was done, on which opening, what was written."""
JUDGED = (
    Column("p_{label}", "float", "probability of the label by the judge that decides", "probability"),
    Column("{evaluator}_p_{label}", "float", "probability of the label by another judge", "probability", optional=True),
    Column("vader", "float", "sentiment by VADER, from −1 to 1", "VADER", optional=True),
    Column("{evaluator}_label", "text", "label the evaluator gives"),
    Column("{evaluator}", "float", "figure of another evaluator, under its name", optional=True),
)
"""What an attribute's judges say of a continuation."""
_SCORED = (
    *SWEEP,
    *JUDGED,
    Column("n_{emotion}", "int", "words of the emotion's lexicon", "words", optional=True),
    Column(
        "nats", "float", "surprise of the unsteered model; missing for random and shuffled controls", "nats per token"
    ),
    Column("perplexity", "float", "exponential of the nats; missing likewise"),
    Column("repetition", "float", "word pairs that occurred before in the text; missing likewise", "share"),
    Column("distinct_1", "float", "different words over all words; missing likewise", "share"),
    Column("distinct_2", "float", "different word pairs over all; missing likewise", "share"),
)
VALIDATION = Table("validation", "one continuation of a validation opening under one condition", _SCORED)
TEST = Table("test", "one continuation of a test opening under one condition or control", _SCORED)

# -- conditions ------------------------------------------------------------------------------------------------------

_BY_CONDITION = (
    *_CONDITION,
    Column("n", "int", "openings, the unit of the statistics", "openings"),
    Column("share", "float", "continuations classed as the emotion", "share"),
    Column("base_share", "float", "the same without steering", "share"),
    Column("p", "float", "mean probability of the emotion", "probability"),
    Column("p_se", "float", "its standard error over openings", "probability"),
    Column("change", "float", "change of that probability against no steering, paired by opening", "probability"),
    *ends("change_", "the change's 95 % interval, bootstrap by opening", "probability"),
    Column("words_share", "float", "continuations with a word of the emotion's lexicon", "share", optional=True),
    Column("base_words_share", "float", "the same without steering", "share", optional=True),
    Column("vader", "float", "mean sentiment", "VADER", optional=True),
    Column("vader_change", "float", "its change against no steering, paired by opening", "VADER", optional=True),
    Column("perplexity", "float", "exponential of the mean nats per token"),
    Column("ratio", "float", "perplexity, steered over unsteered, paired by opening", "times the unsteered"),
    *ends("ratio_", "the ratio's 95 % interval, bootstrap by opening", "times the unsteered"),
    Column("repetition", "float", "word pairs that occurred before in the text, mean", "share"),
    Column("repetition_gain", "float", "its change against no steering, paired by opening", "share"),
    Column("distinct_2", "float", "different word pairs over all, of all texts together", "share"),
    Column("empty", "float", "continuations without a token", "share"),
    Column("regime", "text", "no effect, clean, costly, repetitive or collapsed; missing without an emotion"),
)
GRID = Table("grid", "one condition of the grid, on validation openings", _BY_CONDITION)
ARMS = Table("arms", "one condition, other emotion's direction or way of prompting, on test openings", _BY_CONDITION)
COMPARISON = Table(
    "comparison",
    "one direction set at one emotion's chosen place and strength, on validation openings",
    (
        *_BY_CONDITION,
        Column("extractor", "text", "how the directions were found"),
        Column("pooling", "text", "states of a sentence they were fitted on"),
    ),
)
SOURCES = Table(
    "sources",
    "one emotion by one source of directions, of chat, at the condition that would be chosen, on validation requests",
    (
        Column("source", "text", "sentences, or replies that the model wrote under contrasting instructions"),
        Column("emotion", "text", "the emotion meant"),
        Column("asked", "int", "replies that were asked for; 0 of sentences", "replies"),
        Column("came_out", "int", "of these, as the judge says, as asked; 0 of sentences", "replies"),
        Column(
            "condition",
            "text",
            "name of the condition; missing where none is within the bound, or no direction was fitted",
        ),
        Column("n", "int", "requests, the unit of the statistics", "requests"),
        Column(
            "p",
            "float",
            "mean probability of the emotion; without a condition that of unsteered replies",
            "probability",
        ),
        Column("share", "float", "replies classed as the emotion; likewise", "share"),
        Column("ratio", "float", "perplexity, steered over unsteered; likewise", "times the unsteered"),
        Column("taken", "bool", "whether the directions are of this source"),
    ),
)
REPLIES = Table(
    "replies",
    "one reply that the model was asked for, of chat",
    (
        Column("label", "text", "what it was asked for"),
        Column("way", "int", "which of the instructions, counted from 0"),
        Column("prompt_id", "text", "identifier of the request"),
        Column("prompt", "text", "the request"),
        Column("context", "text", "what the model read"),
        Column("text", "text", "the reply"),
        Column("ids", "text", "token numbers of the reply, separated by spaces"),
        Column("called", "text", "label that the judge gives"),
        Column("counts", "bool", "whether it came out as asked, so that directions are fitted on it"),
        Column(
            "left_out",
            "float",
            "its tokens that are attention sinks, and in no mean, at the layer where most are; missing where no direction is "
            "fitted on it",
            "tokens",
        ),
    ),
)
DOSES = Table(
    "doses",
    "the mean of one metric at one strength, on validation openings",
    (
        Column("metric", "text", "probability of the emotion, VADER, or nats per token"),
        Column("emotion", "text", "the emotion whose direction is added"),
        _LAYERS,
        _HOW,
        _FIRST,
        Column(
            "alpha", "float", "strength; 0 without steering, or where only the first token is changed", "residual norms"
        ),
        Column("mean", "float", "mean over openings", "that of the metric"),
        *ends("", "the mean's 95 % interval, bootstrap by opening", "that of the metric"),
        Column("n", "int", "openings", "openings"),
    ),
)

# -- effects ---------------------------------------------------------------------------------------------------------

_METRIC = Column("metric", "text", "share (classed as the emotion), probability, vader, or words (of its lexicon)")
_OF_METRIC = "that of the metric"


def _beside(kind: str, mark: str = "", *, optional: bool = False) -> tuple[Column, ...]:
    """A chosen condition among its random or label-shuffled directions."""
    best = f"the {kind} direction that moves the metric furthest the intended way"
    return (
        Column(f"n_{kind}", "int", f"{kind} directions at the same place and strength", "directions", optional),
        Column(f"{mark}null_n", "int", f"openings that the {kind} directions were written on", "openings", optional),
        Column(f"{mark}null_low", "float", f"smallest change of the {kind} directions", _OF_METRIC, optional),
        Column(f"{mark}null_high", "float", f"largest change of the {kind} directions", _OF_METRIC, optional),
        Column(
            f"p_{kind}", "float", f"rank of the change on those openings among the {kind} directions'", "", optional
        ),
        Column(f"best_{kind}", "text", f"condition of {best}", "", optional),
        Column(f"best_{kind}_change", "float", "its change against no steering", _OF_METRIC, optional),
        Column(f"{mark}beats", "float", f"chosen condition minus {best}, by opening", _OF_METRIC, optional),
        *ends(f"{mark}beats_", "that difference's 95 % interval, bootstrap by opening", _OF_METRIC, optional=optional),
        Column(f"{mark}p_beats", "float", "two-sided sign-flip test of that difference", "", optional),
    )


EFFECT_COLUMNS = (
    Column("emotion", "text", "the emotion meant"),
    Column("condition", "text", "name of the condition"),
    _METRIC,
    Column("side", "int", "intended way: 1 up, −1 down"),
    Column("treated", "float", "mean under the condition", _OF_METRIC),
    Column("control", "float", "mean without steering", _OF_METRIC),
    Column("change", "float", "treated minus control, paired by opening", _OF_METRIC),
    *ends("", "the change's 95 % interval, bootstrap by opening", _OF_METRIC),
    Column("p", "float", "two-sided sign-flip test of the change"),
    Column("dz", "float", "mean change over its spread between openings", "standard deviations"),
    Column("wrong_way", "float", "openings that move against the intended way", "share"),
    Column("n", "int", "openings, the unit of the statistics", "openings"),
    Column("ratio", "float", "perplexity, steered over unsteered, by opening", "times the unsteered", optional=True),
    *ends("ratio_", "the ratio's 95 % interval, bootstrap by opening", "times the unsteered", optional=True),
    *_beside("random"),
    *_beside("shuffled", "shuffled_", optional=True),
    Column(
        "p_claim", "float", "the largest of p, p_random and p_shuffled; 1 where the change is not on the intended side"
    ),
    Column("q", "float", "p_claim after the false discovery rate over emotions and metrics"),
)
"""A chosen condition against no steering and against its controls; perplexity and label shuffles where measured."""
EFFECTS = Table("effects", "one chosen condition and one metric, on test openings", EFFECT_COLUMNS)
TOKENS = Table(
    "tokens",
    "one metric under a chosen condition, or under its push at the first token or at all others alone, on test openings",
    (
        Column("emotion", "text", "the emotion meant"),
        _METRIC,
        Column("side", "int", "intended way: 1 up, −1 down"),
        Column("tokens", "text", "what is pushed: both, rest only, or first token only"),
        Column("condition", "text", "name of the condition"),
        Column("treated", "float", "mean under the condition", _OF_METRIC),
        Column("change", "float", "change against no steering, paired by opening", _OF_METRIC),
        *ends("", "the change's 95 % interval, bootstrap by opening", _OF_METRIC),
        Column("p", "float", "two-sided sign-flip test of the change"),
        Column("n", "int", "openings, the unit of the statistics", "openings"),
        Column(
            "ratio", "float", "perplexity, steered over unsteered, by opening", "times the unsteered", optional=True
        ),
        *ends("ratio_", "the ratio's 95 % interval, bootstrap by opening", "times the unsteered", optional=True),
        Column("missing", "float", "both minus this arm: what the push left out adds; missing for both", _OF_METRIC),
        *ends("missing_", "that difference's 95 % interval, bootstrap by opening", _OF_METRIC),
        Column("p_missing", "float", "two-sided sign-flip test of that difference"),
    ),
)
LABELLED = Table(
    "labelled",
    "the share of one arm's texts that are of an emotion, corrected by blind labels of a sample of them, on test openings",
    (
        Column("condition", "text", "name of the condition"),
        Column("kind", "text", "of the condition: none, emotion or prompting"),
        Column("emotion", "text", "the emotion"),
        Column("raw", "float", "texts that the judge calls so", "share"),
        Column("share", "float", "the same corrected by prediction-powered inference", "share"),
        *ends("", "the corrected share's 95 % interval", "share"),
        Column("n", "int", "openings", "openings"),
        Column("labelled", "int", "openings whose texts a person labelled without knowing the arm", "openings"),
        Column("weight", "float", "weight of the judge's answers, from 0 (the labels alone) to 1"),
    ),
)
AGAINST = Table(
    "against",
    "the change of one metric under a chosen condition or under one of its controls, on test openings",
    (
        Column("emotion", "text", "the emotion meant"),
        _METRIC,
        Column("kind", "text", "steered (the chosen condition), random, shuffled or prompting"),
        Column("condition", "text", "name of the condition or control"),
        Column("effect", "float", "change against no steering, mean over openings", _OF_METRIC),
        *ends("", "its 95 % interval, bootstrap by opening; of the chosen condition only", _OF_METRIC),
    ),
)
MATRIX = Table(
    "matrix",
    "what one emotion's chosen condition does to the probability of one label, on test openings",
    (
        Column("direction", "text", "the emotion whose direction is added"),
        Column("label", "text", "the label, neutral among them"),
        Column("probability", "float", "mean probability of the label", "probability"),
        Column("base", "float", "the same without steering", "probability"),
        Column("change", "float", "probability minus base, paired by opening", "probability"),
        *ends("", "the change's 95 % interval, bootstrap by opening", "probability"),
    ),
)
