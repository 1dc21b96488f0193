"""Where people place the values of an attribute: ratings of valence, arousal or the like, from a source that is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import read_json
from emotion_circuits.prompts.schema import corpora_dir

__all__ = ["Coordinates", "load_coordinates"]


class Coordinates(BaseModel):
    """Ratings of values along named dimensions.

    Attributes:
        source: who rated, as a citation.
        licence: under which the figures may be passed on.
        values: value → its ratings; what is no number (the word that was rated) or counts raters is no dimension.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    source: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    values: dict[str, dict[str, Any]] = Field(min_length=1)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of what was rated, in the order of the first value."""
        first = next(iter(self.values.values()))
        return tuple(
            name
            for name, value in first.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and not name.endswith("_raters")
        )

    def of(self, dimension: str) -> dict[str, float]:
        """Value → rating, for values that have one."""
        return {value: float(row[dimension]) for value, row in self.values.items() if row.get(dimension) is not None}

    def among(self, values: Sequence[str]) -> dict[str, dict[str, float]]:
        """Dimension → value → rating, of some values; those without a rating are left out of it."""
        return {d: {v: rating for v, rating in self.of(d).items() if v in values} for d in self.dimensions}


def load_coordinates(name_or_path: str | os.PathLike[str]) -> Coordinates:
    """Bundled ones by the name of their file without its ending, or a JSON file.

    Raises:
        EmotionCircuitsError: not there, not JSON, or not of this form.
    """
    bundled = corpora_dir() / f"{os.fspath(name_or_path)}.json"
    path = bundled if bundled.is_file() else Path(name_or_path).expanduser()
    if not path.is_file():
        raise EmotionCircuitsError(f"{name_or_path}: neither bundled coordinates nor a file")
    try:
        return Coordinates.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise EmotionCircuitsError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
