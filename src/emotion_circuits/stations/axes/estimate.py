"""What writing along ratings costs."""

from __future__ import annotations

from emotion_circuits.model import Blueprint
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import BATCH_TOKENS, Speed, token_ids
from emotion_circuits.record.station import Estimate
from emotion_circuits.stations.axes.settings import AxesSettings
from emotion_circuits.stations.axes.station import ratings_of
from emotion_circuits.stations.steering.plan import null_openings, openings
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering.axes import SIDES

__all__ = ["estimate"]


def estimate(config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
    """Tokens, seconds and bytes of the station, see :mod:`emotion_circuits.record.speed`."""
    s, dimensions = config.of(SteeringSettings), len(ratings_of(config))
    test, null = openings(config, "test"), null_openings(config)
    own = (1 + dimensions * len(SIDES)) * len(test) * s.samples
    drawn = config.of(AxesSettings).permutations * dimensions * len(SIDES) * len(null) * s.samples
    opening = sum(map(len, token_ids(model, [p.text for p in test]))) / len(test)
    rows, read = own + drawn, own * s.max_new_tokens
    seconds = speed.decode(rows, s.batch_rows, s.max_new_tokens) + speed.forward(rows * opening, rows / s.batch_rows)
    seconds += (
        speed.forward(read, read / BATCH_TOKENS) + read * (speed.unembed + speed.choose) + rows * 4e-3 * speed.host
    )
    return Estimate(round(rows * (opening + s.max_new_tokens) + read), seconds, rows * 190 + 20_000)
