"""The search for the dose: what to try next, and when to stop. It knows no model, only figures of what was written.

A text is *too weak* where it keeps the bounds and misses the target, *too strong* where it breaks a bound. A try is too strong
where none of its texts keeps the bounds. Between the strongest dose that was too weak and the weakest that was too strong the
search halves the distance; where that is settled, it draws again there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from emotion_circuits.tone.goals import Goal, Wish

__all__ = [
    "TOLERANCE",
    "Ask",
    "Outcome",
    "Score",
    "Search",
    "Stopped",
    "Try",
    "Verdict",
    "gap",
    "search",
    "searching",
    "within",
]

Text = TypeVar("Text")
Verdict = Literal["reached", "weak", "strong"]
Stopped = Literal["reached", "tries", "range", "bound"]
"""The target was met; tries were used up; or, where drawing again gives the same, the range or a bound ends before the target."""

TOLERANCE = 0.05
"""Doses nearer to one another than this are not told apart."""


@dataclass(frozen=True)
class Score:
    """What one text came to.

    Attributes:
        values: probability of each value by the judge.
        label: what the judge calls it.
        ratio: perplexity over that of the unsteered replies; NaN of an empty text.
        similarity: to the nearest unsteered reply; ``None``: not measured.
    """

    values: Mapping[str, float]
    label: str
    ratio: float
    similarity: float | None = None


@dataclass(frozen=True)
class Ask:
    """What is to be written next.

    Attributes:
        dose: how strongly.
        draw: how often texts were drawn at this dose before.
        plain: whether it is the unsteered, unprompted beginning, with which all is compared.
    """

    dose: float
    draw: int = 0
    plain: bool = False


@dataclass(frozen=True)
class Try:
    """What was written at one dose.

    Attributes:
        ask: what was asked for.
        scores: of its texts.
        best: which of them comes nearest to the goal.
        verdict: what it says of the dose.
        then: what was done next: ``stop``, ``stronger``, ``weaker``, ``between`` or ``again`` (new draws).
    """

    ask: Ask
    scores: tuple[Score, ...]
    best: int
    verdict: Verdict
    then: str = "stop"


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        tries: all of them.
        best: number of the try with the best text.
        stopped: why it ended.
    """

    tries: tuple[Try, ...]
    best: int
    stopped: Stopped

    @property
    def reached(self) -> bool:
        """Whether the text meets the goal within its bounds."""
        return self.stopped == "reached"

    @property
    def score(self) -> Score:
        """Of the best text."""
        tried = self.tries[self.best]
        return tried.scores[tried.best]


Search = Generator[Ask, Sequence[Score], Outcome]
"""Asks for texts at a dose, is sent their scores, and returns what it came to."""


def within(goal: Goal, score: Score) -> bool:
    """Whether a text keeps the bounds."""
    near = not goal.similarity or (score.similarity is not None and score.similarity >= goal.similarity)
    return near and score.ratio <= goal.fluency  # NaN is not


def gap(goal: Goal, score: Score) -> float:
    """How far a text by itself is from the wishes, summed; 0 where all are met."""
    return sum(_gap(wish, score) for wish in goal.wishes)


def _gap(wish: Wish, score: Score) -> float:
    figure = score.values.get(wish.value, math.nan)
    if wish.of == "probability":
        return wish.gap(figure)
    # Of a share, one text can only be one that counts, or be more or less like one.
    if (score.label == wish.value) == wish.more:
        return 0.0
    return 1 - figure if wish.more else figure


def _rank(goal: Goal, score: Score) -> tuple[bool, float]:
    found = gap(goal, score)
    return not within(goal, score), math.inf if math.isnan(found) else found


def _judged(goal: Goal, ask: Ask, scores: Sequence[Score]) -> Try:
    best = min(range(len(scores)), key=lambda i: _rank(goal, scores[i]))
    kept = [within(goal, s) for s in scores]
    verdict: Verdict = "weak" if any(kept) else "strong"
    met = kept[best] and gap(goal, scores[best]) == 0
    for wish in goal.wishes:
        if wish.of == "share":
            called = [(ok or not wish.more) and s.label == wish.value for ok, s in zip(kept, scores, strict=True)]
            met = met and wish.gap(sum(called) / len(called)) == 0
    return Try(ask, tuple(scores), best, "reached" if met else verdict)


