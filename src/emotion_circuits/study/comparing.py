"""Runs side by side: what was asked differently, and what came out differently."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations
from string import ascii_lowercase
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import RunFolder
from emotion_circuits.statistics import Claim

__all__ = ["SIDES", "compare_runs", "flat"]

_log = logging.getLogger(__name__)

SIDES = ascii_lowercase
"""What runs are called in what is compared: the first one is ``a``."""

_ABSENT = None


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    if not isinstance(values, Mapping):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _differences(values: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keys of which not all have the same value; ``values`` are by the run's side."""
    flattened = {side: flat(own) for side, own in values.items()}
    rows = [
        {"key": key, **{side: own.get(key, _ABSENT) for side, own in flattened.items()}}
        for key in dict.fromkeys(key for own in flattened.values() for key in own)
    ]
    first = next(iter(values))
    return [row for row in rows if any(row[side] != row[first] for side in values)]


def compare_runs(*runs: RunFolder) -> dict[str, Any]:
    """Everything that runs can be compared in, ready for JSON. The first run is called ``a``, the second ``b``, and so on.

    Args:
        *runs: two to 26.

    Returns:
        ``a``, ``b`` …: the runs' folders; ``config`` and ``environment`` (model, data, packages; only of runs that have finished,
        which is said): keys whose values differ, with every run's value; ``claims``: one row per claim of any run with what it is
        ``about``, and ``estimate``, ``interval``, ``q`` and ``verdict`` of each (``None`` where a run has no such claim) and
        ``flags``: ``only in a, b``, ``verdict`` and ``part`` (they differ), ``intervals apart`` (two of them do not overlap);
        ``choices``: per stage, differing keys; ``stages``: status and seconds of each.

    Raises:
        EmotionCircuitsError: fewer than two runs, or more than there are letters.
    """
    if not 2 <= len(runs) <= len(SIDES):
        raise EmotionCircuitsError(f"{len(runs)} given: from 2 to {len(SIDES)} runs are compared with one another")
    by = dict(zip(SIDES, runs, strict=False))
    for run in runs:
        if not run.manifest:
            _log.warning(
                "%s: has not finished (it has no manifest.json), so that its model, data and packages are not compared",
                run.folder,
            )
    made = {
        side: {k: v for k, v in run.manifest.items() if k in ("model", "data", "environment")}
        for side, run in by.items()
        if run.manifest
    }
    environment = _differences(made) if len(made) > 1 else []
    return {
        **{side: str(run.folder) for side, run in by.items()},
        "config": _differences({side: run.config for side, run in by.items()}),
        "environment": [{"key": row["key"], **{side: row.get(side, _ABSENT) for side in by}} for row in environment],
        "claims": [_claims(by, name) for name in dict.fromkeys(name for run in runs for name in run.claims)],
        "choices": [
            {"stage": stage, **row}
            for stage in dict.fromkeys(stage for run in runs for stage in run.choices)
            for row in _differences({side: run.choices.get(stage, {}) for side, run in by.items()})
        ],
        "stages": [
            {
                "stage": stage,
                **{
                    side: {"status": run.statuses.get(stage, "missing"), "seconds": run.seconds.get(stage)}
                    for side, run in by.items()
                },
            }
            for stage in dict.fromkeys(stage for run in runs for stage in run.statuses)
        ],
    }


def _claims(by: Mapping[str, RunFolder], name: str) -> dict[str, Any]:
    """One claim of all runs."""
    found = {side: run.claims.get(name) for side, run in by.items()}
    return {
        "id": name,
        "about": {side: _about(claim) for side, claim in found.items()},
        **{side: _figures(claim) for side, claim in found.items()},
        "flags": _flags(found),
    }


def _about(claim: Claim | None) -> dict[str, Any] | None:
    return None if claim is None else claim.about.model_dump(mode="json", exclude_none=True)


def _figures(claim: Claim | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    figures = claim.figures
    return {"estimate": figures.estimate, "interval": figures.interval, "q": figures.q, "verdict": claim.verdict}


def _flags(found: Mapping[str, Claim | None]) -> list[str]:
    there = {side: claim for side, claim in found.items() if claim is not None}
    claims = list(there.values())
    flags = [f"only in {', '.join(there)}"] if len(there) < len(found) else []
    if len({claim.verdict for claim in claims}) > 1:
        flags.append("verdict")
    if len({claim.about.part for claim in claims}) > 1:
        flags.append("part")
    if _apart([claim.figures.interval for claim in claims if claim.figures.interval is not None]):
        flags.append("intervals apart")
    return flags


def _apart(intervals: Sequence[tuple[float, float]]) -> bool:
    return any(one[1] < other[0] or other[1] < one[0] for one, other in combinations(intervals, 2))
