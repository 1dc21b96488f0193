"""The record: states of every sentence at every layer, captured to disk and read back."""

from emotion_circuits.activations.capture import POOLINGS, capture, capture_config, pooled_positions, residual_norms
from emotion_circuits.activations.store import ActivationStore

__all__ = ["POOLINGS", "ActivationStore", "capture", "capture_config", "pooled_positions", "residual_norms"]
