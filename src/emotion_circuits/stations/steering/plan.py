"""Which openings are written on, and which conditions are tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import N_
from emotion_circuits.model.layers import check_layers
from emotion_circuits.prompts import Prompt, evenly, load_prompts
from emotion_circuits.prompts.attribute_parts import Chat
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering import NONE, Condition, grid
from emotion_circuits.steering.finding import Place

__all__ = [
    "arms_at",
    "chosen_on",
    "fitted_on",
    "lacks",
    "null_openings",
    "openings",
    "other_openings",
    "raw_arms",
    "reported_corpus",
    "steering_arms",
    "steering_layers",
    "ways_of_asking",
]

_MANNER: dict[str, dict[str, Any]] = {
    "add": {"positions": "rest"},
    "clamp": {"operation": "clamp", "origin": "neutral", "positions": "rest"},
}
"""Fields of the grid's conditions by ``steering.operation``."""


AT_MOST = {"validation": 62, "test": 36}
"""Openings that are taken where no number is asked for: all there are up to these."""
LEAST = 8
"""Openings without which nothing is chosen or reported."""
NO_OPENINGS = N_("{attribute} names no openings of texts")
NO_REQUESTS = N_("{attribute} names no requests and instructions for chat")
NO_JUDGE = N_("{attribute} has no judge of what is written in its language ({language})")
FEW = N_("{corpus} has {found} openings for the {split} split, steering needs {least}")

HELD = "held"
"""``steering.test_openings`` may name the attribute's held openings so, whatever their corpus is called."""


def reported_corpus(config: StudySettings) -> str:
    """Corpus whose test split steering is reported on."""
    asked, known = config.of(SteeringSettings).test_openings, studied(config).attribute.openings
    if config.of(SteeringSettings).chat:
        return _chat(config).report
    if known is None or asked not in (None, HELD):
        assert asked is not None
        return asked
    return (known.held if asked == HELD else None) or known.report


def _chat(config: StudySettings) -> Chat:
    found = studied(config).attribute.chat
    assert found is not None
    return found


def chosen_on(config: StudySettings) -> str | None:
    """Corpus that conditions are chosen on: openings, or requests of chat; ``None`` where there is none."""
    return _chat(config).choose if config.of(SteeringSettings).chat else studied(config).choose


def ways_of_asking(config: StudySettings) -> int:
    """How many instructions each label has in chat."""
    return len(next(iter(_chat(config).instructions.values())))


def fitted_on(config: StudySettings) -> list[Prompt]:
    """The requests on whose replies directions are fitted."""
    return load_prompts(_chat(config).fit, split="train")


def lacks(config: StudySettings) -> NotMeasured | None:
    """Openings of texts, enough of them, and a judge of what is written."""
    about = studied(config)
    attribute, values = about.attribute, {"attribute": about.attribute.name}
    own = config.of(SteeringSettings)
    if own.chat and attribute.chat is None:
        return NotMeasured(reason=NO_REQUESTS, values=values)
    if not own.chat and attribute.openings is None and (about.choose is None or own.test_openings is None):
        return NotMeasured(reason=NO_OPENINGS, values=values)
    if not attribute.judges:
        return NotMeasured(reason=NO_JUDGE, values={**values, "language": attribute.language})
    for split, asked in (("validation", own.validation_prompts), ("test", own.test_prompts)):
        found = len(openings(config, split))
        if asked is None and found < LEAST:
            of = {"corpus": reported_corpus(config) if split == "test" else str(chosen_on(config)), "found": str(found)}
            return NotMeasured(reason=FEW, values={**of, "split": split, "least": str(LEAST)})
    return None


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
    fitted on openings. Of chat they are requests, and those of the train split are what directions are fitted on.

    Raises:
        EmotionCircuitsError: the corpus has fewer than asked for.
    """
    s = config.of(SteeringSettings)
    asked = wanted if wanted is not None else s.validation_prompts if split == "validation" else s.test_prompts
    choose = chosen_on(config)
    assert choose is not None
    corpus = reported_corpus(config) if split == "test" else choose
    rows = load_prompts(corpus, split=split)
    extra = load_prompts(choose, split="train") if split == "validation" and not s.chat else []
    count = min(AT_MOST[split], len(rows) + len(extra)) if asked is None else asked
    if len(rows) + len(extra) < count:
        raise EmotionCircuitsError(
            f"steering.{split}_prompts: {count} asked for, {corpus} has {len(rows) + len(extra)} for it"
        )
    return [*evenly(rows, count), *evenly(extra, count - len(rows))]


def other_openings(config: StudySettings) -> list[Prompt]:
    """Test openings for texts that are not those of the steering report: of the corpus that is chosen on, where it has some."""
    choose = studied(config).choose
    assert choose is not None
    return load_prompts(choose, split="test") or load_prompts(reported_corpus(config), split="test")


def null_openings(config: StudySettings) -> list[Prompt]:
    """The test openings that random and label-shuffled directions are written on, in the order of the test."""
    every, wanted = openings(config, "test"), config.of(SteeringSettings).null_prompts
    return every if wanted is None else evenly(every, min(wanted, len(every)))


def steering_arms(config: StudySettings, n_layers: int) -> list[Condition]:
    """The grid of given strengths in normalised units, and beside it the one in raw units where it is asked for."""
    s, values = config.of(SteeringSettings), studied(config).values
    layers, manner = steering_layers(config, n_layers), _MANNER[s.operation]
    found = [NONE]
    for sink in s.sinks:
        found += grid(values, layers, s.alphas or (), prefix=_prefix(sink), first=sink, **manner)[1:]
    return [*found, *raw_arms(config, n_layers)]


def raw_arms(config: StudySettings, n_layers: int) -> list[Condition]:
    """The grid in raw units, where it is asked for."""
    s, values = config.of(SteeringSettings), studied(config).values
    raw = steering_layers(config, n_layers, raw=True)
    return grid(values, raw, s.raw_alphas, prefix="raw ", units="raw")[1:] if raw else []


def arms_at(config: StudySettings, places: Sequence[Place], values: Sequence[str]) -> list[Condition]:
    """Every value at every place, with :data:`NONE` in front."""
    manner, found = _MANNER[config.of(SteeringSettings).operation], [NONE]
    for place in places:
        found += grid(values, [place.layers], [place.alpha], prefix=_prefix(place.first), first=place.first, **manner)[
            1:
        ]
    return found


def _prefix(sink: float) -> str:
    return f"sink {sink:g} " if sink else ""
