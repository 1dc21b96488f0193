"""How two models were compared, in sentences for a paper."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import N_, say
from emotion_circuits.stations.alignment.folder import AlignmentFolder

__all__ = ["MAPS", "methods"]

MAPS = {
    "ridge": N_("ridge regression"),
    "reduced_rank": N_("reduced-rank regression"),
    "procrustes": N_("an orthogonal map [@schonemann1966]"),
}
"""Ways of fitting in words."""


def methods(folder: AlignmentFolder, _manifest: dict[str, Any]) -> tuple[str, ...]:
    """The map between two models, and what it was tested on."""
    choice = folder.choice.read()
    return (
        say(
            "The directions of {first} were carried over to {second} by a map of states fitted on neutral training "
            "sentences alone ({map}; layer {a} to {b}, chosen on neutral validation sentences), and tested on sentences "
            "that the map never saw, beside directions of labels shuffled alike in both models.",
            first=choice.first.model, second=choice.second.model, map=say(MAPS.get(choice.method, choice.method)),
            a=choice.layers[0], b=choice.layers[1],
        ),
    )  # fmt: skip
