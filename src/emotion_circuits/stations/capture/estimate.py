"""What a capture costs, and how much of an interrupted one is there."""

from __future__ import annotations

from emotion_circuits.activations import FRAME
from emotion_circuits.activations.pooling import frame_tokens, token_batches
from emotion_circuits.activations.sinks import judged_by
from emotion_circuits.ledger import Ledger
from emotion_circuits.model import Blueprint
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import Speed, token_ids
from emotion_circuits.record.station import Estimate
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.capture.settings import CaptureSettings
from emotion_circuits.stations.capture.station import study_prompts

__all__ = ["done", "estimate"]

_SHARD_ROWS = 256


def estimate(config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
    """Tokens, seconds and bytes of the station, see :mod:`emotion_circuits.record.speed`."""
    c = config.of(CaptureSettings)
    ids = token_ids(model, [p.text for p in study_prompts(config)])
    suffix = len(frame_tokens(model, FRAME)) if "frame" in c.poolings else 0
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    batches = token_batches(order, ids, c.batch_tokens)
    padded = sum(len(b) * (max(len(ids[i]) for i in b) + suffix) for b in batches)
    state = model.n_layers * model.d_model * model.dtype.itemsize
    states = len(ids) * len(c.kinds) * len(c.poolings) * state
    # A norm per token, for every stream that tells the sinks.
    norms = 4 * model.n_layers * sum(map(len, ids)) * len({judged_by(kind) for kind in c.kinds})
    return Estimate(padded, speed.forward(padded, len(batches)), states + norms + 80 * len(ids))


def done(config: StudySettings, folder: CaptureFolder) -> float:
    """Share of the shards that an interrupted capture has finished."""
    known = Ledger(folder.path).known or {}
    total = -(-len(study_prompts(config)) // _SHARD_ROWS)
    there = sum((folder.path / name).is_file() for name in known if name.startswith("shard-"))
    return min(1.0, there / max(total, 1))
