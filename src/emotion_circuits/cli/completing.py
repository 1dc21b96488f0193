"""Values the shell offers on the tab key, known without loading the package, which would take seconds."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

__all__ = ["MODELS", "PROFILES", "attributes", "offering", "values"]

PROFILES = ("quick", "plan", "chat", "baseline", "extended")
MODELS = ("smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")


def attributes() -> tuple[str, ...]:
    """Names of the bundled attributes."""
    folder = files("emotion_circuits") / "prompts" / "attributes"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def values() -> tuple[str, ...]:
    """Values of the bundled attributes."""
    from emotion_circuits.documents import read_document

    folder = Path(str(files("emotion_circuits"))) / "prompts" / "attributes"
    found = [read_document(folder / f"{name}.yaml")["values"] for name in attributes()]
    return tuple(dict.fromkeys(value for own in found for value in own))


def offering(known: tuple[str, ...] | Callable[[], tuple[str, ...]]) -> Callable[[str], list[str]]:
    """A completion of an option that often is one of the ``known`` values, and may be anything else."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in (known() if callable(known) else known) if value.startswith(incomplete)]

    return complete
