"""The agent: from a goal and a request to texts at doses of the run, read by judges, until the goal or a bound is reached."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError, WritingError
from emotion_circuits.evaluation import Evaluator, Fluency, SentenceEmbedder
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.model.chat import chat_prompts, has_chat_template, spoken
from emotion_circuits.model.generation import row_seed
from emotion_circuits.model.stepping import Row, Stepper, Task
from emotion_circuits.progress import progress_bar
from emotion_circuits.serve.steering import STRONGEST, Plan, Push, plan
from emotion_circuits.serve.vectors import Served, Shelf
from emotion_circuits.tone.goals import Goal
from emotion_circuits.tone.planning import Planned, planned
from emotion_circuits.tone.reading import Unsteered, Written, impartial_judge, read_texts, unsteered
from emotion_circuits.tone.searching import Ask, Outcome, Score, Search, Try, searching, within

__all__ = ["Answer", "Options", "Request", "Toner", "Way", "stepping"]

_TOGETHER = 64  # rows of a batch
_WORDED = {
    "en": "{request}\n\nWrite your reply in this tone: {values}.",
    "ja": "{request}\n\n返事は次の調子で書いてください：{values}。",
}
"""How a tone is asked for in words, by language."""


@dataclass(frozen=True)
class Options:
    """How a tone is looked for.

    Attributes:
        goal: what is wanted.
        tries: doses or draws at most, the unsteered beginning included.
        n: texts per try.
        beyond: greatest dose to go to, past what was validated, and as far below 0 for *less*; ``None``: 0 to 1 only.
        prompting: also ask for the tone in words.
        sampling: length and choice of tokens.
        seed: of all draws; a draw has the same random numbers at every dose.
    """

    goal: Goal
    tries: int = 6
    n: int = 4
    beyond: float | None = None
    prompting: bool = False
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=60, temperature=0.7))
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("tries", 1, 64), ("n", 1, 64)):
            if not low <= getattr(self, name) <= high:
                raise EmotionCircuitsError(f"{name}: from {low} to {high}, got {getattr(self, name)}")
        if self.beyond is not None and not 1 <= self.beyond <= STRONGEST:
            raise EmotionCircuitsError(f"beyond: a greatest dose from 1 to {STRONGEST:g}, got {self.beyond:g}")

    @property
    def limit(self) -> float:
        """The greatest dose."""
        return 1.0 if self.beyond is None else self.beyond

    @property
    def each(self) -> int:
        """Texts per try that can differ: greedy ones are all the same."""
        return self.n if self.sampling.temperature else 1


@dataclass(frozen=True)
class Way:
    """How texts are looked for: the agent, or what it is compared with.

    Attributes:
        prompted: whether the tone is asked for in words.
        steered: whether doses are used.
        fixed: the one dose to write at; ``None``: searched for.
    """

    prompted: bool = False
    steered: bool = True
    fixed: float | None = None


@dataclass(frozen=True)
class _Rendered:
    text: str
    ids: Sequence[int]
    said: Sequence[int] | None


@dataclass(eq=False)
class Request:
    """A request, ready to be answered, and what was written for it so far.

    Attributes:
        options: how it is answered.
        doses: what a dose of 1 means for each value that is pushed.
    """

    options: Options
    plain: _Rendered
    worded: _Rendered | None
    doses: Mapping[str, float]
    chat: bool
    against: Unsteered | None = None
    plans: tuple[Planned, ...] = ()
    written: dict[tuple[Any, ...], tuple[Plan, list[Row], list[Score]]] = field(default_factory=dict)

    def key(self, ask: Ask, way: Way) -> tuple[Any, ...]:
        """What decides the texts."""
        return (0.0 if ask.plain else ask.dose, ask.draw, way.prompted and not ask.plain)


@dataclass(frozen=True, eq=False)
class Answer:
    """A text with the tone that was asked for, or the nearest that was found, and how it was come by.

    Attributes:
        request: what was answered.
        way: how.
        outcome: of the search.
    """

    request: Request
    way: Way
    outcome: Outcome

    def rows(self, number: int) -> tuple[Plan, list[Row]]:
        """The texts of a try, and what was done to them."""
        made, rows, _ = self.request.written[self.request.key(self.outcome.tries[number].ask, self.way)]
        return made, rows

    @property
    def row(self) -> Row:
        """The best text's."""
        return self.rows(self.outcome.best)[1][self.outcome.tries[self.outcome.best].best]

    @property
    def text(self) -> str:
        """The best text."""
        return self.row.text.strip()

    def doses(self, number: int) -> dict[str, float]:
        """Dose by value in a try."""
        dose = self.outcome.tries[number].ask.dose
        return {value: unit * dose for value, unit in self.request.doses.items()} if dose else {}

    @property
    def beyond(self) -> bool:
        """Whether the text was written outside what the run validated."""
        return any(not 0 <= dose <= 1 for dose in self.doses(self.outcome.best).values())

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        o, options = self.outcome, self.request.options
        made, _ = self.rows(o.best)
        return {
            "text": self.text, "reached": o.reached, "stopped": o.stopped, "goal": options.goal.to_json(),
            "doses": self.doses(o.best), "beyond_validated": self.beyond, "scores": _scored(options.goal, o.score),
            "plan": [p.to_json() for p in self.request.plans],
            "unsteered_similarity": None if self.request.against is None else self.request.against.alike,
            "tries": [self._told(number) for number in range(len(o.tries))],
            "best": {"try": o.best, "text": o.tries[o.best].best},
            "written": sum(len(t.scores) for t in o.tries), "seed": options.seed,
            "steering": made.report([self.row]),
        }  # fmt: skip

    def _told(self, number: int) -> dict[str, Any]:
        tried, (_, rows) = self.outcome.tries[number], self.rows(number)
        goal = self.request.options.goal
        return {
            "dose": tried.ask.dose, "doses": self.doses(number), "draw": tried.ask.draw,
            "prompted": self.way.prompted and not tried.ask.plain, "unsteered": tried.ask.plain,
            "texts": [
                {"text": row.text.strip(), "tokens": len(row.ids), "finish_reason": row.reason, **_scored(goal, score)}
                for row, score in zip(rows, tried.scores, strict=True)
            ],
            "best": tried.best, "verdict": tried.verdict, "then": tried.then, "why": why(goal, tried),
        }  # fmt: skip


