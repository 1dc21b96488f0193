"""The test strips: labelled texts with groups, splits and spans of emotion words."""

from emotion_circuits.prompts.lexicon import find_words, lexicon
from emotion_circuits.prompts.loading import available_sets, load_pairs, load_prompts, prompts_sha256
from emotion_circuits.prompts.picking import evenly, evenly_by_group
from emotion_circuits.prompts.schema import EMOTIONS, LABELS, Pair, Prompt, corpus_of
from emotion_circuits.prompts.spans import tokens_of_span
from emotion_circuits.prompts.splitting import split_groups

__all__ = [
    "EMOTIONS",
    "LABELS",
    "Pair",
    "Prompt",
    "available_sets",
    "corpus_of",
    "evenly",
    "evenly_by_group",
    "find_words",
    "lexicon",
    "load_pairs",
    "load_prompts",
    "prompts_sha256",
    "split_groups",
    "tokens_of_span",
]
