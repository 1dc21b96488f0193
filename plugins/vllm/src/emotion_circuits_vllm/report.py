"""What an answer says of its steering, and whether it may be an answer at all."""

from __future__ import annotations

from typing import Any

from emotion_circuits_vllm.acting import Sums, has_moved
from emotion_circuits_vllm.asking import Asked
from emotion_circuits_vllm.shelf import Vectors

__all__ = ["report"]


def report(asked: Asked, vectors: Vectors, sums: Sums | None) -> dict[str, Any]:
    """What was done, for every vector at every layer, and why it is no answer.

    Args:
        asked: of the request.
        vectors: that it names.
        sums: from the worker; ``None``: it said nothing.

    Returns:
        ``{"unit", "touched": [{"vector", "layer", "norm", "tokens", "projection_before", "projection_after", "first_token",
        "from_cache"}], "still"}``; projections are means over the tokens, in residual norms. ``still`` is ``None``, or says what
        did not act.
    """
    if sums is None:
        sums = [([0.0] * 7, 0, 0, False)] * len(asked.entries)
        silent = "the model ran without the plugin"
    else:
        silent = ""
    touched, moved, idle = [], {}, {}
    for (vector, layer), (row, picked, cached, proven) in zip(asked.entries, sums, strict=True):
        n, before, after, first, first_before, first_after, looked = row
        norm = float(vectors.norms[layer])
        one: dict[str, Any] = {
            "vector": vector, "layer": layer, "norm": norm, "tokens": int(n), "from_cache": cached,
            "projection_before": before / n / norm if n else None, "projection_after": after / n / norm if n else None,
        }  # fmt: skip
        if first:
            one["first_token"] = {"projection_before": first_before / norm, "projection_after": first_after / norm}
        touched.append(one)
        gated = all(e.gate for e in asked.edits if (e.vector, e.layer) == (vector, layer) and e.acts)
        looks = any(e.operation != "add" for e in asked.edits if e.vector == vector and e.acts)
        # What looks before it acts may find nothing to do, as long as it was there to look.
        done = has_moved(row, norm) or (picked == 0 and cached > 0 and proven) or ((gated or looks) and looked > 0)
        moved[vector] = moved.get(vector, False) or done
        idle[vector] = idle.get(vector, True) and picked == 0 and cached == 0
    still = next((v for v, done in moved.items() if not done and not (asked.idle and idle[v] and not silent)), None)
    why = None
    if still is not None:
        why = f"{still}: " + (
            silent
            or (
                "no token was there to be steered"
                if idle[still]
                else "the text's projection on the direction did not move"
            )
        )
    return {"unit": "residual norms of the layer", "vectors": asked.vectors, "touched": touched, "still": why}