def _scored(goal: Goal, score: Score) -> dict[str, Any]:
    return {
        "probabilities": dict(score.values), "label": score.label,
        "perplexity_ratio": None if math.isnan(score.ratio) else score.ratio,
        "similarity": score.similarity, "within_bounds": within(goal, score),
    }  # fmt: skip


_NEXT = {
    "stop": "", "stronger": "; on to a stronger dose", "weaker": "; back to a weaker dose",
    "between": "; halfway between too weak and too strong", "again": "; the dose is settled, so drawn again",
}  # fmt: skip


def why(goal: Goal, tried: Try) -> str:
    """Why the search went on or stopped after a try, in a sentence."""
    score, parts = tried.scores[tried.best], []
    if tried.verdict == "strong":
        if math.isnan(score.ratio):
            parts.append("nothing was written")
        elif score.ratio > goal.fluency:
            parts.append(f"perplexity {score.ratio:.2f} × unsteered, at most {goal.fluency:g}")
        if score.similarity is not None and score.similarity < goal.similarity:
            parts.append(f"similarity {score.similarity:.2f}, at least {goal.similarity:g}")
        return f"no text keeps the bounds ({', '.join(parts)}){_NEXT[tried.then]}"
    for wish in goal.wishes:
        if wish.of == "share":
            figure = sum(s.label == wish.value for s in tried.scores) / len(tried.scores)
        else:
            figure = score.values[wish.value]
        if tried.verdict == "reached" or wish.gap(figure) > 0:
            parts.append(f"{wish.value} {figure:.2f}, wanted {'≥' if wish.more else '≤'} {wish.target:g}")
    met = "reached" if tried.verdict == "reached" else "not reached"
    return f"{met}: {'; '.join(parts) or 'within bounds'}{_NEXT[tried.then]}"


