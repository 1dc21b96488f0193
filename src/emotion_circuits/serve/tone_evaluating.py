"""What the agent is worth: against a fixed dose, words and luck, with as many texts, by judges that it did not ask.

The agent takes the text that its judge likes best, so that this judge's figure of it is too good. Every figure is therefore given
by another judge too, which had no part in the search; and of one unselected text, by which the two judges can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Evaluator
from emotion_circuits.model.chat import has_chat_template
from emotion_circuits.model.stepping import Row, Task
from emotion_circuits.progress import Bar, progress_bar
from emotion_circuits.serve.toning import Answer, Options, Request, Toner, Way
from emotion_circuits.statistics.paired import paired_difference
from emotion_circuits.statistics.shares import clustered_share
from emotion_circuits.tone.goals import Goal
from emotion_circuits.tone.reading import probabilities
from emotion_circuits.tone.searching import Ask, Score, gap, within

__all__ = ["AGENT", "Arm", "Compared", "Evaluated", "compare", "evaluate_tone", "fixed_dose", "ways"]

AGENT = "agent"


@dataclass(frozen=True)
class Arm:
    """How often a way of writing reaches the goal, by one judge.

    Attributes:
        arm: which way.
        judge: who says so.
        asked: whether the way asked this judge while it looked for the text.
        share: of requests whose text meets the goal within its bounds, with its 95 % interval.
        low: lower end.
        high: upper end.
        n: requests.
        probability: that the judge gives the text of the first value wished for, on average.
        bounds: share of texts within the bounds.
        ratio: geometric mean of the perplexity ratio.
        similarity: mean.
        texts: written per request, on average, the unsteered beginning included.
    """

    arm: str
    judge: str
    asked: bool
    share: float
    low: float
    high: float
    n: int
    probability: float
    bounds: float
    ratio: float
    similarity: float | None
    texts: float


@dataclass(frozen=True)
class Compared:
    """The agent against another way, by one judge, on the same requests.

    Attributes:
        arm: the other way.
        judge: who says so.
        asked: whether the agent asked this judge.
        difference: share of the agent minus that of the other way.
        low: lower end of its 95 % interval.
        high: upper end.
        p: sign-flip permutation p-value.
    """

    arm: str
    judge: str
    asked: bool
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Evaluated:
    """What came of it.

    Attributes:
        goal: that was set.
        arms: of every way by every judge.
        compared: the agent with every other way.
        alike: similarity of unsteered replies to the nearest other one, on average; ``None``: not measured.
        answers: by way, in the order of the requests.
    """

    goal: Goal
    arms: tuple[Arm, ...]
    compared: tuple[Compared, ...]
    alike: float | None
    answers: Mapping[str, Sequence[Answer]]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the texts."""
        return {
            "goal": self.goal.to_json(), "arms": [asdict(a) for a in self.arms],
            "compared": [asdict(c) for c in self.compared], "unsteered_similarity": self.alike,
        }  # fmt: skip


def evaluate_tone(
    toner: Toner,
    requests: Sequence[str],
    options: Options,
    outside: Sequence[Evaluator],
    write: Callable[[Sequence[Task]], Sequence[Row]],
) -> Evaluated:
    """Compare the agent with a fixed dose (the run's own), words, and best of n, each with at most as many texts.

    All ways begin with the same unsteered texts, stop when their judge says that the goal is reached, and give their best text. A
    try's texts have the same random draws in every way.

    Args:
        toner: the agent.
        requests: on which nothing was chosen; one turn of a chat each, or texts to continue where there is no template.
        options: goal, tries and texts per try.
        outside: judges that no way asks.
        write: as for :meth:`.Toner.answers`.

    Raises:
        EmotionCircuitsError: fewer than two requests, no outside judge or one that is asked, or what the agent refuses.
    """
    if not outside or any(judge.name == toner.judge.name for judge in outside):
        raise EmotionCircuitsError(f"name judges that the agent does not ask; it asks {toner.judge.name!r}")
    if options.prompting:
        raise EmotionCircuitsError("the agent is evaluated with and without words; leave prompting out")
    ready = [
        toner.prepare(
            text if not has_chat_template(toner.encoder) else [{"role": "user", "content": text}], options, worded=True
        )
        for text in requests
    ]
    return compare(toner, ready, outside, write)


