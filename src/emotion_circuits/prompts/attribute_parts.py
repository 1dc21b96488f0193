"""The parts of an attribute: its corpora, its openings, its own judge, labelled text, and the baseline in words."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["SHOTS", "Asked", "Chat", "Classifier", "Corpora", "HubModel", "Labelled", "Openings", "Part", "Prompting"]

SHOTS = 4
"""Training sentences of a corpus that few-shot prompting shows."""


class Part(BaseModel):
    """Frozen, without keys that it does not know; a lone text will do where a list is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _lone_values(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        lists = {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is tuple}
        return {key: (value,) if key in lists and isinstance(value, str) else value for key, value in given.items()}


def _with_places(template: str, wanted: Sequence[str]) -> str:
    """The template itself, or ``ValueError`` where it cannot be filled in."""
    needed = f"needs the places {', '.join(f'{{{place}}}' for place in wanted)} and no others"
    try:
        places = [place for place in Formatter().parse(template) if place[1] is not None]
    except ValueError as error:
        raise ValueError(f"{needed}; a brace that is part of the text is written twice ({error})") from None
    if {name for _, name, _, _ in places} != set(wanted) or any(how or turned for _, _, how, turned in places):
        raise ValueError(needed)
    return template


class Corpora(Part):
    """Labelled sentences.

    Attributes:
        fit: corpora whose sentences directions are fitted, chosen and tested on.
        trace: corpus whose sentences are traced, by default the first of ``fit``. Attention to words is asked for where the
            words that name a value are marked in it.
    """

    fit: tuple[str, ...] = Field(min_length=1)
    trace: str | None = None


class Openings(Part):
    """Beginnings of texts that express none of the values.

    Attributes:
        choose: corpus on which conditions are chosen; means of first tokens are taken over its train split.
        report: corpus on whose test split the choice is reported.
        held: a further corpus kept for reports that are to be made once; ``report`` where there is none.
    """

    choose: str
    report: str
    held: str | None = None


class Classifier(Part):
    """How the attribute's own judge is fitted.

    Attributes:
        fit: corpora with all labels; by default those directions are fitted on.
        none: corpora whose texts express none of the values, whatever their own labels.
        choose: labelled texts of the kind it will judge, whose validation split chooses its strength of regularisation; by
            default that of ``fit`` and ``none``.
        features: what of a text it is fitted on: ``sentence``, an English sentence embedding, or ``states:MODEL``, the states
            of a language model's middle layer (``MODEL`` is anything that can be loaded). By default ``sentence`` for English.
    """

    fit: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    choose: tuple[str, ...] = ()
    features: str | None = Field(default=None, pattern=r"^(sentence|states:.+)$")


class Labelled(Part):
    """Labelled text on which judges of one axis are tested.

    Attributes:
        sets: corpora; their test splits are judged.
        labels: label of a text → what the axis calls it; labels left out are not on the axis. By default the labels are the
            axis' own.
    """

    sets: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)


class Asked(Part):
    """The judge ``asked``: a language model that is asked for the label.

    Attributes:
        model: anything that can be loaded.
        question: with the places ``{text}`` and ``{labels}``; it ends where the answer begins.
        answers: label → the word that answers so, in the question's language; every value and the reference.
    """

    model: str
    question: str
    answers: dict[str, str]

    @field_validator("question")
    @classmethod
    def _asks(cls, question: str) -> str:
        return _with_places(question, ("text", "labels"))


class HubModel(Part):
    """The judge ``hub``: a text classifier of Hugging Face's library.

    Attributes:
        source: hub id or folder.
        labels: the model's label → value or reference; labels left out are none of them.
        multi_label: each label has a probability of its own.
        revision: hub branch, tag or commit.
        languages: that it was trained to judge.
    """

    source: str
    labels: dict[str, str] = Field(min_length=1)
    multi_label: bool = False
    revision: str = "main"
    languages: tuple[str, ...] = Field(min_length=1)


class Prompting(Part):
    """The baseline in words: asking for a value instead of adding a direction.

    Attributes:
        plain: the request without a value.
        instructions: per value, the request for it.
        examples: corpus whose training sentences are shown in few-shot prompting, or per value the sentences themselves.
        few_shot: the request with ``{examples}``, one a line; ``{instruction}`` is the value's own.
        chat: the user's turn where the model has a chat template, of ``{instruction}`` and ``{text}``.
    """

    plain: str
    instructions: dict[str, str]
    examples: str | dict[str, tuple[str, ...]]
    few_shot: str
    chat: str

    @field_validator("few_shot", "chat")
    @classmethod
    def _places(cls, template: str, info: Any) -> str:
        return _with_places(
            template, ("examples", "instruction") if info.field_name == "few_shot" else ("instruction", "text")
        )


class Chat(Part):
    """Chat: requests that lean to no value, and the contrasting instructions under which a model answers them.

    Attributes:
        fit: corpus of requests; on those of its train split a model writes the replies that directions are fitted on.
        choose: corpus on whose validation split conditions are chosen.
        report: corpus on whose test split the choice is reported.
        instructions: per label, several ways to ask for it; without a reference the values alone.
        ask: the user's turn, of ``{request}`` and ``{instruction}``.
    """

    fit: str
    choose: str
    report: str
    instructions: dict[str, tuple[str, ...]] = Field(min_length=1)
    ask: str = "{request}\n\n{instruction}"

    @model_validator(mode="after")
    def _as_many_of_each(self) -> Chat:
        counts = {label: len(ways) for label, ways in self.instructions.items()}
        if len(set(counts.values())) > 1 or not min(counts.values()):
            told = ", ".join(f"{label} {count}" for label, count in counts.items())
            raise ValueError(f"instructions: every label needs equally many, one at least; there are: {told}")
        return self

    @field_validator("ask")
    @classmethod
    def _asks(cls, template: str) -> str:
        return _with_places(template, ("request", "instruction"))

    def prompting(self, way: int, reference: str | None, few_shot: Prompting | None) -> Prompting:
        """The instructions of one way as the phrases that prompting arms ask with.

        Args:
            way: which of the instructions.
            reference: label of replies that express no value.
            few_shot: the attribute's baseline in words, for the sentences that it shows.
        """
        return Prompting(
            plain="" if reference is None else self.instructions[reference][way],
            instructions={label: ways[way] for label, ways in self.instructions.items() if label != reference},
            examples={} if few_shot is None else few_shot.examples,
            few_shot="{instruction}\n{examples}" if few_shot is None else few_shot.few_shot,
            chat=self.ask.replace("{request}", "{text}"),
        )
