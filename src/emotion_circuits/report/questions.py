"""How claims become the answers to the five questions: data in, sentences out.

Every claim belongs to one aspect of one question (of several that it fits, the one that asks for most), so that none is left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from emotion_circuits.language import N_, gap, say, term
from emotion_circuits.page.abreast import Strip
from emotion_circuits.page.page import Answer, Evidence, Section, Texts
from emotion_circuits.page.telling import Told, beside, counted, figure_words
from emotion_circuits.page.words import Aspect, place_of
from emotion_circuits.report.asked import QUESTIONS, Question
from emotion_circuits.statistics import Claim

__all__ = ["answer_questions", "lead_claim", "with_texts"]

YES, PARTLY, OPEN, NO = N_("yes"), N_("partly"), N_("inconclusive"), N_("no")
"""Verdicts of an answer."""
_NAMED = 6
"""Names that a plain sentence bears."""

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
        place = place_of(told.claim, aspects)
        if place is not None:
            groups.setdefault(place, []).append(told)
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
    deciding = [(aspect, own) for aspect, own in groups if aspect.plainly]
    return Answer(
        question.key,
        text,
        _joined(sentences),
        rows,
        verdict=_verdict(deciding),
        gist=_gist(_in_turn(deciding)),
        strips=tuple(strip for aspect, own in deciding for strip in _strips(aspect, own)),
    )


def with_texts(answers: Sequence[Answer], sections: Sequence[Section], rows: int = 3) -> tuple[Answer, ...]:
    """The answers, each with a few of the texts that are shown in a section it links to; no text stands in two answers.

    Args:
        answers: of :func:`answer_questions`.
        sections: of the page.
        rows: how many texts.
    """
    shown = {s.anchor: part for s in reversed(sections) for part in reversed(s.parts) if isinstance(part, Texts)}
    found = []
    for answer in answers:
        anchor = next((row.anchor for row in answer.evidence if row.anchor in shown), None)
        texts = shown.pop(anchor) if anchor is not None else None
        found.append(answer if texts is None else replace(answer, texts=texts.few(rows)))
    return tuple(found)


def _verdict(deciding: Sequence[tuple[Aspect, list[Told]]]) -> str:
    """Whether what decides is supported of all that was asked about, of some, or of nothing.

    A condition that is kept while nothing is shown to happen is no part of a yes: unsteered text is fluent, too.
    """
    if not deciding:
        return ""
    if all(_held(own) == 1 for _, own in deciding):
        return YES if any(not aspect.condition for aspect, _ in deciding) else OPEN
    if any(_held(own) for aspect, own in deciding if not aspect.condition):
        return PARTLY
    asked = [own for aspect, own in deciding if not aspect.condition] or [own for _, own in deciding]
    return NO if all(t.claim.verdict == "not supported" for own in asked for t in own) else OPEN


def _in_turn(deciding: Sequence[tuple[Aspect, list[Told]]]) -> list[tuple[Aspect, list[Told]]]:
    """What is there comes before what is not, and conditions come last; the rest stands below."""
    return sorted(deciding, key=lambda part: (part[0].condition, not _held(part[1])))


def _held(own: Sequence[Told]) -> float:
    """Share of the values, or else of the corpora, with a supported claim among those that claims are about."""
    about = {(t.claim.about.value or t.claim.about.corpus, t.claim.verdict == "supported") for t in own}
    return len({name for name, held in about if held}) / len({name for name, _ in about})


def _gist(deciding: Sequence[tuple[Aspect, list[Told]]]) -> str:
    """The answer in plain words; of what holds in part, also where it is not shown."""
    apart = [_not_shown(own) for aspect, own in deciding if not aspect.condition and _held(own)]
    missing = next((names for names in apart if names), None)
    said = [_plain(aspect, own) for aspect, own in deciding[: _SENTENCES - (missing is not None)]]
    if missing is not None:
        said.append(say("Not shown for: {names}.", names=_some(missing)))
    return _joined(said)


def _not_shown(own: Sequence[Told]) -> list[str]:
    """The values, or else the corpora, of which no claim is supported."""
    about = {t.claim.about.value or t.claim.about.corpus: False for t in own}
    for told in own:
        about[told.claim.about.value or told.claim.about.corpus] |= told.claim.verdict == "supported"
    return [term(str(name)) for name, held in about.items() if name and not held]


def _some(names: Sequence[str]) -> str:
    said = say(", ").join(names[:_NAMED])
    return said if len(names) <= _NAMED else say("{names} and {n} more", names=said, n=len(names) - _NAMED)


def _plain(aspect: Aspect, own: Sequence[Told]) -> str:
    names = list(dict.fromkeys(_name(aspect, t) for t in own if t.claim.verdict == "supported"))
    if not names:
        return say(aspect.otherwise)
    return say(aspect.plainly, names=_some(names))


def _strips(aspect: Aspect, own: Sequence[Told]) -> tuple[Strip, ...]:
    lead = lead_claim(own)
    figures = lead.claim.figures
    if figures.interval is None or not all(map(isfinite, (figures.estimate, *figures.interval))):
        return ()
    return (
        Strip(
            say(aspect.name),
            f"{figure_words(lead)} {lead.unit}; {beside(lead)}",
            figures.estimate,
            figures.interval,
            figures.chance,
            figures.null,
            lead.claim.verdict,
            figure_words(lead),
        ),
    )


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
        say("{name}: {unit}", name=_words(lead.claim), unit=lead.unit)
        if len(own) > 1 and _words(lead.claim)
        else lead.unit,
        beside(lead) + (say(" ({way})", way=lead.null) if lead.null else ""),
    )


def _name(aspect: Aspect, told: Told) -> str:
    return term(str(getattr(told.claim.about, aspect.names))) if aspect.names else _words(told.claim)


def _words(claim: Claim) -> str:
    """What a claim speaks about."""
    return " ".join(term(name) for name in claim.about.names())
