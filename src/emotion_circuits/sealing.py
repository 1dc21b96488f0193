"""JSON that carries its own sum: what tells of other files, and so can be vouched for by none of them.

One flipped bit in a note may leave JSON that reads well and says something else (another seed, another sum). The seal is the
hash of everything else in the file; it is written and replaced with it, so that a kill leaves one whole file or the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import hash_json, read_json, write_json

__all__ = ["SEAL", "broken", "read_sealed", "unsealed", "write_sealed"]

SEAL = "seal"


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write an object with its seal, atomically.

    Raises:
        EmotionCircuitsError: it cannot be written.
    """
    plain = json.loads(json.dumps(value, allow_nan=False))
    write_json(path, {**plain, SEAL: hash_json(plain)})


def unsealed(found: Any) -> Any:
    """What was sealed."""
    return {key: value for key, value in found.items() if key != SEAL} if isinstance(found, dict) else found


def broken(found: Any) -> bool:
    """Whether it carries a seal and is not what was sealed.

    Example:
        >>> broken({"seed": 1, "seal": hash_json({"seed": 1})}), broken({"seed": 2, "seal": hash_json({"seed": 1})})
        (False, True)
    """
    return isinstance(found, dict) and SEAL in found and found[SEAL] != hash_json(unsealed(found))


def read_sealed(path: Path, remedy: str) -> Any:
    """What a file of :func:`write_sealed` holds, without its seal; one that has none passes as it is.

    Args:
        path: the file.
        remedy: what to do where it is not what was written, in words that follow a semicolon.

    Raises:
        EmotionCircuitsError: it cannot be read, is damaged, or was changed.
    """
    try:
        found = read_json(path)
    except EmotionCircuitsError as error:
        raise EmotionCircuitsError(f"{error}; {remedy}") from error
    if broken(found):
        raise EmotionCircuitsError(f"{path}: was changed after it was written (it differs from its own seal); {remedy}")
    return unsealed(found)
