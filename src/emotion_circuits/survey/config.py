"""What a survey asks: models × attributes × seeds, settings that all points share, and what is gathered over them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from emotion_circuits.documents import UnreadableError, parse_yaml, read_document
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.loading import validation_messages
from emotion_circuits.record.settings import Settings
from emotion_circuits.stations.registry import stations

__all__ = ["SurveyConfig", "load_survey", "presets"]


class SurveyConfig(Settings):
    """A survey.

    Attributes:
        name: shown on its page.
        models: bundled names, hub ids, folders or GGUF files.
        attributes: bundled names or YAML files.
        seeds: every point once per seed.
        profile: of every point.
        settings: changes to the profile for every point, by dotted name: ``steering.samples: 2``.
        of_models: further changes by model: ``{"qwen2.5-coder-1.5b": {"dtype": "bfloat16"}}``.
        of_attributes: further changes by attribute.
        runs: folders of finished runs that are points too.
        gather: settings of what is gathered, by its name; empty: everything that fits, as it is by default. A name that is left
            out of those that are given is not gathered.
    """

    name: str = "survey"
    models: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ("emotion-en",)
    seeds: tuple[int, ...] = (0,)
    profile: str = "quick"
    settings: dict[str, Any] = Field(default_factory=dict)
    of_models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    of_attributes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    runs: tuple[str, ...] = ()
    gather: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("models", "attributes", "runs", "seeds")
    @classmethod
    def _once(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if doubled := sorted({str(v) for v in given if given.count(v) > 1}):
            raise ValueError(f"{', '.join(doubled)} is named twice")
        return given

    @field_validator("gather")
    @classmethod
    def _known(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        there = {station.name: station for station in stations() if station.needs_of_runs}
        for name, settings in given.items():
            if name not in there:
                raise ValueError(f"nothing is gathered by the name {name!r}; choose from {', '.join(there)}")
            there[name].settings.model_validate(settings)
        return given


def presets() -> tuple[str, ...]:
    """Names of the surveys that come with the package."""
    return tuple(sorted(p.name.removesuffix(".yaml") for p in files(__package__).joinpath("bundled").iterdir()))


def load_survey(name: str | Path, overrides: dict[str, Any] | None = None) -> SurveyConfig:
    """A survey from a YAML file, or one of :func:`presets`.

    Args:
        name: a preset or a file. Paths in a file (models, attributes, runs) count from the folder it lies in.
        overrides: fields to change.

    Raises:
        EmotionCircuitsError: no such file or preset, or one that asks for what there is not.
    """
    if str(name) in presets():
        values: Any = parse_yaml(files(__package__).joinpath("bundled", f"{name}.yaml").read_text(encoding="utf-8"))
    else:
        path = Path(name)
        if not path.is_file():
            raise EmotionCircuitsError(f"{name}: neither a file nor one of the surveys {', '.join(presets())}")
        try:
            values = read_document(path)
        except UnreadableError as error:
            raise EmotionCircuitsError(f"{path}: {error.message}") from error
        if isinstance(values, dict):
            values = {
                k: _from(path.parent, v) if k in ("models", "attributes", "runs") else v for k, v in values.items()
            }
    if not isinstance(values, dict):
        raise EmotionCircuitsError(f"{name}: a survey holds keys and values")
    try:
        found = SurveyConfig.model_validate({**values, **(overrides or {})})
    except ValidationError as error:
        raise EmotionCircuitsError(f"{name}: {'; '.join(validation_messages(error))}") from error
    if not found.runs and not found.models:
        raise EmotionCircuitsError(f"{name}: names no models and no runs")
    return found


def _from(folder: Path, given: Any) -> Any:
    """Names of what lies beside the file become paths; others stay as they are."""
    if not isinstance(given, list):
        return given
    return [str(folder / v) if isinstance(v, str) and (folder / v).exists() else v for v in given]
