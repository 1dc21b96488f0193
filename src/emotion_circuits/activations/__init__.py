"""The record: states of every sentence at every layer, captured to disk and read back."""

from emotion_circuits.activations.capture import STATE_KINDS, capture, capture_config, residual_norms
from emotion_circuits.activations.left_out import left_out
from emotion_circuits.activations.moments import Moments, capture_moments
from emotion_circuits.activations.pooling import (
    ALL_POOLINGS,
    FRAME,
    POOLINGS,
    READABLE,
    frame_tokens,
    pooled_positions,
)
from emotion_circuits.activations.rows import corpora_of, group_numbers
from emotion_circuits.activations.sinks import SINK, Sinks, measure_sinks, sentences_for_sinks
from emotion_circuits.activations.store import ActivationStore

__all__ = [
    "ALL_POOLINGS",
    "FRAME",
    "POOLINGS",
    "READABLE",
    "SINK",
    "STATE_KINDS",
    "ActivationStore",
    "Moments",
    "Sinks",
    "capture",
    "capture_config",
    "capture_moments",
    "corpora_of",
    "frame_tokens",
    "group_numbers",
    "left_out",
    "measure_sinks",
    "pooled_positions",
    "residual_norms",
    "sentences_for_sinks",
]
