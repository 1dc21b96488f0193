"""Two runs side by side: what was asked differently, and what came out differently."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from emotion_circuits.record.reading import RunFolder
from emotion_circuits.statistics import Claim

__all__ = ["compare_runs", "flat"]

_log = logging.getLogger(__name__)

_ABSENT = None


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    if not isinstance(values, Mapping):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    left, right = flat(a), flat(b)
    return [
        {"key": key, "a": left.get(key, _ABSENT), "b": right.get(key, _ABSENT)}
        for key in dict.fromkeys([*left, *right])
        if left.get(key, _ABSENT) != right.get(key, _ABSENT)
    ]


def compare_runs(a: RunFolder, b: RunFolder) -> dict[str, Any]:
    """Everything two runs can be compared in, ready for JSON.

    Returns:
        ``config`` and ``environment`` (model, data, packages; left out where a run has not finished, which is said): keys whose
        values differ, with both values; ``claims``: one row
        per claim of either run with what it is ``about``, and ``estimate``, ``interval`` and ``verdict``, of both (``None``
        where a run has no such claim) and ``flags``: ``only in a``, ``only in b``, ``verdict`` and ``part`` (they differ),
        ``intervals apart`` (they do not overlap); ``choices``: per stage, differing keys; ``stages``: status and seconds of
        both.
    """
    claims = []
    for name in dict.fromkeys([*a.claims, *b.claims]):
        left, right = a.claims.get(name), b.claims.get(name)
        claims.append(
            {
                "id": name,
                "about": {side: _about(claim) for side, claim in (("a", left), ("b", right))},
                "a": _figures(left),
                "b": _figures(right),
                "flags": _flags(left, right),
            }
        )
    for run in (a, b):
        if not run.manifest:
            _log.warning(
                "%s: has not finished (it has no manifest.json), so that its model, data and packages are not compared",
                run.folder,
            )
    finished = [run for run in (a, b) if run.manifest]
    made = [{k: v for k, v in run.manifest.items() if k in ("model", "data", "environment")} for run in finished]
    return {
        "a": str(a.folder),
        "b": str(b.folder),
        "config": _differences(a.config, b.config),
        "environment": _differences(*made) if len(made) == 2 else [],
        "claims": claims,
        "choices": [
            {"stage": stage, **row}
            for stage in dict.fromkeys([*a.choices, *b.choices])
            for row in _differences(a.choices.get(stage, {}), b.choices.get(stage, {}))
        ],
        "stages": [
            {
                "stage": stage,
                "a": {"status": a.statuses.get(stage, "missing"), "seconds": a.seconds.get(stage)},
                "b": {"status": b.statuses.get(stage, "missing"), "seconds": b.seconds.get(stage)},
            }
            for stage in dict.fromkeys([*a.statuses, *b.statuses])
        ],
    }


def _about(claim: Claim | None) -> dict[str, Any] | None:
    return None if claim is None else claim.about.model_dump(mode="json", exclude_none=True)


def _figures(claim: Claim | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    return {"estimate": claim.figures.estimate, "interval": claim.figures.interval, "verdict": claim.verdict}


def _flags(a: Claim | None, b: Claim | None) -> list[str]:
    if a is None or b is None:
        return ["only in b" if a is None else "only in a"]
    found = ["verdict"] if a.verdict != b.verdict else []
    if a.about.part != b.about.part:
        found.append("part")
    left, right = a.figures.interval, b.figures.interval
    if left and right and (left[1] < right[0] or right[1] < left[0]):
        found.append("intervals apart")
    return found
