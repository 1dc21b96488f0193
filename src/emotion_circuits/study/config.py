"""A study's whole configuration: the shared settings and those of every station; profiles, YAML files and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model, model_validator

from emotion_circuits.documents import read_document
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_attribute
from emotion_circuits.prompts.loading import explain
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.stations.registry import study_stations
from emotion_circuits.study.profiles import PROFILES

__all__ = ["PROFILES", "StudyConfig", "load_config"]


class _Checked(StudySettings):
    @model_validator(mode="after")
    def _consistent(self) -> _Checked:
        for station in study_stations():
            station.consistent(self)
        return self


_FIELDS: dict[str, Any] = {station.name: (station.settings, station.settings()) for station in study_stations()}
StudyConfig: type[StudySettings] = create_model("StudyConfig", __base__=_Checked, __module__=__name__, **_FIELDS)
"""A whole study: the fields of :class:`StudySettings`, and one per station, named after it, with its settings."""


def load_config(
    profile: str = "quick", *, file: Path | None = None, overrides: dict[str, Any] | None = None
) -> StudySettings:
    """A profile, changed by a YAML file, changed by overrides.

    Args:
        profile: ``quick``, ``plan``, ``baseline`` or ``extended``.
        file: YAML with nested keys, e.g. ``steering: {samples: 2}``.
        overrides: dotted keys and values.

    Example:
        >>> config = load_config("quick", overrides={"steering.samples": 2, "seed": 1})
        >>> config.steering.samples, config.seed
        (2, 1)

    Raises:
        EmotionCircuitsError: unknown profile, unreadable YAML, unknown keys or impossible values, each named; an attribute
            that cannot be read, or emotions that it does not have.
    """
    if profile not in PROFILES:
        raise EmotionCircuitsError(f"no profile {profile!r}; choose from {', '.join(PROFILES)}")
    values: dict[str, Any] = _deep_merge({}, PROFILES[profile])
    where = f"profile {profile}"
    if file is not None:
        where = str(file)
        content = read_document(file)
        if content is not None and not isinstance(content, dict):
            raise EmotionCircuitsError(f"{file}: must hold keys and values, e.g. 'model: smollm2-135m'")
        values = _deep_merge(values, content or {})
    for key, value in (overrides or {}).items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = _deep_merge(values, nested)
    try:
        config = StudyConfig.model_validate(values)
    except ValidationError as error:
        raise EmotionCircuitsError(f"{where}: " + "; ".join(explain(error, StudyConfig))) from error
    attribute = load_attribute(config.attribute)
    try:
        attribute.some(config.emotions)
    except EmotionCircuitsError as error:
        raise EmotionCircuitsError(f"{where}: emotions: {error}") from error
    return config


def _deep_merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _deep_merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
