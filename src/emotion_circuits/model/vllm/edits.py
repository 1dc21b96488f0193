"""Interventions as the plugin of vLLM is told them: names of directions, and numbers.

A direction is named by the hash of its numbers, so that a request can name what lies on the server.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import say
from emotion_circuits.model.intervening import Ablate, Add, Clamp, Intervention
from emotion_circuits.paths import replacing

__all__ = ["edits_of", "name_of", "save_directions"]


def name_of(direction: Float[Tensor, " d_model"]) -> str:
    """The name of a direction: a hash of its numbers as they stand.

    Args:
        direction: not 0.
    """
    return hashlib.sha256(direction.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:32]


def _unit(direction: Tensor) -> Tensor:
    return torch.nn.functional.normalize(direction.detach().cpu().double(), dim=-1).float().contiguous()


def edits_of(interventions: Sequence[Intervention], tokens: int) -> list[dict[str, Any]]:
    """What the plugin does for interventions; additions of strength 0 are left out.

    Args:
        interventions: of one text.
        tokens: of its prompt, from whose end negative places count.

    Raises:
        EmotionCircuitsError: one that the plugin does not know.
    """
    return [edit for i in interventions for edit in _edit(i, tokens)]


def _edit(i: Intervention, tokens: int) -> list[dict[str, Any]]:
    if i.site.kind != "resid_post" or i.rows is not None:
        raise EmotionCircuitsError(
            say(
                "{what}: vLLM is steered behind decoder blocks (resid_post) only",
                what=f"{type(i).__name__} at {i.site}",
            )
        )
    said: dict[str, Any] = {"layer": i.site.layer, "when": i.when}
    if isinstance(i, Add):
        if not i.alpha or not bool(i.vector.any()):
            return []
        said |= {"vector": name_of(i.vector), "alpha": float(i.alpha) * float(i.vector.double().norm())}
    elif isinstance(i, Clamp):
        said |= {"vector": name_of(i.direction), "operation": "clamp", "alpha": float(i.value)}
    elif isinstance(i, Ablate) and i.mode == "directional":
        assert i.direction is not None
        said |= {"vector": name_of(i.direction), "operation": "ablate"}
    else:
        raise EmotionCircuitsError(
            say("{what}: vLLM is not asked for it; it adds, clamps and takes out directions", what=type(i).__name__)
        )
    if i.gate is not None:
        said |= {"gate": name_of(i.gate.direction), "threshold": float(i.gate.threshold), "side": i.gate.side}
    places = i.positions.indices if i.positions.kind == "indices" else None
    if i.positions.kind == "per_row":
        (places,) = i.positions.rows
    if places is None:
        return [{**said, "positions": i.positions.kind}]
    if i.when == "generated":
        raise EmotionCircuitsError(say("places of written tokens are not known to vLLM's plugin; choose all of them"))
    counted = [p if p >= 0 else tokens + p for p in places]
    if not counted:
        return []
    # At the first token alone the place is named, so that texts of different prompts share what is asked.
    return [{**said, "positions": "first" if counted == [0] else counted}]


def _directions(interventions: Iterable[Intervention]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for i in interventions:
        direction = i.vector if isinstance(i, Add) else getattr(i, "direction", None)
        for one in (direction, None if i.gate is None else i.gate.direction):
            if one is not None and bool(one.any()):
                found[name_of(one)] = _unit(one)
    return found


def save_directions(interventions: Iterable[Intervention], layers: int, folder: Path) -> str | None:
    """Put the directions of interventions where the server finds them.

    Args:
        interventions: whose.
        layers: of the model.
        folder: the server's.

    Returns:
        The name that requests give; ``None``: there was nothing to put.
    """
    rows = {f"unit/{name}": row for name, row in sorted(_directions(interventions).items())}
    if not rows:
        return None
    name = f"asked-{secrets.token_hex(12)}"
    with replacing(folder / f"{name}.safetensors") as temporary:
        # Strengths are in the units of the activations here: a residual norm of 1.
        save_file({**rows, "norms": torch.ones(layers)}, temporary)
    return name
