"""A frozen study as data: what raters see (``design.json``) and what nobody may see before the analysis (``key.json``)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import hash_json
from emotion_circuits.prompts.loading import validation_messages
from emotion_circuits.sealing import read_sealed, write_sealed

__all__ = [
    "ARMS", "DESIGN", "FORMAT", "KEY", "NONE", "RIVALS", "Arm", "Assumed", "Design", "Form", "Hypothesis", "Item", "Key",
    "Planned", "Rules", "Secret", "Source", "Study", "open_study", "read_design", "write_study",
]  # fmt: skip

DESIGN, KEY = "design.json", "key.json"
FORMAT = 1
NONE = "none"
"""What a rater answers who reads none of the values."""
Arm = Literal["unsteered", "steered", "random", "prompted", "tuned"]
ARMS: tuple[Arm, ...] = ("unsteered", "steered", "random", "prompted", "tuned")
RIVALS: tuple[Arm, ...] = ("prompted", "tuned")
"""Other ways to bring a value about: whether steering does more or less than they is asked, and neither is assumed."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rules(_Record):
    """When a rater is left out; one rule that applies is enough. Declared before anybody has rated.

    Attributes:
        attention: most checks that may be answered otherwise than they ask.
        gold: least share of unmistakable texts that must be named rightly.
        repeat: largest mean difference of naturalness between two ratings of one text, in points.
        seconds: least median time per item.
        same: largest share of items with the same naturalness.
        answered: least share of the form that must be answered.
    """

    attention: int = Field(default=1, ge=0)
    gold: float = Field(default=0.5, ge=0, le=1)
    repeat: float = Field(default=2.0, ge=0)
    seconds: float = Field(default=2.0, ge=0)
    same: float = Field(default=0.95, ge=0, le=1)
    answered: float = Field(default=0.5, ge=0, le=1)


class Assumed(_Record):
    """What the power was computed for: what people are like, and the effect that is not to be missed.

    Attributes:
        base: share of unsteered texts in which a rater names the value.
        effect: how much larger that share is in steered texts.
        prompted: and in prompted ones, and in those of tuned weights.
        preference: how often the steered text of a pair is taken, ties counted half.
        intensity: mean intensity where the value is named, on the scale from 0 to 6.
        cost: by how much steered texts are less natural, in points of 7.
        rater: spread of raters on the logit of naming, and in points of naturalness.
        opening: the same of openings.
        text: the same of texts on one opening.
        careless: share of raters who answer at random.
    """

    base: float = Field(default=0.1, gt=0, lt=1)
    effect: float = Field(default=0.2, ge=0, lt=1)
    prompted: float = Field(default=0.2, ge=0, lt=1)
    preference: float = Field(default=0.65, ge=0.5, lt=1)
    intensity: float = Field(default=3.5, ge=0, le=6)
    cost: float = Field(default=0.0, ge=0)
    rater: float = Field(default=0.6, ge=0)
    opening: float = Field(default=0.5, ge=0)
    text: float = Field(default=0.5, ge=0)
    careless: float = Field(default=0.0, ge=0, le=1)


class Hypothesis(_Record):
    """What will be tested and how.

    Attributes:
        id: of the claim.
        kind: of the claim.
        value: meant.
        against: the arm that the steered texts are held against.
        side: that is claimed.
        smallest: distance that matters.
        test: how.
    """

    id: str
    kind: str
    value: str
    against: Arm
    side: Literal["greater", "less", "different"]
    smallest: float
    test: str


class Planned(_Record):
    """Power of one plan.

    Attributes:
        raters: how many.
        openings: how many.
        power: kind of claim → share of true hypotheses supported, over simulated studies analysed as this one will be.
        studies: simulated.
    """

    raters: int
    openings: int
    power: dict[str, float]
    studies: int


class Item(_Record):
    """One question of a page. Texts in one language stand under ``""``.

    Attributes:
        kind: ``single`` or ``pair``.
        opening: that the text goes on from.
        texts: one text, or the left and the right one, each by language.
        ask: the value that a pair is asked about; empty for single texts.
    """

    kind: Literal["single", "pair"]
    opening: str = ""
    texts: tuple[dict[str, str], ...]
    ask: str = ""


class Form(_Record):
    """What one rater gets, in order.

    Attributes:
        singles: ids of items.
        pairs: ids of items.
    """

    singles: tuple[str, ...]
    pairs: tuple[str, ...]

    @property
    def items(self) -> tuple[str, ...]:
        """All of it."""
        return (*self.singles, *self.pairs)


