"""How values were laid beside ratings, in a sentence for a paper."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import say
from emotion_circuits.stations.map.folder import MapFolder
from emotion_circuits.stations.map.settings import MapSettings

__all__ = ["methods"]


def methods(folder: MapFolder, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Axes, ratings, permutations."""
    own = MapSettings.model_validate(manifest["config"]["map"])
    return (
        say(
            "The values were laid out by principal axes fitted on training sentences without any rating; correlations with "
            "people's ratings ({source}) are of test sentences, beside {draws} permutations of the ratings, which choose "
            "their axes likewise.",
            source=folder.choice.read().source, draws=own.draws,
        ),
    )  # fmt: skip
