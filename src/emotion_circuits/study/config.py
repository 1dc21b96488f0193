"""A study's whole configuration: the shared settings and those of every station; profiles, YAML files and overrides."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model, model_validator

from emotion_circuits.documents import read_document
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_attribute
from emotion_circuits.prompts.loading import explain
from emotion_circuits.record.reading import MANIFEST, STUDY, read_manifest, read_study
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.sealing import broken, unsealed
from emotion_circuits.stations.registry import study_stations
from emotion_circuits.study.profiles import PROFILES

__all__ = ["PROFILES", "StudyConfig", "load_config", "run_config"]

_log = logging.getLogger(__name__)


class _Checked(StudySettings):
    @model_validator(mode="after")
    def _consistent(self) -> _Checked:
        known = [station.name for station in study_stations()]
        unknown = [name for name in self.leave_out if name not in known]
        if unknown:
            raise ValueError(
                f"leave_out: there is no station {unknown[0]!r}; choose from {', '.join(known)}, several as [a, b]"
            )
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
        profile: ``quick``, ``plan``, ``chat``, ``baseline`` or ``extended``.
        file: YAML with nested keys, e.g. ``steering: {samples: 2}``; the ``study.json`` of a run holds all of them.
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
        if broken(content):
            _log.warning("%s: was edited after a run wrote it; what it says now is run", file)
        values = _deep_merge(values, unsealed(content or {}))
    return _validated(values, overrides, where)


def run_config(folder: Path, *, overrides: dict[str, Any] | None = None) -> StudySettings | None:
    """What a run was asked, whether it has finished or not; ``None`` where there is none.

    Args:
        folder: of the run.
        overrides: dotted keys and values that change it.

    Raises:
        EmotionCircuitsError: what tells of it is damaged, was changed, or is not what this version reads.
    """
    kept = read_study(folder)
    if kept is not None:
        return _validated(kept, overrides, str(folder / STUDY))
    if not (folder / MANIFEST).is_file():
        return None
    return _validated(read_manifest(folder)["config"], overrides, str(folder / MANIFEST))


def _validated(values: dict[str, Any], overrides: dict[str, Any] | None, where: str) -> StudySettings:
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
