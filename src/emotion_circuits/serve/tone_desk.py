"""``/v1/tone``: what a body asks for, written by the server's engine and read beside it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Evaluator
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.model.stepping import Row, Task, Token
from emotion_circuits.serve.bodies import ToneBody
from emotion_circuits.serve.engine import FullError, Writes
from emotion_circuits.serve.toning import Options, Toner
from emotion_circuits.serve.vectors import Served, Shelf
from emotion_circuits.tone.goals import Goal, Wish, goal_of, names_of

__all__ = ["AT_ONCE", "Desk", "GoneError", "LateError"]

AT_ONCE = 4
"""Requests that are worked on at once; each holds a thread, and they take turns at reading."""
_LOOK = 0.1  # seconds after which it is looked whether anybody still waits


class GoneError(Exception):
    """Nobody waits for the answer any more."""


class LateError(Exception):
    """It took longer than a request may."""


class Desk:
    """Answers requests for a tone.

    Args:
        model: that the engine writes with.
        served: the runs' vectors and ranges.
        scoring: a replica that perplexity is measured with.
        encoder: a replica whose tokenizer reads requests.
        engine: writes.
        encoding: held while the encoder is used.
        judge: reads texts; by default the attribute's, which is loaded with the first request.
    """

    def __init__(
        self,
        model: LanguageModel,
        served: Shelf,
        scoring: LanguageModel,
        encoder: LanguageModel,
        engine: Writes,
        encoding: threading.Lock,
        judge: Evaluator | None = None,
    ) -> None:
        self.served, self._models = served, (model, scoring)
        self.encoder, self.engine, self.encoding, self.judge = encoder, engine, encoding, judge
        self._toners: dict[Served, Toner] = {}
        self._loading, self._places = threading.Lock(), threading.Semaphore(AT_ONCE)

    def toner(self, run: Served) -> Toner:
        """The agent for what a run studied.

        Args:
            run: of those that are served.

        Raises:
            EmotionCircuitsError: the run has no judge that could read for it.
        """
        with self._loading:
            if run not in self._toners:
                model, scoring = self._models
                self._toners[run] = Toner(
                    model, run, scoring, encoder=self.encoder, judge=self.judge, encoding=self.encoding
                )
            return self._toners[run]

    def answer(self, body: ToneBody, gone: threading.Event) -> dict[str, Any]:
        """What a body asks for.

        Args:
            body: of the request.
            gone: set when nobody waits any more.

        Raises:
            EmotionCircuitsError: what the agent refuses.
            FullError: too much is being worked on, or waits.
            LateError: it took too long.
            GoneError: nobody waits.
        """
        if not self._places.acquire(blocking=False):
            raise FullError(max(1, round(self.engine.limits.seconds / 4)))
        try:
            deadline = time.monotonic() + self.engine.limits.seconds
            options = options_of(body, self.served)
            run = _run_of(options.goal, self.served)
            names, toner = self.served.called_of(run), self.toner(run)
            # The agent knows the values as its run calls them.
            own = {name: value for value, name in names.items()}
            wishes = tuple(replace(w, value=own.get(w.value, w.value)) for w in options.goal.wishes)
            options = replace(options, goal=replace(options.goal, wishes=wishes))
            turns = body.prompt if body.prompt is not None else _turns(body)
            made = toner.prepare(turns, options)
            found = toner.answer(made, self._writing(gone, deadline)).to_json()
            return {**_renamed(found, names), "judge": toner.judge.name}
        finally:
            self._places.release()

    def _writing(self, gone: threading.Event, deadline: float) -> Callable[[Sequence[Task]], list[Row]]:
        def write(tasks: Sequence[Task]) -> list[Row]:
            ended: queue.SimpleQueue[tuple[int, Row]] = queue.SimpleQueue()

            def news(place: int, token: Token | None, row: Row) -> None:
                if token is None:
                    ended.put((place, row))

            ticket = self.engine.submit(tasks, news)
            found: dict[int, Row] = {}
            try:
                while len(found) < len(tasks):
                    if gone.is_set():
                        raise GoneError
                    if time.monotonic() > deadline:
                        raise LateError
                    try:
                        place, row = ended.get(timeout=_LOOK)
                    except queue.Empty:
                        continue
                    if row.reason == "cancelled":
                        raise LateError
                    found[place] = row
            finally:
                ticket.cancel()
            return [found[place] for place in range(len(tasks))]

        return write


def _turns(body: ToneBody) -> list[dict[str, str]]:
    return [{"role": "system" if m.role == "developer" else m.role, "content": m.text} for m in body.messages or ()]


def _renamed(found: Any, names: Mapping[str, str]) -> Any:
    """An answer whose values are called as they are here: as keys, and where a value or a label stands by itself."""
    if isinstance(found, list | tuple):
        return [_renamed(one, names) for one in found]
    if not isinstance(found, dict):
        return found
    return {
        names.get(key, key): names.get(one, one) if key in ("value", "label") and isinstance(one, str) else _renamed(one, names)
        for key, one in found.items()
    }  # fmt: skip


def _run_of(goal: Goal, served: Shelf) -> Served:
    """The run whose judge reads for a goal."""
    known = [wish.value for wish in goal.wishes if wish.value in served.names]
    runs = list(dict.fromkeys(map(served.of, known))) or [served.runs[0]]
    if len(runs) > 1:
        raise EmotionCircuitsError(
            f"{', '.join(known)}: of several runs, each with a judge of its own; ask for values of one of them, and steer with "
            "the others by 'steering' in /v1/chat/completions"
        )
    return runs[0]


def _words_of(served: Shelf) -> dict[str, str]:
    """What the values may be called in a goal.

    A word that two runs share means a run's without a name; where all of them have names it names no value.
    """
    names: dict[str, str] = {}
    shared: set[str] = set()
    for run in reversed(served.runs):  # where two call a value alike, the first one's is meant
        if run.about is None:
            continue
        here = served.called_of(run)
        words = {word: here.get(v, v) for word, v in names_of(run.about.attribute, run.about.values).items()}
        if any(own != name for own, name in here.items()):
            shared |= words.keys() & names.keys()
            words |= {name.lower(): name for name in here.values()}
        names |= words
    return {word: name for word, name in names.items() if word not in shared}


def options_of(body: ToneBody, served: Shelf) -> Options:
    """How a body wants its tone looked for."""
    names = _words_of(served)
    wishes = {} if not body.goal else {w.value: w for w in goal_of(body.goal, (), names).wishes}
    for name, target in body.targets.items():
        value = names.get(name.strip().lower(), name)
        more = target.at_least is not None
        figure = target.at_least if target.at_least is not None else target.at_most
        wishes[value] = Wish(value, more, float(figure or 0), target.of)
    if body.goal and not wishes:
        raise EmotionCircuitsError("goal: names no value")
    how = Sampling(max_new_tokens=body.max_tokens, temperature=body.temperature, top_p=body.top_p)
    return Options(
        Goal(tuple(wishes.values()), body.fluency, body.similarity), tries=body.tries, n=body.n, beyond=body.beyond,
        prompting=body.prompting, sampling=how, seed=body.seed,
    )  # fmt: skip
