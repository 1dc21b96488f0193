"""What tracing costs."""

from __future__ import annotations

from emotion_circuits.model import Blueprint
from emotion_circuits.prompts import load_prompts
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import BATCH_TOKENS, Speed, token_ids
from emotion_circuits.record.station import Estimate
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.trace.settings import TraceSettings, traced_corpus

__all__ = ["estimate"]


def estimate(config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
    """Tokens, seconds and bytes of the station, see :mod:`emotion_circuits.record.speed`."""
    t, about = config.of(TraceSettings), studied(config)
    emotions = len(about.values)
    rows = load_prompts(traced_corpus(config), labels=about.labels)
    mean = sum(map(len, token_ids(model, [p.text for p in rows]))) / max(1, len(rows))
    # Per emotion and split: writers and attention read both sentences of a group, readers too, and rerun the last token of one
    # with every direction.
    directions = t.draws(emotions) + 1
    tokens = emotions * 2 * t.groups * (mean * (2 + 2 + 2 + 1) + 0.5 * (directions + 1))
    parts = model.n_layers * (model.n_heads + 1)
    tables = emotions * 2 * 3 * parts * 3e-3 * speed.host
    size = emotions * 2 * parts * 150 + 85_000
    return Estimate(round(tokens), speed.forward(tokens, tokens / BATCH_TOKENS * 2) + tables, size)
