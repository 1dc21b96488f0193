"""What a text expresses: sentiment, emotion, politeness, toxicity, words, fluency.

Every evaluator sees texts only, never the condition that produced them.
"""

from emotion_circuits.evaluation.base import Evaluator, Validation
from emotion_circuits.evaluation.blind import BlindKey, BlindRow, blind_sample, read_labels, write_sample
from emotion_circuits.evaluation.caching import Cached, TextCache
from emotion_circuits.evaluation.embedding import SentenceEmbedder
from emotion_circuits.evaluation.fluency import Fluency, distinct, repetition
from emotion_circuits.evaluation.hub import HUB_EVALUATORS, HubClassifier, HubSpec
from emotion_circuits.evaluation.japanese import MlaskSentiment
from emotion_circuits.evaluation.judging import check_attribute, judge_of, judge_texts, judges_of, refuse_unfit
from emotion_circuits.evaluation.keywords import KeywordCounts
from emotion_circuits.evaluation.per_label import per_label
from emotion_circuits.evaluation.ppi import CorrectedShare, corrected_share
from emotion_circuits.evaluation.probes import AttributeClassifier, Politeness
from emotion_circuits.evaluation.registry import available_evaluators, describe_evaluators, evaluator, register
from emotion_circuits.evaluation.sentiment import VaderSentiment
from emotion_circuits.evaluation.validating import (
    labelled_text,
    validate,
    validate_on_bundled,
    validate_together,
)

__all__ = [
    "HUB_EVALUATORS",
    "AttributeClassifier",
    "BlindKey",
    "BlindRow",
    "Cached",
    "CorrectedShare",
    "Evaluator",
    "Fluency",
    "HubClassifier",
    "HubSpec",
    "KeywordCounts",
    "MlaskSentiment",
    "Politeness",
    "SentenceEmbedder",
    "TextCache",
    "VaderSentiment",
    "Validation",
    "available_evaluators",
    "blind_sample",
    "check_attribute",
    "corrected_share",
    "describe_evaluators",
    "distinct",
    "evaluator",
    "judge_of",
    "judge_texts",
    "judges_of",
    "labelled_text",
    "per_label",
    "read_labels",
    "refuse_unfit",
    "register",
    "repetition",
    "validate",
    "validate_on_bundled",
    "validate_together",
    "write_sample",
]
