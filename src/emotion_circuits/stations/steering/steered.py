"""A finished run whose steering another station goes on from: what it studied, on which openings, and what it chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import create_model

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import read_config, read_finished
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.studied import Studied, studied_in
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering import Condition, SteeringVectors

__all__ = ["SteeredRun", "steered_run"]


@dataclass(frozen=True, eq=False)
class SteeredRun:
    """One run.

    Attributes:
        path: its folder.
        about: what it studied.
        config: the settings of its study that say which texts are written.
        steered: whether texts were steered in it.
        chosen: value → the condition that was chosen for it.
    """

    path: Path
    about: Studied
    config: StudySettings
    steered: bool
    chosen: Mapping[str, Condition]

    @cached_property
    def vectors(self) -> SteeringVectors:
        """As they were injected; read where texts are written, not for a station's key."""
        found = SteeringFolder.of(self.path).vectors()
        assert found is not None
        return found

    @property
    def name(self) -> str:
        """Of its attribute."""
        return self.about.attribute.name


def steered_run(path: Path) -> SteeredRun:
    """What a finished run tells.

    Raises:
        EmotionCircuitsError: it has not finished, was steered in chat, or a file of it is damaged.
    """
    kept, folder = read_config(path), SteeringFolder.of(path)
    own: dict[str, Any] = {"steering": (SteeringSettings, SteeringSettings.model_validate(kept["steering"]))}
    made = create_model("Steered", __base__=StudySettings, **own)
    config: StudySettings = made(**{key: kept[key] for key in StudySettings.model_fields if key in kept})
    if config.of(SteeringSettings).chat:
        raise EmotionCircuitsError(
            f"{path}: was steered in chat, and this compares texts that go on with an opening; run the study with "
            "steering.texts openings"
        )
    about = studied_in(read_finished(path))
    if folder.skipped is not None:
        return SteeredRun(path, about, config, False, {})
    return SteeredRun(path, about, config, True, folder.choice.read().conditions())
