"""How texts were pushed along ratings, in a sentence for a paper."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import say
from emotion_circuits.stations.axes.folder import AxesFolder
from emotion_circuits.stations.axes.settings import AxesSettings

__all__ = ["methods"]


def methods(_folder: AxesFolder, manifest: dict[str, Any]) -> tuple[str, ...]:
    """The sum of directions, and its null."""
    own = AxesSettings.model_validate(manifest["config"]["axes"])
    return (
        say(
            "Texts were pushed towards high and towards low ratings along the sum of the values' directions, each weighted "
            "by its rating less the mean; {permutations} permutations of the ratings among the values make the null.",
            permutations=own.permutations,
        ),
    )
