"""What a station declares about its claims: the words for each kind, and which question each kind answers.

Sentences are English, and made through :func:`emotion_circuits.language.say`, so that a catalogue can give them in another
language; numbers come from the claim's figures. Nothing is read back out of a sentence or an id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from emotion_circuits.statistics import Claim

__all__ = ["Aspect", "Kind", "Words", "place_of"]


@dataclass(frozen=True)
class Words:
    """The words for one claim.

    Attributes:
        statement: one sentence.
        unit: of the estimate.
        counted: what ``n`` counts.
        null: what the null is.
        notes: sentences behind the reason for the verdict.
        chance: what ``chance`` is, where it isn't a chance level.
    """

    statement: str
    unit: str
    counted: str
    null: str = ""
    notes: tuple[str, ...] = ()
    chance: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of claim.

    Attributes:
        name: ``station.kind``, as in :attr:`emotion_circuits.statistics.Claim.kind`.
        words: its words, in the language that is spoken.
    """

    name: str
    words: Callable[[Claim], Words]


@dataclass(frozen=True)
class Aspect:
    """Claims that answer one of the questions together.

    Aspects with a sentence are told, the others stand in the table below the answer. Those that say it plainly decide the answer.

    Attributes:
        question: key of the question.
        name: what was asked, in a few words.
        kinds: of the claims.
        anchor: of the section that shows them.
        where: fields of :class:`emotion_circuits.statistics.About` and the values they must have; of several aspects that a
            claim fits, the one that asks for most has it.
        some: said where at least one is supported; may name ``{supported} {total} {names} {figure} {beside}``.
        none: said where none is supported.
        ruled_out: said where every one is not supported; else ``none``.
        names: the field that names a claim; all that tell it from others by default.
        plainly: the same without a figure, where at least one is supported; may name ``{names}``.
        otherwise: where none is supported.
        condition: what the others must keep, such as fluency; where nothing else is supported, it answers nothing.
    """

    question: str
    name: str
    kinds: tuple[str, ...]
    anchor: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    some: str = ""
    none: str = ""
    ruled_out: str = ""
    names: str = ""
    plainly: str = ""
    otherwise: str = ""
    condition: bool = False

    def fits(self, claim: Claim) -> bool:
        """Whether a claim belongs to it."""
        return claim.kind in self.kinds and all(
            getattr(claim.about, key) in wanted for key, wanted in self.where.items()
        )

    def sentences(self) -> tuple[str, ...]:
        """All that it may say, for catalogues."""
        return tuple(
            text for text in (self.name, self.some, self.none, self.ruled_out, self.plainly, self.otherwise) if text
        )


def place_of(claim: Claim, aspects: Sequence[Aspect]) -> int | None:
    """Place of the one aspect that a claim belongs to: of several that it fits, the one that asks for most.

    Args:
        claim: what belongs somewhere.
        aspects: all there are.

    Returns:
        ``None`` where it fits none.
    """
    fitting = [place for place, aspect in enumerate(aspects) if aspect.fits(claim)]
    return max(fitting, key=lambda place: len(aspects[place].where), default=None)
