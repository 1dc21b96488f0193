"""EasySteer's JSON as ``steering`` of a request, where it means what this server does.

Its ``source`` is a file; here it is the name of a value, whose vector lies on the server and is one residual norm long at every
layer. So ``scale`` is what is called ``alpha`` elsewhere.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from emotion_circuits.exchange.easysteer import PLACES, SteeringSpec, SteeringVector
from emotion_circuits.prompts.loading import validation_messages

__all__ = ["pushes_of"]

_ACTS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    (PLACES["all"], {"positions": "all"}),
    (PLACES["rest"], {"positions": "rest"}),
    ({"prompt": "all"}, {"positions": "all", "when": "prompt"}),
    ({"prompt": "all", "exclude_prompt_positions": [0]}, {"positions": "rest", "when": "prompt"}),
    ({"generation": "all"}, {"positions": "all", "when": "generated"}),
)
"""What EasySteer says of tokens, and how it is said here."""
_FILES = (".gguf", ".safetensors", ".pt", ".pth", ".bin", ".npz", ".npy", ".json", ".pkl", ".ckpt")


def pushes_of(given: Any) -> Any:
    """By value what is to be done; anything but EasySteer's JSON comes back as it is.

    Args:
        given: the body's ``steering``.

    Raises:
        ValueError: EasySteer's JSON with a file in it, or with what would be done otherwise here.

    Example:
        >>> every = {"prompt": "all", "generation": "all"}
        >>> pushes_of({"vectors": [{"source": "joy", "scale": 0.5, "layers": [3], "apply": every}]})
        {'joy': {'layers': [3], 'alpha': 0.5, 'positions': 'all'}}
    """
    if not isinstance(given, dict) or not isinstance(given.get("vectors"), list):
        return given
    try:
        spec = SteeringSpec.model_validate(given)
    except ValidationError as error:
        raise ValueError("; ".join(validation_messages(error)[:3])) from error
    if spec.debug:
        raise ValueError("debug: is not known here; every answer says what was done")
    found: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(spec.vectors):
        _put(found, f"vectors.{number}", one)
    if len(found) > 1 and spec.conflict != "sequential":
        raise ValueError(
            f"conflict: {spec.conflict!r} lets one vector win where several meet; here all are added: say 'sequential'"
        )
    return found


def _put(found: dict[str, dict[str, Any]], where: str, one: SteeringVector) -> None:
    value = one.source
    if "/" in value or "\\" in value or value.lower().endswith(_FILES):
        raise ValueError(
            f"{where}.source: {value[:80]!r} is a file; vectors have names and live on the server: give the name of a value"
        )
    if one.params:
        raise ValueError(f"{where}.params: are not known here")
    layers = {} if one.layers is None else {"layers": one.layers}
    how = _how(where, one)
    if value not in found:
        found[value] = {
            **layers,
            **({"alpha": 0.0, "first": one.scale} if how is None else {"alpha": one.scale, **how}),
        }
        return
    # The first token and the rest are two vectors there, and two strengths of one push here.
    known = found[value]
    bare = {key: told for key, told in known.items() if key not in ("alpha", "first")}
    if how is None and bare == {**layers, "positions": "rest"} and "first" not in known:
        known["first"] = one.scale
    elif how == {"positions": "rest"} and bare == layers:
        known |= {"alpha": one.scale, **how}
    else:
        raise ValueError(f"{where}: {value!r} is there already, with the same tokens or other layers; say it in one")


def _how(where: str, one: SteeringVector) -> dict[str, Any] | None:
    """When and where it acts; ``None``: at the first token alone."""
    said = {key: told for key, told in one.apply.items() if told is not None}
    if said == PLACES["first"]:
        return None
    found = next((how for apply, how in _ACTS if apply == said), None)
    if found is None:
        names = ", ".join(str(apply) for apply in (*(apply for apply, _ in _ACTS), PLACES["first"]))
        raise ValueError(f"{where}.apply: {said}; known here are {names}")
    return found
