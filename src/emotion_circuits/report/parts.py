"""What the sections share: reading a run's files, and its claims."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_circuits import paths
from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from emotion_circuits.report.telling import Told

__all__ = ["claims_of", "read_json"]


def read_json(path: Path) -> Any:
    """A run's JSON file.

    Raises:
        EmotionCircuitsError: missing or damaged.
    """
    if not path.exists():
        raise EmotionCircuitsError(
            f"{path}: is missing; finish the run first (emotion-circuits run --out {path.parent})"
        )
    return paths.read_json(path)


def claims_of(claims: Iterable[Told], *prefixes: str) -> tuple[Told, ...]:
    """Claims whose id begins with one of the prefixes, prefix by prefix."""
    every = tuple(claims)
    return tuple(told for prefix in prefixes for told in every if told.claim["id"].startswith(prefix))
