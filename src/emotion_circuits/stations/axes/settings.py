"""What steering along ratings can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.settings import Settings, StudySettings
from emotion_circuits.stations.map import settings as of_map
from emotion_circuits.stations.steering import plan

__all__ = ["AxesSettings", "belongs", "lacks"]


class AxesSettings(Settings):
    """How much is written.

    Attributes:
        permutations: of the ratings among the values; with N of them no p-value is below 1/(N + 1).
    """

    permutations: int = Field(default=39, ge=19)


belongs = of_map.belongs
"""Where the attribute names ratings of its values."""


def lacks(config: StudySettings) -> NotMeasured | None:
    """What the map lacks, or what steering does."""
    return of_map.lacks(config) or plan.lacks(config)
