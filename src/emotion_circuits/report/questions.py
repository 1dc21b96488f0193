"""How claims become the answers to the five questions: data in, sentences out.

Every claim belongs to one aspect of one question (the longest matching prefix decides), so that none is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emotion_circuits.language import say, term
from emotion_circuits.report.asked import QUESTIONS, Aspect, Question
from emotion_circuits.report.telling import Told, beside, counted, figure_words

__all__ = ["Answer", "Evidence", "answer_questions", "lead_claim"]


@dataclass(frozen=True)
class Evidence:
    """One row below an answer.

    Attributes:
        name: what was asked.
        anchor: of its section.
        verdicts: verdict and how many claims have it.
        figure: the clearest claim's figure and interval.
        of: which claim that is.
        beside: chance level and null.
    """

    name: str
    anchor: str
    verdicts: tuple[tuple[str, int], ...]
    figure: str
    of: str
    beside: str


@dataclass(frozen=True)
class Answer:
    """A question with what a run says to it.

    Attributes:
        key: for links.
        question: the question.
        text: the answer in sentences.
        evidence: its rows; none where it was not studied.
        command: that would study it, where it was not.
    """

    key: str
    question: str
    text: str
    evidence: tuple[Evidence, ...]
    command: str = ""


def answer_questions(claims: Sequence[Told], run: str) -> tuple[Answer, ...]:
    """The five questions, answered from a run's claims.

    Args:
        claims: all there are, those of an alignment among them.
        run: the run's folder, for the commands of what was not studied.
    """
    groups = _grouped(claims)
    return tuple(_answer(question, groups, run) for question in QUESTIONS)


def lead_claim(claims: Sequence[Told]) -> Told:
    """The claim whose figure stands for its group: supported ones first, then the one furthest beyond its reference.

    Furthest is counted in widths of its interval, so that figures of different units can be compared.
    """
    return max(claims, key=lambda told: (told.claim["verdict"] == "supported", _distance(told)))


def _distance(told: Told) -> float:
    claim = told.claim
    zero = claim["chance"] or 0.0
    low, high = claim["interval"] or (claim["estimate"],) * 2
    return float(told.side * (claim["estimate"] - zero) / max(high - low, 1e-9))


def _grouped(claims: Sequence[Told]) -> dict[tuple[str, str], list[Told]]:
    """Claims by question and aspect; the longest matching prefix decides."""
    found: dict[tuple[str, str], list[Told]] = {}
    places = [(p, q.key, a.name) for q in QUESTIONS for a in q.aspects for p in a.prefixes]
    for told in claims:
        fitting = [(len(p), key) for p, *key in places if _fits(p, told.claim["id"])]
        if fitting:
            key = max(fitting)[1]
            found.setdefault((key[0], key[1]), []).append(told)
    return found


def _fits(prefix: str, name: str) -> bool:
    parts, given = prefix.split("."), name.split(".")
    if "*" not in parts:
        return name == prefix or name.startswith(prefix + ".")
    return len(parts) == len(given) and all(p in ("*", g) for p, g in zip(parts, given, strict=True))


def _answer(question: Question, groups: dict[tuple[str, str], list[Told]], run: str) -> Answer:
    sentences, rows = [], []
    for aspect in question.aspects:
        own = groups.get((question.key, aspect.name))
        if not own:
            continue
        rows.append(_row(aspect, own))
        if aspect.some:
            sentences.append(_sentence(aspect, own))
    text = say(question.text)
    if not rows:
        return Answer(question.key, text, say(question.unstudied), (), question.command.format(run=run))
    return Answer(question.key, text, _joined(sentences), tuple(rows))


def _joined(sentences: Sequence[str]) -> str:
    return say(" ").join(sentences)


def _sentence(aspect: Aspect, own: Sequence[Told]) -> str:
    supported = [t for t in own if t.claim["verdict"] == "supported"]
    template = aspect.some if supported else aspect.none
    if aspect.ruled_out and all(t.claim["verdict"] == "not supported" for t in own):
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
        say("{name}: {unit}", name=_words(lead), unit=lead.unit) if len(own) > 1 else lead.unit,
        beside(lead) + (f" ({lead.null})" if lead.null else ""),
    )


def _name(aspect: Aspect, told: Told) -> str:
    return term(told.claim["id"].split(".")[aspect.place]) if aspect.place else _words(told)


def _words(told: Told) -> str:
    """What a claim speaks about: the parts of its id behind the kind."""
    parts = told.claim["id"].split(".")
    start = 1 if parts[0] == "steering" else 3 if parts[0] == "alignment" and len(parts) > 3 else 2
    return " ".join(term(p) for p in parts[start:])
