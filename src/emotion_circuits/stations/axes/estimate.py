"""What writing along ratings costs."""

from __future__ import annotations

from emotion_circuits.model import Blueprint
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import Speed, token_ids
from emotion_circuits.record.station import Estimate
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.axes.settings import AxesSettings
from emotion_circuits.stations.map.settings import coordinates_of
from emotion_circuits.stations.steering.estimate import writing
from emotion_circuits.stations.steering.plan import null_openings, openings
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering.axes import SIDES

__all__ = ["estimate"]


def estimate(config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
    """Tokens, seconds and bytes of the station, see :mod:`emotion_circuits.record.speed`."""
    s, arms = config.of(SteeringSettings), len(coordinates_of(studied(config)).dimensions) * len(SIDES)
    test, permutations = openings(config, "test"), config.of(AxesSettings).permutations
    opening = sum(map(len, token_ids(model, [p.text for p in test]))) / len(test)
    own = writing((1 + arms) * len(test) * s.samples, opening, s, speed)
    # Their fluency is not read.
    null = writing(permutations * arms * len(null_openings(config)) * s.samples, opening, s, speed, judged=0.0)
    return Estimate(round(own.tokens + null.tokens), own.seconds + null.seconds, own.bytes + null.bytes + 20_000)