def compare(
    toner: Toner,
    ready: Sequence[Request],
    outside: Sequence[Evaluator],
    write: Callable[[Sequence[Task]], Sequence[Row]],
) -> Evaluated:
    """As :func:`evaluate_tone`, for requests that are prepared alike, with words.

    Raises:
        EmotionCircuitsError: fewer than two requests.
    """
    if len(ready) < 2:
        raise EmotionCircuitsError("an evaluation needs two requests at least, better sixty")
    options = ready[0].options
    values = [wish.value for wish in options.goal.wishes]
    dose, looked = fixed_dose(toner, options.goal), ways(toner, options.goal)
    unselected = {"one text, unsteered": Ask(0.0, plain=True), "one text at the fixed dose": Ask(dose)}
    with progress_bar("Answering in every way", len(looked) + len(unselected)) as bar:
        answers, drawn = {}, {}
        for name, way in looked.items():
            answers[name] = toner.answers(ready, _told(bar, name, write), way)
            bar.advance()
        for name, ask in unselected.items():
            drawn[name] = toner.drawn(ready, ask, _told(bar, name, write))
            bar.advance()
    # Of every way: text, score and number of texts written, by request.
    texts = {
        name: [(a.text, a.outcome.score, sum(len(t.scores) for t in a.outcome.tries)) for a in own]
        for name, own in answers.items()
    }
    for name, own_texts in drawn.items():
        # The first one, which nobody chose.
        texts[name] = [(rows[0].text.strip(), scores[0], 1) for rows, scores in own_texts]
    hits: dict[tuple[str, str], list[bool]] = {}
    arms = []
    for judge in (None, *outside):
        called = toner.judge.name if judge is None else judge.name
        for name, own in texts.items():
            scores = [score for _, score, _ in own]
            if judge is not None:
                scores = _read_again(judge, [text for text, _, _ in own], scores, values)
            hit = [within(options.goal, s) and gap(options.goal, s) == 0 for s in scores]
            hits[name, called] = hit
            share = clustered_share(hit, range(len(hit)))
            near = [s.similarity for s in scores if s.similarity is not None]
            arms.append(
                Arm(
                    name, called, judge is None, share.rate, share.low, share.high, share.n,
                    float(np.mean([s.values[values[0]] for s in scores])),
                    float(np.mean([within(options.goal, s) for s in scores])),
                    float(np.exp(np.nanmean(np.log([s.ratio for s in scores])))),
                    float(np.mean(near)) if near else None, float(np.mean([count for *_, count in own])),
                )
            )  # fmt: skip
    compared = []
    for (name, called), hit in hits.items():
        if name != AGENT:
            found = paired_difference(np.array(hits[AGENT, called], dtype=float), np.array(hit, dtype=float))
            asked = called == toner.judge.name
            compared.append(Compared(name, called, asked, found.estimate, found.low, found.high, found.p))
    alike = [r.against.alike for r in ready if r.against is not None and r.against.alike is not None]
    return Evaluated(options.goal, tuple(arms), tuple(compared), float(np.mean(alike)) if alike else None, answers)


def _told(
    bar: Bar, name: str, write: Callable[[Sequence[Task]], Sequence[Row]]
) -> Callable[[Sequence[Task]], Sequence[Row]]:
    """Writes, and says behind the bar how many texts of this way there are."""
    count = 0

    def telling(tasks: Sequence[Task]) -> Sequence[Row]:
        nonlocal count
        rows = write(tasks)
        count += len(rows)
        bar.advance(0, note=f"{name}: {count} texts")
        return rows

    return telling


def fixed_dose(toner: Toner, goal: Goal) -> float:
    """The dose that the run chose; of several values together 1."""
    return toner.served.ranges[goal.wishes[0].value].chosen if len(goal.wishes) == 1 else 1.0


def ways(toner: Toner, goal: Goal) -> dict[str, Way]:
    """The agent, and what it is compared with."""
    return {
        AGENT: Way(), "agent with words": Way(prompted=True), "fixed dose": Way(fixed=fixed_dose(toner, goal)),
        "words": Way(prompted=True, steered=False), "best of n": Way(steered=False),
    }  # fmt: skip


def _read_again(judge: Evaluator, texts: Sequence[str], scores: Sequence[Score], values: Sequence[str]) -> list[Score]:
    table = judge.score(texts)
    known, labels = probabilities(judge.name, table, values).to_dict("records"), judge.decide(table)
    return [
        replace(score, values={str(v): float(p) for v, p in own.items()}, label=label)
        for score, own, label in zip(scores, known, labels, strict=True)
    ]
