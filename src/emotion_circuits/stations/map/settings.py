"""What the map can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.language import N_
from emotion_circuits.prompts.coordinates import Coordinates, load_coordinates
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.settings import Settings, StudySettings
from emotion_circuits.record.studied import Studied, studied

__all__ = ["MapSettings", "belongs", "coordinates_of", "lacks"]

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


def coordinates_of(about: Studied) -> Coordinates:
    """The ratings that the attribute names."""
    assert about.attribute.coordinates is not None
    return load_coordinates(about.attribute.coordinates)


def lacks(config: StudySettings) -> NotMeasured | None:
    """Ratings of enough values."""
    about = studied(config)
    rated = min(map(len, coordinates_of(about).among(about.values).values()))
    if rated < LEAST:
        return NotMeasured(reason=FEW, values={"rated": str(rated), "least": str(LEAST)})
    return None
