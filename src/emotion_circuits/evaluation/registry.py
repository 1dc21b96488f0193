"""Evaluators by name: the built-in ones, the hub's, and a user's own (entry points ``emotion_circuits.evaluators``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import Evaluator
from emotion_circuits.evaluation.caching import Cached
from emotion_circuits.evaluation.hub import HUB_EVALUATORS, HubClassifier
from emotion_circuits.evaluation.japanese import MlaskSentiment
from emotion_circuits.evaluation.keywords import KeywordCounts
from emotion_circuits.evaluation.probes import AttributeClassifier, Politeness
from emotion_circuits.evaluation.sentiment import VaderSentiment
from emotion_circuits.prompts import load_attribute
from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE

__all__ = ["ENTRY_POINTS", "available_evaluators", "describe_evaluators", "evaluator", "register"]

ENTRY_POINTS = "emotion_circuits.evaluators"

Factory = Callable[..., Evaluator]


def _bundled_classifier(**options: Any) -> Evaluator:
    return AttributeClassifier(load_attribute(DEFAULT_ATTRIBUTE), **options)


_BUILT_IN: dict[str, tuple[Factory, str]] = {
    "vader": (VaderSentiment, "sentiment of English text by lexicon and rules; offline"),
    "emotion": (_bundled_classifier, f"values of {DEFAULT_ATTRIBUTE}, or none of them, by sentence embedding; offline"),
    "emotion-forced": (
        partial(_bundled_classifier, forced=True),
        "the same as a forced choice between their kinds of sentence; offline",
    ),
    "politeness": (Politeness, "polite / neutral / impolite by sentence embedding; offline"),
    "keywords": (KeywordCounts, "whole-word counts of emotion words; offline; option language"),
    "mlask": (MlaskSentiment, "Japanese sentiment by pattern matching; extra 'japanese'"),
}
_own: dict[str, tuple[Factory, str]] = {}


def register(name: str, factory: Factory, description: str = "") -> None:
    """Make an evaluator available by name in this process.

    Args:
        name: not yet taken.
        factory: called with the options of :func:`evaluator`.
        description: one line.

    Raises:
        EmotionCircuitsError: the name is taken.
    """
    if name in available_evaluators():
        raise EmotionCircuitsError(f"an evaluator named {name!r} exists already")
    _own[name] = (factory, description)


def available_evaluators() -> list[str]:
    """Every name :func:`evaluator` knows."""
    return sorted({*_BUILT_IN, *HUB_EVALUATORS, *_own, *(e.name for e in entry_points(group=ENTRY_POINTS))})


def describe_evaluators() -> dict[str, str]:
    """Name → one line."""
    lines = {name: line for name, (_, line) in _BUILT_IN.items()}
    lines |= {name: f"{spec.axis}: {spec.source} (Hugging Face)" for name, spec in HUB_EVALUATORS.items()}
    lines |= {e.name: f"{e.value} (entry point)" for e in entry_points(group=ENTRY_POINTS)}
    lines |= {name: line for name, (_, line) in _own.items()}
    return dict(sorted(lines.items()))


def evaluator(name: str, *, cache: bool = True, cache_root: Path | None = None, **options: Any) -> Evaluator:
    """An evaluator by name.

    Args:
        name: see :func:`available_evaluators`.
        cache: remember scores by (evaluator, version, text).
        cache_root: folder instead of the user's cache.
        **options: of the evaluator, e.g. ``language="ja"`` for ``keywords``; for hub evaluators ``source`` (a local
            copy), ``revision``, ``device``.

    Raises:
        EmotionCircuitsError: unknown name, or an evaluator that cannot be loaded.
    """
    factory: Factory
    if name in _own:
        factory = _own[name][0]
    elif name in _BUILT_IN:
        factory = _BUILT_IN[name][0]
    elif name in HUB_EVALUATORS:
        spec = HUB_EVALUATORS[name]

        def factory(**more: Any) -> Evaluator:
            return HubClassifier(spec, **more)

    else:
        points = {e.name: e for e in entry_points(group=ENTRY_POINTS)}
        if name not in points:
            raise EmotionCircuitsError(f"no evaluator named {name!r}; there are: {', '.join(available_evaluators())}")
        try:
            factory = points[name].load()
        except Exception as error:
            raise EmotionCircuitsError(
                f"evaluator {name!r} ({points[name].value}) cannot be loaded: {error}"
            ) from error
    try:
        made = factory(**options)
    except TypeError as error:
        raise EmotionCircuitsError(f"evaluator {name!r}: {error}") from error
    if not isinstance(made, Evaluator):
        raise EmotionCircuitsError(
            f"evaluator {name!r}: a {type(made).__name__} is no evaluator; it needs name, version, axis, score(texts) "
            "and decide(scores)"
        )
    return Cached(made, root=cache_root) if cache else made
