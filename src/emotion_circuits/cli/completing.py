"""Values the shell offers on the tab key. Constants: loading the package for them would take seconds."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["EMOTIONS", "MODELS", "PROFILES", "offering"]

PROFILES = ("quick", "plan", "baseline", "extended")
MODELS = ("smollm2-135m", "gemma3-270m")
EMOTIONS = ("gratitude", "anger", "apology")


def offering(values: tuple[str, ...]) -> Callable[[str], list[str]]:
    """A completion of an option that often is one of ``values``, and may be anything else."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete
