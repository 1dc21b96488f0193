"""Two runs side by side: what was asked differently, and what came out differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emotion_circuits.study.reading import STAGE_NAMES, RunFolder

__all__ = ["compare_runs", "flat"]

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
        ``config`` and ``environment`` (model, data, packages): keys whose values differ, with both values; ``claims``: one row
        per claim of either run with ``estimate``, ``interval`` and ``verdict`` of both (``None`` where a run has no such
        claim) and ``flags``: ``only in a``, ``only in b``, ``verdict`` (they differ), ``intervals apart`` (they do not
        overlap); ``choices``: per stage, differing keys; ``stages``: status and seconds of both.
    """
    claims = []
    for name in dict.fromkeys([*a.claims, *b.claims]):
        left, right = a.claims.get(name), b.claims.get(name)
        claims.append(
            {
                "id": name,
                "statement": str((left or right or {}).get("statement", "")),
                "unit": str((left or right or {}).get("unit", "")),
                "a": _figures(left),
                "b": _figures(right),
                "flags": _flags(left, right),
            }
        )
    made = [{k: v for k, v in run.manifest.items() if k in ("model", "data", "environment")} for run in (a, b)]
    return {
        "a": str(a.folder),
        "b": str(b.folder),
        "config": _differences(a.config, b.config),
        "environment": _differences(*made),
        "claims": claims,
        "choices": [
            {"stage": stage, **row}
            for stage in STAGE_NAMES
            for row in _differences(a.choices.get(stage, {}), b.choices.get(stage, {}))
        ],
        "stages": [
            {
                "stage": stage,
                "a": {"status": a.statuses[stage], "seconds": a.seconds.get(stage)},
                "b": {"status": b.statuses[stage], "seconds": b.seconds.get(stage)},
            }
            for stage in STAGE_NAMES
        ],
    }


def _figures(claim: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    return {"estimate": claim.get("estimate"), "interval": claim.get("interval"), "verdict": claim.get("verdict")}


def _flags(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> list[str]:
    if a is None or b is None:
        return ["only in b" if a is None else "only in a"]
    found = ["verdict"] if a.get("verdict") != b.get("verdict") else []
    left, right = a.get("interval"), b.get("interval")
    if left and right and (left[1] < right[0] or right[1] < left[0]):
        found.append("intervals apart")
    return found
