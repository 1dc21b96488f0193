"""How circuits were sought, in sentences for a paper."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import say
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.circuits.settings import CircuitsSettings

__all__ = ["methods"]


def methods(folder: CircuitsFolder, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Attribution, exact effects and faithfulness on minimal pairs; what parts carry where there are none."""
    own = CircuitsSettings.model_validate(manifest["config"]["circuits"])
    found = []
    if folder.heads.exists():
        exact = folder.heads.read()["effect"].notna().sum()
        found += [
            say(
                "On token-aligned minimal pairs, attention heads and MLPs were scored by attribution with integrated "
                "gradients ({steps} points) from the corrupted to the clean run [@sundararajan2017; @syed2023; @hanna2024] "
                "(at most {train} training pairs), and {exact} of them were also noised exactly on at most {test} test "
                "pairs.",
                steps=own.steps, train=own.train_pairs, exact=int(exact), test=own.test_pairs,
            ),
            say(
                "The size of the circuit was chosen on at most {validation} validation pairs; its faithfulness, the share "
                "of the clean–corrupted gap that it keeps alone [@wang2023; @mueller2025], is reported on test pairs beside "
                "that of random circuits with as many heads and MLPs.",
                validation=own.validation_pairs,
            ),
        ]  # fmt: skip
    if folder.carriers.exists():
        found.append(
            say(
                "Every attention head and MLP was held, one at a time, at its mean over neutral training sentences, and "
                "what it carries is how far the projection on the direction then falls at the last token; parts were chosen "
                "on validation sentences, and directions of shuffled labels chose theirs likewise."
            )
        )
    return tuple(found)
