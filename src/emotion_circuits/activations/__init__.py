"""The record: states of every sentence at every layer, captured to disk and read back."""

from emotion_circuits.activations.capture import STATE_KINDS, capture, capture_config, residual_norms
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
from emotion_circuits.activations.store import ActivationStore

__all__ = [
    "ALL_POOLINGS",
    "FRAME",
    "POOLINGS",
    "READABLE",
    "STATE_KINDS",
    "ActivationStore",
    "Moments",
    "capture",
    "capture_config",
    "capture_moments",
    "corpora_of",
    "frame_tokens",
    "group_numbers",
    "pooled_positions",
    "residual_norms",
]
