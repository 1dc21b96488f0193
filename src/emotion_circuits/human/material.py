"""The words of raters' pages, as data of the study."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from emotion_circuits.documents import parse_yaml
from emotion_circuits.human.records import NONE
from emotion_circuits.language import speaking, term
from emotion_circuits.prompts import Attribute

__all__ = ["INTENSITY", "LANGUAGES", "NATURALNESS", "labels_of", "material"]

LANGUAGES = ("en", "ja")
"""That pages are in, whatever the texts are in."""
INTENSITY = tuple(range(7))
"""From not at all to extremely."""
NATURALNESS = tuple(range(1, 8))
"""From not at all natural to entirely natural."""


@cache
def material() -> dict[str, dict[str, str]]:
    """Language → name → sentence."""
    found = parse_yaml(files("emotion_circuits.human").joinpath("material.yaml").read_text(encoding="utf-8"))
    return {code: {str(name): str(text) for name, text in words.items()} for code, words in found.items()}


def labels_of(attribute: Attribute, values: Sequence[str]) -> dict[str, dict[str, str]]:
    """Language → value or none → what it is called.

    Args:
        attribute: whose words.
        values: asked about.
    """
    found = {}
    for code in LANGUAGES:
        with speaking(code, attribute.terms(code)):
            found[code] = {v: term(v) for v in values} | {NONE: material()[code]["none"]}
    return found
