"""What is studied, as data: the values, the texts that express them, who judges them, and what they are called.

An attribute is a YAML file, bundled (``emotion-en``) or a user's own. Corpora in it are bundled sets or tables, whose
paths count from the attribute's file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, model_validator

from emotion_circuits.documents import read_document
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import path_of
from emotion_circuits.prompts.attribute_parts import (
    Asked,
    Chat,
    Classifier,
    Corpora,
    HubModel,
    Labelled,
    Openings,
    Part,
    Prompting,
)
from emotion_circuits.prompts.contrast import labels_of
from emotion_circuits.prompts.lexicon import lexicon
from emotion_circuits.prompts.loading import corpora_dir, corpus_file, explain, with_columns
from emotion_circuits.prompts.schema import composed

__all__ = ["DEFAULT_ATTRIBUTE", "Attribute", "available_attributes", "load_attribute"]

Value = Annotated[str, Field(pattern=r"^\w[\w-]*$"), AfterValidator(composed)]
"""A label: it becomes part of column names, of claims' ids and of conditions' names, which blanks and dots separate."""
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]

DEFAULT_ATTRIBUTE = "emotion-en"
"""What is studied where nothing else is asked for."""
_TAKEN = ("none", "random", "shuffled")
"""Names of arms and controls, which stand in the same columns as values."""
_ALWAYS = ("share", "probability", "words")
"""Metrics that every attribute has; each goes up with its value unless the attribute says otherwise."""


class Attribute(Part):
    """What a study is about.

    Attributes:
        name: short name, e.g. ``emotion-en``.
        title: what it is called, per language of reports; English at least.
        language: ISO 639-1 code of the texts.
        axis: what its judges judge; the judge of that name is its own classifier. By default its name.
        values: labels that are studied, in the order in which they are shown.
        reference: label of the sentences that every direction starts from; ``null``: each of the values, two at least, is
            compared with the mean of the others.
        corpora: labelled sentences.
        openings: beginnings of texts; without them steering is left out.
        pairs: minimal pairs for heads and circuits; without them that station is left out.
        lexicon: words that name each value: the language of a bundled lexicon, or the words themselves by value.
        judges: evaluators that score steered text; the first one decides, so it gives a probability for every value. Without
            any, steering is left out.
        classifier: how the attribute's own judge is fitted.
        asked: the judge of that name, a language model that is asked.
        hub: the judge of that name, a classifier of Hugging Face's library.
        validation: axis → labelled text its judges are tested on; by default the attribute's own axis on ``corpora.fit``.
        metrics: per metric and value, +1 where it should go up and −1 where it should go down: a judge that gives one
            number of its own name (``vader``), or ``share``, ``probability`` and ``words``, which go up by default.
        coordinates: ratings of the values (valence, arousal …), bundled or a JSON file; without them there is no map.
        words: language of reports → label → what it is called there.
        colours: label → its colour in figures, ``#RRGGBB``; others get the palette's.
        prompting: the baseline in words; without it steering has none.
        chat: requests and instructions; without them steering is not measured in chat.
    """

    name: Value
    title: dict[str, str]
    language: str = Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,8})?$")
    axis: Value
    values: tuple[Value, ...] = Field(min_length=1)
    reference: Value | None
    corpora: Corpora
    openings: Openings | None = None
    pairs: str | None = None
    lexicon: str | dict[str, tuple[str, ...]] | None = None
    judges: tuple[str, ...] = ()
    classifier: Classifier = Classifier()
    asked: Asked | None = None
    hub: HubModel | None = None
    validation: dict[str, Labelled] = Field(default_factory=dict)
    metrics: dict[str, dict[str, Literal[-1, 1]]] = Field(default_factory=dict)
    coordinates: str | None = None
    words: dict[str, dict[str, str]] = Field(default_factory=dict)
    colours: dict[str, Colour] = Field(default_factory=dict)
    prompting: Prompting | None = None
    chat: Chat | None = None

    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _axis_by_default(cls, given: Any) -> Any:
        given = _composed_keys(given)
        return {"axis": given["name"], **given} if isinstance(given, dict) and "name" in given else given

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("values: name each once, and not the reference")
        if self.reference is None and len(self.values) < 2:
            raise ValueError("reference: a single value needs one, the label of sentences that do not express it")
        if self.reference is None and self.classifier.none:
            raise ValueError(
                "classifier.none: texts that express none of the values are called the reference; name one"
            )
        if self.reference is None and self.hub is not None and self.hub.multi_label:
            raise ValueError("hub.multi_label: a text may be none of the values, which is the reference; name one")
        if taken := sorted(set(self.labels) & set(_TAKEN)):
            raise ValueError(f"values: {', '.join(taken)} would be taken for an arm of that name; choose another label")
        if "en" not in self.title:
            raise ValueError("title: needs English at least, e.g. title: {en: Politeness}")
        self._check_keys("values", self.values, self._by_value())
        self._check_keys("values and reference", self.labels, self._by_label())
        if self.chat is not None and (
            lacking := [label for label in self.labels if label not in self.chat.instructions]
        ):
            raise ValueError(f"chat.instructions: none for {', '.join(lacking)}; every label needs some")
        metrics = (*_ALWAYS, *self.judges)
        self._check_keys("judges, share, probability and words", metrics, {"metrics": self.metrics})
        return self

    def _by_value(self) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {f"metrics.{name}": sides for name, sides in self.metrics.items()}
        if isinstance(self.lexicon, dict):
            found["lexicon"] = self.lexicon
        if self.prompting is not None:
            found["prompting.instructions"] = self.prompting.instructions
            if isinstance(self.prompting.examples, dict):
                found["prompting.examples"] = self.prompting.examples
        return found

    def _by_label(self) -> dict[str, Mapping[str, Any]]:
        asked: dict[str, Mapping[str, Any]] = {} if self.asked is None else {"asked.answers": self.asked.answers}
        if self.chat is not None:
            asked["chat.instructions"] = self.chat.instructions
        return {"colours": self.colours, **asked, **{f"words.{code}": names for code, names in self.words.items()}}

    @staticmethod
    def _check_keys(what: str, known: Sequence[str], fields: Mapping[str, Mapping[str, Any]]) -> None:
        for field, given in fields.items():
            if unknown := [key for key in given if key not in known]:
                raise ValueError(f"{field}: {', '.join(unknown)} is none of the {what} ({', '.join(known)})")

    @property
    def labels(self) -> tuple[str, ...]:
        """The values, then the reference where there is one."""
        return labels_of(self.values, self.reference)

    @property
    def traced(self) -> str:
        """Corpus whose sentences are traced."""
        return self.corpora.trace or self.corpora.fit[0]

    @property
    def where(self) -> str:
        """Its file, or its name where it was not read from one: what messages begin with."""
        return f"attribute {self.name}" if self._file is None else str(self._file)

    def some(self, values: Sequence[str] | None) -> tuple[str, ...]:
        """Some of the values, in the order given; all where none are named.

        Raises:
            EmotionCircuitsError: none, one twice, the reference, one alone without a reference, or one that the attribute does
                not have.
        """
        if values is None:
            return self.values
        try:
            values = tuple(map(composed, values))
        except ValueError as error:
            raise EmotionCircuitsError(f"the name of an emotion {error}") from error
        least = 1 if self.reference is not None else 2
        if len(values) < least or len(set(values)) != len(values) or self.reference in values:
            raise EmotionCircuitsError(
                f"name at least one emotion, each once, and not {self.reference!r}, which is the reference"
                if self.reference is not None
                else "name at least two emotions, each once: without a reference each is compared with the others"
            )
        if unknown := [value for value in values if value not in self.values]:
            raise EmotionCircuitsError(
                f"{self.where} has {', '.join(self.values)}, not {', '.join(unknown)}; name an attribute that has them"
            )
        return tuple(values)

    def lexicon_words(self) -> dict[str, tuple[str, ...]] | None:
        """Value → words that name it; ``None`` without a lexicon.

        Raises:
            EmotionCircuitsError: no bundled lexicon of that language.
        """
        return lexicon(self.lexicon) if isinstance(self.lexicon, str) else self.lexicon

    def figure_judges(self) -> tuple[str, ...]:
        """Judges beside the first that give one number of their own name, which should move some way."""
        return tuple(name for name in self.judges[1:] if name in self.metrics and name not in _ALWAYS)

    def classifier_corpora(self) -> tuple[str, ...]:
        """Corpora its own judge is fitted on."""
        return self.classifier.fit or self.corpora.fit

    def labelled(self, axis: str) -> Labelled | None:
        """Labelled text for judges of an axis, with every label named; ``None`` where there is none."""
        found = self.validation.get(axis)
        if found is None:
            found = Labelled(sets=self.corpora.fit) if axis == self.axis else None
        if found is None or found.labels:
            return found
        return found.model_copy(update={"labels": {label: label for label in self.labels}})

    def terms(self, code: str) -> dict[str, str]:
        """What its labels are called in a language of reports."""
        return self.words.get(code, {})


def _composed_keys(given: Any) -> Any:
    """Keys are labels; what stands under them may be texts, which stay as they were written."""
    if isinstance(given, Mapping):
        return {composed(k) if isinstance(k, str) else k: _composed_keys(v) for k, v in given.items()}
    return given


def attributes_dir() -> Path:
    """Folder of the bundled attributes."""
    return Path(str(files("emotion_circuits.prompts") / "attributes"))


def available_attributes() -> list[str]:
    """Names of the bundled attributes."""
    return sorted(path.stem for path in attributes_dir().glob("*.yaml"))


def load_attribute(name_or_path: str | os.PathLike[str]) -> Attribute:
    """A bundled attribute, or the user's own.

    >>> load_attribute("emotion-en").labels
    ('gratitude', 'anger', 'apology', 'neutral')

    Args:
        name_or_path: a bundled name, or a path to a YAML file.

    Raises:
        EmotionCircuitsError: unknown name, unreadable YAML, unknown keys or impossible values, each named with its field.
    """
    name = os.fspath(name_or_path)
    if name in available_attributes():
        return _read(attributes_dir() / f"{name}.yaml")
    path = path_of(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise EmotionCircuitsError(
            f"{name}: neither a bundled attribute nor a .yaml file. Bundled attributes: {', '.join(available_attributes())}"
        )
    return _read(path)


def _read(path: Path) -> Attribute:
    content = read_document(path)
    if not isinstance(content, dict):
        raise EmotionCircuitsError(f"{path}: must hold keys and values, e.g. 'name: politeness-en'")
    try:
        attribute = Attribute.model_validate(content)
    except ValidationError as error:
        raise EmotionCircuitsError(f"{path}: " + "; ".join(explain(error, Attribute))) from error
    found = _placed(attribute, _from_folder(path.parent))
    found._file = path
    return found


def _from_folder(folder: Path) -> Callable[[str], str]:
    """From a corpus as it is named in a file to its path, where it is a file beside it and not a bundled set."""

    def place(name: str) -> str:
        bundled = corpora_dir() / name
        if bundled.is_dir() or bundled.with_name(f"{bundled.name}.jsonl").is_file():
            return name
        file = corpus_file(name)
        own = folder / file.path
        return with_columns(own.absolute(), dict(file.columns)) if own.is_file() else name

    return place


def _placed(attribute: Attribute, place: Callable[[str], str]) -> Attribute:
    def every(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(place(name) for name in names)

    corpora, openings, classifier = attribute.corpora, attribute.openings, attribute.classifier
    prompting = attribute.prompting
    if prompting is not None and isinstance(prompting.examples, str):
        prompting = prompting.model_copy(update={"examples": place(prompting.examples)})
    chat = attribute.chat
    if chat is not None:
        chat = chat.model_copy(update={name: place(getattr(chat, name)) for name in ("fit", "choose", "report")})
    return attribute.model_copy(
        update={
            "chat": chat,
            "corpora": Corpora(fit=every(corpora.fit), trace=None if corpora.trace is None else place(corpora.trace)),
            "openings": None
            if openings is None
            else Openings(
                choose=place(openings.choose),
                report=place(openings.report),
                held=None if openings.held is None else place(openings.held),
            ),
            "classifier": classifier.model_copy(
                update={name: every(getattr(classifier, name)) for name in ("fit", "none", "choose")}
            ),
            "pairs": None if attribute.pairs is None else place(attribute.pairs),
            "coordinates": None if attribute.coordinates is None else place(attribute.coordinates),
            "validation": {
                axis: labelled.model_copy(update={"sets": every(labelled.sets)})
                for axis, labelled in attribute.validation.items()
            },
            "prompting": prompting,
        }
    )
