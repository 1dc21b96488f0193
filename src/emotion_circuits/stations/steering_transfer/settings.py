"""What the station can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.record.settings import Settings

__all__ = ["SteeringTransferSettings"]


class SteeringTransferSettings(Settings):
    """How texts are written with other sentences' directions.

    Attributes:
        draws: directions of shuffled labels per source and place; with N of them no p-value is below 1/(N + 1).
    """

    draws: int = Field(default=99, ge=19)
