"""The station's claims of directions that were fitted on shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence

from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder, set_name
from emotion_circuits.stations.trace.calibrating import calibrate_trace
from emotion_circuits.stations.trace.settings import TraceSettings, traced_sentences
from emotion_circuits.stations.trace.station import traced_layer
from emotion_circuits.statistics import Claim

__all__ = ["AT_ONCE", "shuffled_claims"]

AT_ONCE = 50
"""Draws that share one product, and their nulls."""


def shuffled_claims(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """What the station claims with directions of shuffled labels in the place of the real ones.

    Args:
        context: of a finished run.
        draws: numbers of the shuffles; all of one call are held against the same nulls.
    """
    own, model = context.config.of(TraceSettings), context.model
    directions = context.of(DirectionsFolder).load_set(set_name(own.directions))
    found = calibrate_trace(
        model, context.of(CaptureFolder).store(),
        {split: traced_sentences(context.config, split) for split in ("validation", "test")},
        directions, traced_layer(directions, model), times=len(draws), draws=own.draws(len(directions.labels)), top=own.top,
        seed=65_537 + draws[0],
    )  # fmt: skip
    return found.shuffled
