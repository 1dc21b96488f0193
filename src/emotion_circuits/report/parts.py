"""What the sections share: reading a run's files, and its claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["claims_of", "read_json"]


def read_json(path: Path) -> Any:
    """A run's JSON file.

    Raises:
        EmotionCircuitsError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EmotionCircuitsError(
            f"{path}: is missing; finish the run first (emotion-circuits run --out {path.parent})"
        ) from error
    except ValueError as error:
        raise EmotionCircuitsError(f"{path}: is damaged: {error}") from error


def claims_of(claims: list[dict[str, Any]], prefix: str) -> tuple[dict[str, Any], ...]:
    """Claims whose id begins with a prefix."""
    return tuple(c for c in claims if c["id"].startswith(prefix))
