"""The generators of planted models by name."""

from __future__ import annotations

from collections.abc import Sequence

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.planted.distributed import Distributed
from emotion_circuits.planted.models import Generator
from emotion_circuits.planted.staged import Staged
from emotion_circuits.planted.superposed import Superposed
from emotion_circuits.planted.trained import Trained

__all__ = ["GENERATORS", "generators_of"]

GENERATORS: dict[str, Generator] = {made.name: made for made in (Staged(), Distributed(), Superposed(), Trained())}
"""Name → generator."""


def generators_of(asked: Sequence[str | Generator]) -> list[Generator]:
    """Generators by name; those that are generators already stay.

    Raises:
        EmotionCircuitsError: a name that none has, or the same one twice.
    """
    if unknown := [name for name in asked if isinstance(name, str) and name not in GENERATORS]:
        raise EmotionCircuitsError(f"no generator is called {unknown[0]!r}; there are {', '.join(GENERATORS)}")
    found = [GENERATORS[entry] if isinstance(entry, str) else entry for entry in asked]
    if len({generator.name for generator in found}) < len(found):
        raise EmotionCircuitsError("every generator is asked for once")
    return found
