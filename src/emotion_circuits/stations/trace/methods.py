"""How writing, attending and reading parts were found, in sentences for a paper."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import say
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.trace.folder import TraceFolder
from emotion_circuits.stations.trace.settings import TraceSettings

__all__ = ["methods"]


def methods(folder: TraceFolder, manifest: dict[str, Any]) -> tuple[str, ...]:
    """The decomposition and its nulls."""
    own, choice = TraceSettings.model_validate(manifest["config"]["trace"]), folder.choice.read()
    return (
        say(
            "What every attention head and MLP adds to the residual stream was projected on the directions {directions} of layer "
            "{layer}; these parts sum exactly to the projection of the residual stream [@elhage2021].",
            directions=choice.directions, layer=choice.layer,
        ),
        say(
            "Parts that write at the last token, heads that attend to the value's words and parts that read the direction "
            "(relative change of their output where it is taken out) were chosen on validation sentences and reported on "
            "test sentences of at most {groups} groups; {draws} directions of shuffled labels chose theirs likewise, and p "
            "is the share of those whose choice stands out as far.",
            groups=own.groups, draws=own.draws(len(studied_in(manifest).values)),
        ),
    )  # fmt: skip
