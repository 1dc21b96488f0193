"""What the map can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.language import N_
from emotion_circuits.prompts.coordinates import load_coordinates
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.settings import Settings, StudySettings
from emotion_circuits.record.studied import studied

__all__ = ["MapSettings", "belongs", "lacks"]

LEAST = 6
"""Rated values without which there is no map."""
FEW = N_("{rated} of its values are rated, a map needs {least}")


class MapSettings(Settings):
    """How values are laid beside ratings.

    Attributes:
        pooling: captured states that are laid out.
        draws: permutations of the ratings, and resamples of the values.
        shuffles: of the labels within groups, per layer.
    """

    pooling: str = "mean"
    draws: int = Field(default=999, ge=19)
    shuffles: int = Field(default=99, ge=1)


def belongs(config: StudySettings) -> bool:
    """Where the attribute names ratings of its values."""
    return studied(config).attribute.coordinates is not None


def lacks(config: StudySettings) -> NotMeasured | None:
    """Ratings of enough values."""
    about = studied(config)
    name = about.attribute.coordinates
    assert name is not None
    known = load_coordinates(name)
    rated = min(len(set(known.of(d)) & set(about.values)) for d in known.dimensions)
    if rated < LEAST:
        return NotMeasured(reason=FEW, values={"rated": str(rated), "least": str(LEAST)})
    return None
