"""How claims become the answers to the five questions: data in, sentences out.

Every claim belongs to one aspect of one question (of several that it fits, the one that asks for most), so that none is left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from emotion_circuits.language import gap, say, term
from emotion_circuits.page.page import Answer, Evidence
from emotion_circuits.page.telling import Told, beside, counted, figure_words
from emotion_circuits.page.words import Aspect
from emotion_circuits.report.asked import QUESTIONS, Question
from emotion_circuits.statistics import Claim

__all__ = ["answer_questions", "lead_claim"]

_SENTENCES = 3
"""An answer is short: what further aspects say stands in the table below it."""


def answer_questions(claims: Sequence[Told], run: str, aspects: Sequence[Aspect]) -> tuple[Answer, ...]:
    """The five questions, answered from a run's claims.

    Args:
        claims: all there are, those of an alignment among them.
        run: the run's folder, for the commands of what was not studied.
        aspects: what claims answer, in the order they are told.
    """
    groups: dict[int, list[Told]] = {}
    for told in claims:
        fitting = [i for i, aspect in enumerate(aspects) if aspect.fits(told.claim)]
        if fitting:
            groups.setdefault(max(fitting, key=lambda i: len(aspects[i].where)), []).append(told)
    answers = []
    for question in QUESTIONS:
        own = [
            (aspect, groups[i]) for i, aspect in enumerate(aspects) if aspect.question == question.key and i in groups
        ]
        answers.append(_answer(question, own, run))
    return tuple(answers)


def lead_claim(claims: Sequence[Told]) -> Told:
    """The claim whose figure stands for its group: supported ones first, then the one furthest beyond its reference.

    Furthest is counted in widths of its interval, so that figures of different units can be compared.
    """
    return max(claims, key=lambda told: (told.claim.verdict == "supported", told.claim.figures.clearness))


def _answer(question: Question, groups: Sequence[tuple[Aspect, list[Told]]], run: str) -> Answer:
    rows = tuple(_row(aspect, own) for aspect, own in groups)
    sentences = [_sentence(aspect, own) for aspect, own in groups if aspect.some][:_SENTENCES]
    text = say(question.text)
    if not rows:
        return Answer(question.key, text, say(question.unstudied), (), question.command.format(run=shlex.quote(run)))
    return Answer(question.key, text, _joined(sentences), rows)


def _joined(sentences: Sequence[str]) -> str:
    return gap().join(sentences)


def _sentence(aspect: Aspect, own: Sequence[Told]) -> str:
    supported = [t for t in own if t.claim.verdict == "supported"]
    template = aspect.some if supported else aspect.none
    if aspect.ruled_out and all(t.claim.verdict == "not supported" for t in own):
        template = aspect.ruled_out
    lead = lead_claim(own)
    names = list(dict.fromkeys(_name(aspect, t) for t in supported))
    return say(
        template,
        supported=len(supported),
        total=len(own),
        names=say(", ").join(names),
        figure=figure_words(lead),
        beside=beside(lead),
    )


def _row(aspect: Aspect, own: Sequence[Told]) -> Evidence:
    lead = lead_claim(own)
    return Evidence(
        say(aspect.name),
        aspect.anchor,
        tuple(counted(t.claim for t in own)),
        figure_words(lead),
        say("{name}: {unit}", name=_words(lead.claim), unit=lead.unit) if len(own) > 1 else lead.unit,
        beside(lead) + (f" ({lead.null})" if lead.null else ""),
    )


def _name(aspect: Aspect, told: Told) -> str:
    return term(str(getattr(told.claim.about, aspect.names))) if aspect.names else _words(told.claim)


def _words(claim: Claim) -> str:
    """What a claim speaks about."""
    return " ".join(term(name) for name in claim.about.names())