class Design(_Record):
    """A study, without anything that tells a condition.

    Attributes:
        format: of this file.
        name: opaque, of the study.
        seed: of every draw.
        attribute: studied.
        text_language: of the texts.
        values: asked about.
        labels: language → label (values and none) → what it is called on the page.
        words: language → name → sentence of the page: consent, instructions, scales, buttons.
        items: by id.
        forms: rater → form.
        arms: that the study has.
        missing: arms that it lacks, with the reason.
        openings: how many.
        hypotheses: all, in one family.
        rules: of exclusion.
        assumed: what power was computed for.
        power: per number of raters and openings.
        key: SHA-256 of the key.
    """

    format: Literal[1] = 1
    name: str
    seed: int
    attribute: str
    text_language: str
    values: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, dict[str, str]]
    words: dict[str, dict[str, str]]
    items: dict[str, Item]
    forms: dict[str, Form]
    arms: tuple[Arm, ...]
    missing: dict[str, str]
    openings: int
    hypotheses: tuple[Hypothesis, ...]
    rules: Rules
    assumed: Assumed
    power: tuple[Planned, ...]
    key: str

    @model_validator(mode="after")
    def _whole(self) -> Design:
        for rater, form in self.forms.items():
            if unknown := [i for i in form.items if i not in self.items]:
                raise ValueError(f"forms.{rater}: {unknown[0]!r} is no item")
        return self

    @property
    def answers(self) -> tuple[str, ...]:
        """What may be named: the values, and none."""
        return (*self.values, NONE)


class Source(_Record):
    """Where a text comes from.

    Attributes:
        arm: of the study.
        value: meant; empty for unsteered texts.
        condition: of the run.
        prompt_id: opening.
        sample: which of the texts on it.
        sha256: of the text.
        judges: judge → value → probability.
    """

    arm: Arm
    value: str
    condition: str
    prompt_id: str
    sample: int
    sha256: str
    judges: dict[str, dict[str, float]]


class Secret(_Record):
    """What an item is.

    Attributes:
        kind: of the item.
        texts: names of its texts, left one first.
        expected: answers that a check or an unmistakable text asks for.
        again: item that it repeats.
    """

    kind: Literal["single", "pair", "gold", "attention", "repeat"]
    texts: tuple[str, ...] = ()
    expected: dict[str, Any] = Field(default_factory=dict)
    again: str = ""


class Key(_Record):
    """What raters and whoever runs the study do not see.

    Attributes:
        format: of this file.
        run: folder that the texts come from.
        texts: by name.
        items: by id.
    """

    format: Literal[1] = 1
    run: str
    texts: dict[str, Source]
    items: dict[str, Secret]


class Study(BaseModel):
    """A design with its key."""

    model_config = ConfigDict(frozen=True)

    design: Design
    key: Key


T = TypeVar("T", bound=BaseModel)


def sha256(text: str) -> str:
    """Of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def key_sum(key: Key) -> str:
    """What a design holds of its key."""
    return hash_json(key.model_dump(mode="json"))


def write_study(study: Study, out: Path) -> None:
    """Write both files; the key for its owner's eyes only.

    Raises:
        EmotionCircuitsError: there is a study already, which ratings may belong to; or it cannot be written.
    """
    for name in (DESIGN, KEY):
        if (out / name).exists():
            raise EmotionCircuitsError(
                f"{out / name}: is there already, and ratings may belong to it; name another folder"
            )
    # The key first: a design without one could be rated and never be read.
    write_sealed(out / KEY, study.key.model_dump(mode="json"))
    (out / KEY).chmod(0o600)
    write_sealed(out / DESIGN, study.design.model_dump(mode="json"))


def _read(path: Path, record: type[T], remedy: str) -> T:
    if not path.is_file():
        raise EmotionCircuitsError(f"{path}: is missing; {remedy}")
    found = read_sealed(path, remedy)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise EmotionCircuitsError(f"{path}: is no such file of this version's 'human design'; {remedy}")
    try:
        return record.model_validate(found)
    except ValidationError as error:
        raise EmotionCircuitsError(f"{path}: {'; '.join(validation_messages(error)[:3])}") from error


def read_design(folder: Path) -> Design:
    """The design in a study's folder.

    Raises:
        EmotionCircuitsError: missing, damaged, changed since, or of another version.
    """
    return _read(folder / DESIGN, Design, "make one: emotion-circuits human design RUN --out DIR")


def open_study(folder: Path) -> Study:
    """Design and key.

    Raises:
        EmotionCircuitsError: as :func:`read_design`; or a key of another design.
    """
    design = read_design(folder)
    key = _read(folder / KEY, Key, "put the key that was written with the design back")
    if key_sum(key) != design.key:
        raise EmotionCircuitsError(
            f"{folder / KEY}: is not the key of {folder / DESIGN}; put the one back that was written with it"
        )
    return Study(design=design, key=key)
