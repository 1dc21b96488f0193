"""What a server offers to steer with, for whoever draws it: ranges, curves, what was measured, names and colours."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import LANGUAGES, speaking, term
from emotion_circuits.serve.steering import STRONGEST
from emotion_circuits.serve.vectors import Ranged, Served, Shelf

__all__ = ["offered"]


def offered(served: Shelf, *, whole_path: bool) -> dict[str, Any]:
    """The answer of ``/v1/steering``, but for the model.

    Args:
        served: what there is.
        whole_path: whether to name a run's folder as it was given, for commands; otherwise its last part.
    """
    values = []
    for value in served.names:
        ranged, run, own = served.ranges.get(value), served.of(value), served.own(value)
        place, title = run.run, value.removesuffix(own).rstrip(".")
        told: dict[str, Any] = {
            "value": value, "own": own, "names": _names(run, own, title), "colour": _colour(run, own), "bound": run.bound,
            "run": None if place is None else str(place) if whole_path else place.name,
        }  # fmt: skip
        told |= {"validated": None, "reason": run.unranged[own]} if ranged is None else _range(ranged)
        values.append(told)
    return {
        "runs": list(dict.fromkeys(told["run"] for told in values)),
        "unit": "residual norms of the layer",
        "allowed": [-STRONGEST, STRONGEST],
        "curve_on": "validation " + " or ".join(dict.fromkeys(_written_on(run) for run in served.runs)) + " of the run",
        "values": values,
    }


def _written_on(run: Served) -> str:
    return "requests" if run.chat else "openings"


def _range(ranged: Ranged) -> dict[str, Any]:
    c = ranged.condition
    return {
        "validated": [0, 1], "chosen": ranged.chosen, "alpha": c.alpha, "first": c.first, "layers": list(c.layers),
        "measured": ranged.measured, "curve": [dict(point) for point in ranged.curve],
    }  # fmt: skip


def _names(served: Served, value: str, title: str) -> dict[str, str]:
    found = {}
    for code in LANGUAGES:
        with speaking(code, None if served.about is None else served.about.attribute.terms(code)):
            found[code] = f"{title} · {term(value)}" if title else term(value)
    return found


def _colour(served: Served, value: str) -> str | None:
    return None if served.about is None else served.about.attribute.colours.get(value)
