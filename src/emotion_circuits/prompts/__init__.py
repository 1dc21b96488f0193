"""The test strips: labelled texts with groups, splits and spans of emotion words."""

from emotion_circuits.prompts.attribute import Attribute, available_attributes, load_attribute
from emotion_circuits.prompts.lexicon import find_words, lexicon
from emotion_circuits.prompts.loading import available_sets, load_pairs, load_prompts, prompts_sha256
from emotion_circuits.prompts.picking import evenly, evenly_by_group
from emotion_circuits.prompts.schema import Pair, Prompt, corpus_of
from emotion_circuits.prompts.spans import tokens_of_span
from emotion_circuits.prompts.splitting import split_groups

__all__ = [
    "Attribute",
    "Pair",
    "Prompt",
    "available_attributes",
    "available_sets",
    "corpus_of",
    "evenly",
    "evenly_by_group",
    "find_words",
    "lexicon",
    "load_attribute",
    "load_pairs",
    "load_prompts",
    "prompts_sha256",
    "split_groups",
    "tokens_of_span",
]