def stepping(model: LanguageModel) -> Callable[[Sequence[Task]], list[Row]]:
    """Write tasks with a model that nobody else runs meanwhile."""

    def write(tasks: Sequence[Task]) -> list[Row]:
        found: list[Row] = []
        with progress_bar("Writing texts", len(tasks)) as bar:
            for start in range(0, len(tasks), _TOGETHER):
                with Stepper(model) as batch:
                    joined = batch.join(tasks[start : start + _TOGETHER])
                    bar.advance(sum(bool(row.reason) for row in joined))
                    while batch.rows:
                        bar.advance(len(batch.step()))
                    found += joined
        return found

    return write


class Toner:
    """Gives replies a tone.

    Args:
        model: that writes.
        served: the run's vectors and ranges.
        scoring: the model that perplexity is measured with; nobody else runs it meanwhile.
        encoder: whose tokenizer reads requests; by default the writing model's.
        judge: reads texts; by default the attribute's, if it did not fit the vectors.
        encoding: held while the tokenizer is used.

    Raises:
        EmotionCircuitsError: no judge, or one that shares sentences with the vectors; vectors that come from no run.
    """

    def __init__(
        self,
        model: LanguageModel,
        served: Served,
        scoring: LanguageModel,
        *,
        encoder: LanguageModel | None = None,
        judge: Evaluator | None = None,
        encoding: threading.Lock | None = None,
    ) -> None:
        if served.about is None:
            raise EmotionCircuitsError("a tone is set with what a run measured; name a finished run")
        self.model, self.served, self.encoder = model, served, encoder or model
        self.attribute, self.values = served.about.attribute, served.about.values
        self.judge = judge or impartial_judge(self.attribute, served.about.fit, self.values)
        self.fluency = Fluency(scoring)
        self._embedder: SentenceEmbedder | None = None
        self._encoding, self._reading = encoding or threading.Lock(), threading.Lock()

    def prepare(
        self, turns: Sequence[Mapping[str, str]] | str, options: Options, *, worded: bool | None = None
    ) -> Request:
        """A request, with all that can be refused refused.

        Args:
            turns: of a chat, ``role`` and ``content``, the last one the user's; or a text to continue.
            options: how it is answered.
            worded: also prepare the request with the tone asked for in words; by default as the options say.

        Raises:
            EmotionCircuitsError: a value that the run did not validate; a chat without a template; a request without tokens, or
                too long; similarity or words in a language that there are none for.
        """
        for wish in options.goal.wishes:
            if wish.value not in self.served.ranges:
                reason = {**self.served.unranged, **self.served.unwritten}.get(
                    wish.value, f"there is no such value; there are: {', '.join(self.served.names)}"
                )
                raise EmotionCircuitsError(f"{wish.value}: {reason}; a tone is set only with what the run validated")
        if options.goal.similarity and self.attribute.language != "en":
            raise EmotionCircuitsError(
                f"similarity: the sentence embedder reads English, the run's texts are {self.attribute.language!r}; ask for "
                "similarity 0, which goes without"
            )
        turns = turns if isinstance(turns, str) else [dict(turn) for turn in turns]
        room = options.sampling.max_new_tokens
        plain = self._rendered(turns, room)
        asked = None
        if options.prompting if worded is None else worded:
            asked = self._rendered(self._in_words(turns, options.goal), room)
        return Request(options, plain, asked, self._doses(options), chat=not isinstance(turns, str))

    def _doses(self, options: Options) -> dict[str, float]:
        """What dose 1 is of each value that is pushed: together never more than one value alone."""
        pushed = {w.value: 1.0 if w.more else -1.0 for w in options.goal.wishes if w.more or options.beyond is not None}
        return {value: sign / len(pushed) for value, sign in pushed.items()}

    def _in_words(self, turns: Sequence[Mapping[str, str]] | str, goal: Goal) -> Any:
        language = self.attribute.language
        if language not in _WORDED:
            raise EmotionCircuitsError(f"prompting: there are no words to ask for a tone in {language!r}; go without")
        terms = self.attribute.terms(language)
        names = [terms.get(w.value, w.value.replace("_", " ")) for w in goal.wishes if w.more]
        if not names:
            raise EmotionCircuitsError("prompting: words ask for more of a value, and the goal wants more of none")
        between = "、" if language == "ja" else ", "

        def worded(text: str) -> str:
            return _WORDED[language].format(request=text, values=between.join(names))

        if isinstance(turns, str):
            return worded(turns)
        return [*turns[:-1], {**turns[-1], "content": worded(turns[-1]["content"])}]

    def _rendered(self, turns: Any, room: int) -> _Rendered:
        if isinstance(turns, str):
            with self._encoding:
                (ids,) = self.encoder.encode([turns], room=room).ids
            if len(ids) <= len(self.model.prefix):
                raise EmotionCircuitsError("the request has no text")
            return _Rendered(turns, ids, None)
        if not has_chat_template(self.encoder):
            raise EmotionCircuitsError(f"{self.model.name} has no chat template; give a text to continue")
        (text,) = chat_prompts(self.encoder, [turns])
        with self._encoding:
            encoded = self.encoder.encode([text], add_special_tokens=False, room=room)
        return _Rendered(text, encoded.ids[0], spoken(text, [turn["content"] for turn in turns], encoded.offsets[0]))

    # -- searching -------------------------------------------------------------------------------------------------------

    def answer(
        self, request: Request, write: Callable[[Sequence[Task]], Sequence[Row]], way: Way | None = None
    ) -> Answer:
        """Look for a reply to one request.

        Args:
            request: prepared.
            write: writes tasks (:func:`stepping`).
            way: by default the agent's, as the options say.

        Raises:
            WritingError: a text that failed, or on which steering did not act.
            EmotionCircuitsError: a request that the unsteered model answers with nothing.
        """
        return self.answers([request], write, way)[0]

    def answers(
        self, requests: Sequence[Request], write: Callable[[Sequence[Task]], Sequence[Row]], way: Way | None = None
    ) -> list[Answer]:
        """As :meth:`answer` for several requests, whose texts are written together."""
        ways = [way or Way(prompted=r.options.prompting) for r in requests]
        searches = [self._search(r, w) for r, w in zip(requests, ways, strict=True)]
        asks: list[Ask | None] = [next(s) for s in searches]
        outcomes: list[Outcome | None] = [None] * len(requests)
        while any(ask is not None for ask in asks):
            self._write([(r, w, a) for r, w, a in zip(requests, ways, asks, strict=True) if a is not None], write)
            for i, ask in enumerate(asks):
                if ask is None:
                    continue
                _, _, scores = requests[i].written[requests[i].key(ask, ways[i])]
                asks[i], outcomes[i] = _sent(searches[i], scores)
        return [Answer(r, w, o) for r, w, o in zip(requests, ways, outcomes, strict=True) if o is not None]

    def drawn(
        self, requests: Sequence[Request], ask: Ask, write: Callable[[Sequence[Task]], Sequence[Row]]
    ) -> list[tuple[Sequence[Row], Sequence[Score]]]:
        """Texts of each request at one dose and their scores, without any search; after :meth:`answers`."""
        self._write([(request, Way(), ask) for request in requests], write)
        return [request.written[request.key(ask, Way())][1:] for request in requests]

    def _search(self, request: Request, way: Way) -> Search:
        options = request.options
        high = options.limit if request.doses and way.steered else 0.0
        low = 0.0
        if way.fixed is not None:
            low = high = way.fixed
        if way.prompted and request.worded is None:
            raise EmotionCircuitsError("the request was not prepared with words")

        def first(scores: Sequence[Score]) -> list[float]:
            doses = [0.0] if way.prompted else []
            if high > low:
                doses.append(self._planned(request, scores))
            return doses or [low]

        return searching(
            options.goal, first, low=low, high=high, tries=options.tries, redraws=bool(options.sampling.temperature),
            bare=not way.prompted and way.fixed is None,
        )  # fmt: skip

    def _planned(self, request: Request, scores: Sequence[Score]) -> float:
        """The dose to begin with, from the run's curves and what the unsteered texts came to."""
        options, parts = request.options, len(request.doses)
        found = []
        for wish in options.goal.wishes:
            if wish.more:
                ranged = self.served.ranges[wish.value]
                before = sum(s.values[wish.value] for s in scores) / len(scores)
                found.append(
                    planned(
                        wish.value, ranged.curve, max(0.0, wish.target - before), fluency=options.goal.fluency,
                        limit=options.limit, otherwise=ranged.chosen,
                    )
                )  # fmt: skip
        request.plans = tuple(found)
        return max((p.dose * parts for p in found), default=options.limit / 2)

    # -- writing and reading ---------------------------------------------------------------------------------------------

    def _write(
        self, asked: Sequence[tuple[Request, Way, Ask]], write: Callable[[Sequence[Task]], Sequence[Row]]
    ) -> None:
        new = {(id(r), r.key(a, w)): (r, w, a) for r, w, a in asked if r.key(a, w) not in r.written}
        plans = [self._tasks(r, w, a) for r, w, a in new.values()]
        rows = list(write([task for _, tasks in plans for task in tasks]))
        for row in rows:
            if row.reason == "error":
                raise WritingError(row.error)
        batches = []
        for made, tasks in plans:
            batches.append((made, rows[: len(tasks)]))
            del rows[: len(tasks)]
        for made, own in batches:
            if (still := made.still(own)) is not None:
                raise WritingError(f"the projection on {still} did not move: this would be an unsteered text")
        with self._reading:
            self._read([(r, r.key(a, w), *batch) for (r, w, a), batch in zip(new.values(), batches, strict=True)])

    def _tasks(self, request: Request, way: Way, ask: Ask) -> tuple[Plan, list[Task]]:
        options = request.options
        rendered = request.worded if way.prompted and not ask.plain and request.worded else request.plain
        # At the time that the run measured at.
        wanted = {
            value: Push(dose=unit * ask.dose, when=self.served.ranges[value].condition.when)
            for value, unit in request.doses.items() if ask.dose
        }  # fmt: skip
        shelf = Shelf((self.served,))
        made = plan(self.model, shelf, wanted, tokens=len(rendered.ids), spoken=rendered.said, chat=request.chat)
        tasks = [
            Task(
                ids=rendered.ids, sampling=options.sampling, seed=row_seed(options.seed, ask.draw, sample),
                interventions=made.interventions, along=made.along,
            )
            for sample in range(options.each)
        ]  # fmt: skip
        return made, tasks

    def _read(self, batches: Sequence[tuple[Request, tuple[Any, ...], Plan, list[Row]]]) -> None:
        if not batches:
            return
        chat, embedder = batches[0][0].chat, None
        if any(r.options.goal.similarity for r, *_ in batches):
            embedder = self._embedder = self._embedder or SentenceEmbedder(cache=False)
        texts: list[Written] = []
        against: list[Unsteered] = []
        for request, _, _, rows in batches:
            own = [Written(request.plain.text, row.text, row.ids) for row in rows]
            if request.against is None:  # these are the unsteered ones
                request.against = unsteered(own, self.fluency, embedder, special=not chat)
            texts += own
            against += [request.against] * len(own)
        scores = read_texts(texts, against, self.judge, self.values, self.fluency, embedder, special=not chat)
        for request, key, made, rows in batches:
            request.written[key] = (made, rows, scores[: len(rows)])
            del scores[: len(rows)]


def _sent(made: Generator[Ask, Sequence[Score], Outcome], scores: Sequence[Score]) -> tuple[Ask | None, Outcome | None]:
    try:
        return made.send(scores), None
    except StopIteration as ended:
        return None, ended.value
