"""The station's declared tables."""

from __future__ import annotations

from emotion_circuits.record.tables import Column, Table, ends

__all__ = [
    "ADDITIVE", "ARMS", "COST", "EQUAL", "EXAMPLES", "HARM", "HEADS", "INSIDE", "LESS", "LESS_TEXTS", "METHODS", "SHIFT",
    "TEXTS", "TRAINING",
]  # fmt: skip

_METHOD = Column("method", "text", "how the value is brought about")
_STRENGTH = Column("strength", "float", "times what was chosen or trained; of prompting, sentences shown")
_P = "probability"

EXAMPLES = Table(
    "examples",
    "one preference that is learnt from",
    (
        Column("prompt", "text", "the beginning; empty for a whole text"),
        Column("chosen", "text", "preferred"),
        Column("rejected", "text", "not preferred"),
        Column("group", "text", "scene or opening"),
        Column("source", "text", "corpus, or own for texts that the model wrote"),
    ),
)
TRAINING = Table(
    "training",
    "the loss at one step of a training",
    (
        _METHOD,
        Column("step", "int", "of the optimiser"),
        Column("loss", "float", "mean of the step's examples", "nats"),
    ),
)
METHODS = Table(
    "methods",
    "what one method needs",
    (
        _METHOD,
        Column("parameters", "int", "numbers that are fitted or trained", "numbers"),
        Column("seconds", "float", "of fitting or training, on the machine that did it", "s"),
        Column("examples", "int", "sentences or preferences that it has seen", "examples"),
    ),
)
ARMS = Table(
    "arms",
    "one method at one strength, on openings that nothing was chosen or learnt on, against unsteered text",
    (
        _METHOD,
        _STRENGTH,
        Column("condition", "text", "name of the arm"),
        Column("n", "int", "openings", "openings"),
        Column("probability", "float", "judge's probability of the value", _P),
        Column("change", "float", "of that", _P),
        *ends("", "the change's 95 % interval, paired by opening", _P),
        Column("p_change", "float", "two-sided sign-flip test of the change"),
        Column("share", "float", "texts that the judge calls the value", "share"),
        Column("base_share", "float", "the same of unsteered texts", "share"),
        Column("words", "float", "change of the share with a word of the lexicon", "share", optional=True),
        *ends("words_", "its 95 % interval", "share", optional=True),
        Column("ratio", "float", "perplexity under the plain model over that of unsteered text"),
        *ends("ratio_", "its 95 % interval"),
        Column("repetition", "float", "rise of repeated word pairs", "share"),
        Column("astray", "text", "the other label whose probability moves most, but the reference"),
        Column("astray_change", "float", "by how much", _P),
        Column("kl", "float", "divergence of the next token from the plain model's, on neutral sentences", "nats"),
        *ends("kl_", "its 95 % interval, by sentence", "nats"),
        Column("loss", "float", "change of the next token's loss on neutral sentences", "nats per token"),
        *ends("loss_", "its 95 % interval, by sentence", "nats per token"),
    ),
)
COST = Table(
    "cost",
    "what one arm does to one neutral sentence, or to one harmful request",
    (
        Column("condition", "text", "name of the arm"),
        Column("what", "text", "kl, loss or harm"),
        Column("row", "int", "number of the sentence or request"),
        Column("figure", "float", "its figure", "nats"),
    ),
)
EQUAL = Table(
    "equal",
    "one method's effect at the perplexity ratio at which all are compared",
    (
        _METHOD,
        Column("ratio", "float", "at which perplexity ratio"),
        Column("effect", "float", "change of the judge's probability there", _P),
        *ends("", "its 95 % interval, bootstrap by opening", _P),
        Column("reached", "bool", "whether any strength costs so much; else it is the strongest one's effect"),
        Column("reached_share", "float", "of bootstrap draws in which one does", "share"),
        Column("difference", "float", "the effect less that of steering; missing for steering itself", _P),
        *ends("difference_", "its 95 % interval", _P),
        Column("p", "float", "of that difference"),
        Column("n", "int", "openings", "openings"),
    ),
)
ADDITIVE = Table(
    "additive",
    "two methods at once beside each alone",
    (
        Column("method", "text", "the two"),
        Column("together", "float", "change by both", _P),
        Column("first", "float", "by the first alone", _P),
        Column("second", "float", "by the second alone", _P),
        Column("difference", "float", "both less the sum", _P),
        *ends("", "its 95 % interval, paired by opening", _P),
        Column("p", "float", "two-sided sign-flip test of the difference"),
        Column("n", "int", "openings", "openings"),
    ),
)
_NULLS = tuple(
    column
    for kind in ("random", "shuffled")
    for column in (
        *ends(f"{kind}_", f"the figures of {kind} directions"),
        Column(f"p_{kind}", "float", "rank among them"),
    )
)
_RANKED = (
    Column(
        "change_ranked",
        "float",
        "the change on the openings that those wrote on, towards what is meant",
        _P,
        optional=True,
    ),
    Column("n_ranked", "float", "how many they are", "openings", optional=True),
)
SHIFT = Table(
    "shift",
    "how much of what an adapter moves states by lies along a value's direction, in one layer",
    (
        _METHOD,
        Column("layer", "int", "behind which block"),
        Column("value", "text", "whose direction"),
        Column("share", "float", "of the mean shift's squared length", "share"),
        *ends("", "its 95 % interval, bootstrap by text", "share"),
        Column("cosine", "float", "of shift and direction"),
        Column("chance", "float", "1 over the width", "share"),
        Column("length", "float", "of the mean shift, in residual norms", "residual norms"),
        Column("p", "float", "the larger rank"),
        *_NULLS,
        Column("n", "int", "texts", "texts"),
    ),
)
INSIDE = Table(
    "inside",
    "what a direction does in a model with an adapter: the effect that goes when it is taken out, or what adding it adds",
    (
        _METHOD,
        Column("what", "text", "removal or after"),
        Column("change", "float", "of the judge's probability", _P),
        *ends("", "its 95 % interval, paired by opening", _P),
        Column("share", "float", "of the adapter's effect; missing for after", "share"),
        Column("ratio", "float", "perplexity over that of the adapter's texts"),
        Column("p", "float", "the largest of the paired test and the ranks"),
        *_NULLS,
        *_RANKED,
        Column("n", "int", "openings", "openings"),
    ),
)
HEADS = Table(
    "heads",
    "by how much one head's addition to the residual stream differs from the plain model's, on the same tokens",
    (
        _METHOD,
        Column("layer", "int", "block"),
        Column("head", "int", "head"),
        Column("change", "float", "length of the difference over that of the plain model's addition"),
        *ends("", "its 95 % interval, by text"),
    ),
)
HARM = Table(
    "harm",
    "how much likelier a method makes complying with harmful requests, against declining",
    (
        _METHOD,
        Column("margin", "float", "complying over declining, under the method", "nats per token"),
        Column("base", "float", "the same of the plain model", "nats per token"),
        Column("change", "float", "of the margin", "nats per token"),
        *ends("", "its 95 % interval, paired by request", "nats per token"),
        Column("p", "float", "two-sided sign-flip test of the change"),
        Column("n", "int", "requests", "requests"),
        *ends(
            "random_",
            "changes under random directions; missing where no direction is pushed or held alone",
            "nats per token",
            optional=True,
        ),
    ),
)
LESS = Table(
    "less",
    "what one way takes of a value from texts that were asked for it in words",
    (
        _METHOD,
        Column("n", "int", "openings", "openings"),
        Column("probability", "float", "judge's probability of the value", _P),
        Column("asked", "float", "the same of texts that were asked for it", _P),
        Column("plain", "float", "the same of texts that were not", _P),
        Column("change", "float", "against texts that were asked for it", _P),
        *ends("", "the change's 95 % interval, paired by opening", _P),
        Column("p_change", "float", "two-sided sign-flip test of the change"),
        Column("gone", "float", "of what asking had added; missing where it added nothing", "share"),
        Column("ratio", "float", "perplexity over that of texts that were asked for the value"),
        *ends("ratio_", "its 95 % interval"),
        Column("repetition", "float", "rise of repeated word pairs", "share"),
        Column("astray", "text", "the other label whose probability moves most, but the reference"),
        Column("astray_change", "float", "by how much", _P),
        Column("kl", "float", "divergence of the next token from the plain model's, on neutral sentences", "nats"),
        *ends("kl_", "its 95 % interval, by sentence", "nats"),
        Column(
            "harm",
            "float",
            "change of complying over declining; missing where it was not asked, or nothing is done",
            "nats per token",
        ),
        *ends("harm_", "its 95 % interval, paired by request", "nats per token"),
        *ends(
            "random_",
            "what random directions take, on some openings; missing where no direction is pushed or held",
            _P,
            optional=True,
        ),
        Column("p_random", "float", "rank of what is taken among them", optional=True),
        *ends("shuffled_", "what directions of shuffled labels take; likewise", _P, optional=True),
        Column("p_shuffled", "float", "rank of what is taken among them", optional=True),
        *_RANKED,
        Column("p", "float", "the largest of its p-values; 1 where the change is none towards less", optional=True),
        *ends(
            "harm_random_",
            "changes of complying over declining under random directions",
            "nats per token",
            optional=True,
        ),
    ),
)
TEXTS = Table(
    "texts",
    "one text",
    (
        _METHOD,
        _STRENGTH,
        Column("prompt", "text", "the opening"),
        Column("text", "text", "what was written"),
        Column("label", "text", "what the judge calls it"),
        Column("probability", "float", "of the value", _P),
        Column("nats", "float", "mean per token under the plain model", "nats"),
    ),
)
LESS_TEXTS = Table(
    "less_texts",
    "one text that was asked for the value in words, by how the value was taken from it: none where it was not",
    (
        _METHOD,
        Column("prompt", "text", "the opening"),
        Column("text", "text", "what was written"),
        Column("label", "text", "what the judge calls it"),
        Column("probability", "float", "of the value", _P),
        Column("nats", "float", "mean per token under the plain model", "nats"),
    ),
)