@dataclass
class _Bracket:
    low: float
    high: float
    tolerance: float
    weak: float | None = None
    strong: float | None = None
    _weaks: list[float] = field(default_factory=list)

    def learn(self, dose: float, verdict: Verdict) -> None:
        if verdict == "strong":
            self.strong = dose if self.strong is None else min(self.strong, dose)
            self._weaks = [d for d in self._weaks if d < self.strong]
        elif self.strong is None or dose < self.strong:
            self._weaks.append(dose)
        self.weak = max(self._weaks, default=None)

    def following(self) -> tuple[float, str]:
        """The next dose and what it is to the last one; ``again``: the place is settled."""
        weak, strong = self.weak, self.strong
        if strong is None:
            if weak is None or self.high > weak:
                return self.high, "stronger"
            return weak, "again"
        if weak is None:
            return (self.low, "weaker") if strong - self.low > self.tolerance else (self.low, "again")
        if strong - weak > self.tolerance:
            return (weak + strong) / 2, "between"
        return weak, "again"


def searching(
    goal: Goal,
    first: Callable[[Sequence[Score]], Sequence[float]],
    *,
    low: float = 0.0,
    high: float = 1.0,
    tries: int = 6,
    tolerance: float = TOLERANCE,
    redraws: bool = True,
    bare: bool = True,
) -> Search:
    """Search between two doses, beginning with the unsteered.

    Args:
        goal: what is wanted.
        first: doses to begin with, given the scores of the unsteered texts; they are brought into the range.
        low: the least dose, 0 or more.
        high: the greatest dose.
        tries: at most, the unsteered one included.
        tolerance: doses nearer than this are not told apart.
        redraws: whether another draw at the same dose gives other texts.
        bare: whether dose 0 is the unsteered text; not where the request is reworded too.
    """
    first_try = _judged(goal, ask := Ask(0.0, plain=True), (yield ask))
    done = [first_try]
    bracket = _Bracket(low, high, tolerance)
    if bare and low == 0:
        bracket.learn(0.0, "weak")
    drawn: Counter[float] = Counter({0.0: 1} if bare else {})
    wanted = [min(max(dose, low), high) for dose in first(first_try.scores)]
    while done[-1].verdict != "reached" and len(done) < tries:
        while wanted and (drawn[wanted[0]] or (bracket.strong is not None and wanted[0] >= bracket.strong)):
            wanted.pop(0)
        dose, how = (wanted.pop(0), "stronger") if wanted else bracket.following()
        if drawn[dose] and not redraws:
            return _ended(goal, done, "bound" if bracket.strong is not None else "range")
        done[-1] = replace(done[-1], then="again" if drawn[dose] else how)
        ask = Ask(dose, drawn[dose])
        drawn[dose] += 1
        found = _judged(goal, ask, (yield ask))
        bracket.learn(dose, found.verdict)
        done.append(found)
    return _ended(goal, done, "reached" if done[-1].verdict == "reached" else "tries")


def _ended(goal: Goal, done: Sequence[Try], stopped: Stopped) -> Outcome:
    places = range(len(done))
    best = min(places, key=lambda i: _rank(goal, done[i].scores[done[i].best]))
    # The share that was reached is that of the last try's texts, so that the text is one of them.
    return Outcome(tuple(done), len(done) - 1 if stopped == "reached" else best, stopped)


def search(
    made: Search, write: Callable[[Ask], Sequence[Text]], read: Callable[[Sequence[Text]], Sequence[Score]]
) -> Outcome:
    """Carry a search out.

    Args:
        made: by :func:`searching`.
        write: texts at a dose.
        read: their scores.

    Example:
        >>> from emotion_circuits.tone.goals import Goal, Wish
        >>> goal = Goal((Wish("joy", True, 0.6),), similarity=0)
        >>> read = lambda doses: [Score({"joy": d}, "joy", 1 + d / 2) for d in doses]
        >>> found = search(searching(goal, lambda _: [0.3]), lambda ask: [ask.dose], read)
        >>> found.reached, [t.ask.dose for t in found.tries]
        (True, [0.0, 0.3, 1.0])
    """
    ask = next(made)
    while True:
        try:
            ask = made.send(read(write(ask)))
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]
