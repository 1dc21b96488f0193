"""What fitting and testing directions costs: no tokens, but many small solves."""

from __future__ import annotations

from emotion_circuits.model import Blueprint
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import TABLE_BYTES, Speed
from emotion_circuits.record.station import Estimate
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.directions.settings import possible_settings

__all__ = ["estimate"]


def estimate(config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
    """Tokens, seconds and bytes of the station, see :mod:`emotion_circuits.record.speed`."""
    d, layers = possible_settings(config), model.n_layers
    sets = len(d.pairs()) * len(d.kinds)
    probes = [(e, p) for e, p in d.pairs() if e in ("pca", "denoised", "lda", "logistic")]
    beside = [(e, p) for e, p in d.pairs() if p == d.steering.partition(".")[2] or e == "token"]
    at = layers if d.geometry == "all" else 1
    solves = len(d.kinds) * len(probes) * (layers + d.null_draws + 10)
    solves += len(d.kinds) * sum(1 for pair in beside if pair in probes) * at * 30
    solves += len(d.reading) * len(d.poolings) * layers
    light = len(d.kinds) * (len(d.pairs()) - len(probes)) * (layers + d.null_draws + 10) + len(beside) * at * 20
    tables = sets * layers + sets * d.null_draws + 40 * sets
    seconds = solves * speed.solve * 1.2 + (light * 2e-3 + tables * 8e-3) * speed.host
    values = len(studied(config).values)
    vectors = (values * model.d_model * 4 + 8 * (values + 1)) * layers + 1800
    return Estimate(0, seconds, sets * vectors + 7 * TABLE_BYTES)
