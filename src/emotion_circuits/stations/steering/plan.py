"""Which openings are written on, and which conditions are tried."""

from __future__ import annotations

from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.layers import check_layers
from emotion_circuits.prompts import Prompt, evenly, load_prompts
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering import NONE, Condition, grid

__all__ = ["null_openings", "openings", "reported_corpus", "steering_arms", "steering_layers"]

_MANNER: dict[str, dict[str, Any]] = {
    "add": {"positions": "rest"},
    "clamp": {"operation": "clamp", "origin": "neutral", "positions": "rest"},
}
"""Fields of the grid's conditions by ``steering.operation``."""


HELD = "held"
"""``steering.test_openings`` may name the attribute's held openings so, whatever their corpus is called."""


def reported_corpus(config: StudySettings) -> str:
    """Corpus whose test split steering is reported on."""
    asked, known = config.of(SteeringSettings).test_openings, studied(config).attribute.openings
    if asked == HELD:
        asked = known.held
    return asked or known.report


def steering_layers(config: StudySettings, n_layers: int, *, raw: bool = False) -> tuple[int | tuple[int, ...], ...]:
    """Layers, or groups of layers: relative depths become the nearest layer, whole numbers are taken as they are.

    Args:
        config: of the study.
        n_layers: of the model.
        raw: those of the grid in raw units.

    Raises:
        EmotionCircuitsError: a layer the model does not have.
    """

    def number(layer: float) -> int:
        return round(layer * (n_layers - 1)) if layer < 1 else int(layer)

    own = config.of(SteeringSettings)
    asked = own.raw_layers if raw else own.layers
    check_layers("steering.raw_layers" if raw else "steering.layers", asked, n_layers)
    found: list[int | tuple[int, ...]] = []
    for group in asked:
        if isinstance(group, tuple):
            members = tuple(sorted({number(layer) for layer in group}))
            found.append(members if len(members) > 1 else members[0])
        else:
            found.append(number(group))
    return tuple(dict.fromkeys(found))


def openings(config: StudySettings, split: str, wanted: int | None = None) -> list[Prompt]:
    """The neutral openings on which a study chooses (``validation``) or reports (``test``, of ``steering.test_openings``).

    Choosing takes openings of the train split too where more are asked for than the validation split holds: nothing is
    fitted on openings.

    Raises:
        EmotionCircuitsError: the corpus has fewer than asked for.
    """
    s = config.of(SteeringSettings)
    count = wanted if wanted is not None else s.validation_prompts if split == "validation" else s.test_prompts
    choose = studied(config).choose
    corpus = reported_corpus(config) if split == "test" else choose
    rows = load_prompts(corpus, split=split)
    extra = load_prompts(choose, split="train") if split == "validation" else []
    if len(rows) + len(extra) < count:
        raise EmotionCircuitsError(
            f"steering.{split}_prompts: {count} asked for, {corpus} has {len(rows) + len(extra)} for it"
        )
    return [*evenly(rows, count), *evenly(extra, count - len(rows))]


def null_openings(config: StudySettings) -> list[Prompt]:
    """The test openings that random and label-shuffled directions are written on, in the order of the test."""
    every, wanted = openings(config, "test"), config.of(SteeringSettings).null_prompts
    return every if wanted is None else evenly(every, min(wanted, len(every)))


def steering_arms(config: StudySettings, n_layers: int) -> list[Condition]:
    """The grid in normalised units, and beside it the one in raw units where it is asked for."""
    s, values = config.of(SteeringSettings), studied(config).values
    layers, manner = steering_layers(config, n_layers), _MANNER[s.operation]
    found = [NONE]
    for sink in s.sink:
        prefix = f"sink {sink:g} " if sink else ""
        found += grid(values, layers, s.alphas, prefix=prefix, first=sink, **manner)[1:]
    raw = steering_layers(config, n_layers, raw=True)
    if raw:
        found += grid(values, raw, s.raw_alphas, prefix="raw ", units="raw")[1:]
    return found
