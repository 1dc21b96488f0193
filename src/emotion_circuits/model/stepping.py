"""A running batch of texts: rows join and leave at any step, each with its own interventions, sampling, stops and length.

A row's text does not depend on which rows are beside it, as far as floating point allows (:mod:`.generation`): greedy or sampled,
it is what :func:`.generation.generate` writes of its prompt alone, with the same interventions and seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.continuations import Unfolding, continuation
from emotion_circuits.model.decoding import Decoding
from emotion_circuits.model.gauging import Gauge, Touched
from emotion_circuits.model.generation import Sampling, choose, row_draws
from emotion_circuits.model.intervening import Ablate, Intervention, Patch, check_intervention, for_rows
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.sites import Site

__all__ = ["Along", "Reason", "Row", "Stepper", "Task", "Token"]

Reason = Literal["stop", "length", "cancelled", "error"]
"""Why a row ended: the model ended it or a stop string came; its length; it was told to; NaN or infinity."""


@dataclass(frozen=True, eq=False)
class Along:
    """A direction along which it is measured what the interventions of a row do at a site.

    Attributes:
        site: in the residual stream, or what attention or an MLP adds to it.
        direction: ``[d_model]``.
    """

    site: Site
    direction: Float[Tensor, " d_model"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """What one row is to write.

    Attributes:
        ids: of the prompt, as :meth:`.LanguageModel.encode` makes them.
        sampling: length and choice of tokens.
        seed: of its random stream.
        interventions: what is done to it; they name no ``rows``.
        stop: texts that end it; they are not part of it.
        along: what to measure of the interventions.
        logprobs: the log-probability of each token, and of so many of the most probable ones; ``None``: neither.
        watch: sites at which the state that wrote each token is kept.
        live: whether its text is wanted while it is written.
    """

    ids: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    interventions: tuple[Intervention, ...] = ()
    stop: tuple[str, ...] = ()
    along: tuple[Along, ...] = ()
    logprobs: int | None = None
    watch: tuple[Site, ...] = ()
    live: bool = False

    def check(self, model: LanguageModel) -> None:
        """Refuse what a row of a running batch cannot carry.

        Raises:
            EmotionCircuitsError: no prompt, or no room for it; an empty stop; an intervention that names rows, or that is
                given by padded columns, which change as rows come and go; or that does not fit the model.
        """
        if not self.ids:
            raise EmotionCircuitsError("the prompt has no tokens")
        model.check_length(len(self.ids), self.sampling.max_new_tokens, lambda: "the prompt")
        if not all(self.stop):
            raise EmotionCircuitsError("a stop must not be empty")
        for i in self.interventions:
            check_intervention(model, i)
            if i.rows is not None:
                raise EmotionCircuitsError(f"{type(i).__name__} at {i.site}: names rows; a task is one row")
            columns = i.value.shape[1] if isinstance(i, Patch) else 1
            if isinstance(i, Ablate) and i.mode == "resample" and i.value is not None:
                columns = i.value.shape[1]
            if columns != 1 or i.site.kind in ("scores", "pattern"):
                raise EmotionCircuitsError(
                    f"{type(i).__name__} at {i.site}: is given by padded columns, which change in a running batch"
                )


@dataclass(frozen=True, eq=False)
class Token:
    """One token of a row.

    Attributes:
        id: its number.
        text: what became readable with it; of tasks that are not ``live`` empty.
        logprob: its log-probability in the (steered) model, at temperature 1 and without filters.
        top: the most probable tokens and their log-probabilities.
        states: of the position that wrote it, by site.
    """

    id: int
    text: str = ""
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    states: Mapping[Site, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class Row:
    """A task while it is worked on, and what came of it.

    Attributes:
        task: what is to be written.
        tokens: what was written.
        reason: why it ended; ``None`` before.
        text: the whole text once it has ended, and what was handed out of it before.
        ids: numbers of the text's tokens, once it has ended.
        touched: what its interventions did, for each of ``task.along``.
        error: what went wrong, where anything did.
    """

    task: Task
    tokens: list[Token] = field(default_factory=list)
    reason: Reason | None = None
    text: str = ""
    ids: tuple[int, ...] = ()
    touched: list[Touched] = field(default_factory=list)
    error: str = ""

    def __post_init__(self) -> None:
        self._draws = row_draws(self.task.sampling, self.task.seed).tolist() if self.task.sampling.temperature else None
        self._whole = Unfolding(self.task.ids)
        self.touched = [Touched() for _ in self.task.along]

    @property
    def _reads(self) -> bool:
        return self.task.live or bool(self.task.stop)

    def add(self, token: Token, ends: bool, tokenizer: object) -> None:
        """Take a token, or the end of the text.

        Args:
            token: written.
            ends: it ends the text, and is no part of it.
            tokenizer: the model's.
        """
        task, how = self.task, self.task.sampling
        if not ends:
            text = ""
            if self._reads:
                self._whole.add(tokenizer, token.id)
                text = self._hand_out(final=False)
            self.tokens.append(replace(token, text=text))
        if ends or self._cut() is not None:
            self.reason = "stop"
        elif len(self.tokens) >= how.max_new_tokens:
            self.reason = "length"
        if self.reason is None:
            return
        text, self.ids = continuation(tokenizer, task.ids, [t.id for t in self.tokens])
        if self._reads:
            if not text.startswith(self.text):  # what was handed out stands
                text = self._whole.text
            self._whole.text = text
            rest = self._hand_out(final=True)
            if rest and self.tokens:
                self.tokens[-1] = replace(self.tokens[-1], text=self.tokens[-1].text + rest)
        else:
            self.text = text

    def _cut(self) -> int | None:
        """Where the text is cut off by a stop."""
        if not self.task.stop:
            return None
        places = [at for at in (self._whole.text.find(stop) for stop in self.task.stop) if at >= 0]
        return min(places, default=None)

    def _hand_out(self, *, final: bool) -> str:
        """What may be shown by now and was not yet: not what could be the beginning of a stop."""
        whole, cut = self._whole.text, self._cut()
        if cut is not None:
            upto = cut
        elif final:
            upto = len(whole)
        else:
            held = (n for stop in self.task.stop for n in range(len(stop) - 1, 0, -1) if whole.endswith(stop[:n]))
            upto = len(whole) - max(held, default=0)
        new = whole[len(self.text) : upto]
        self.text += new
        return new


class Stepper:
    """Writes rows that come and go; to be used in a ``with`` block, by one thread at a time.

    Example::

        with Stepper(model) as batch:
            row = batch.join([Task(ids=model.encode(["Hello"]).ids[0])])[0]
            while batch.rows:
                batch.step()
            print(row.text)
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.rows: list[Row] = []
        self._state = Decoding(model)
        self._gauges: list[tuple[Gauge, list[tuple[Row, int]]]] = []
        self._settled = True  # whether what is arranged fits the rows

    def __enter__(self) -> Self:
        self._state.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._state.__exit__()

    @torch.inference_mode()
    def join(self, tasks: Sequence[Task]) -> list[Row]:
        """Read the prompts of further rows, and write the first token of each.

        Args:
            tasks: theirs.

        Raises:
            EmotionCircuitsError: as :meth:`Task.check`; none of them has joined then.
        """
        for task in tasks:
            task.check(self.model)
        if not tasks:
            return []
        self._harvest()
        new = [Row(task) for task in tasks]
        edits, self._gauges, sites = _arranged(new, self.model, reading=True)
        batch = self.model.collate([task.ids for task in tasks])
        logits = self._state.join(batch, edits, [g for g, _ in self._gauges], sites, room=float("inf"))
        self._write(new, logits)
        self._harvest()
        self.rows += new
        self._settled = False
        self._leave()
        return new

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Write one token of every row.

        Returns:
            Those that ended with it; they have left.
        """
        self._leave()
        if not self.rows:
            return []
        if not self._settled:
            self._settle()
        tokens = torch.tensor([row.tokens[-1].id for row in self.rows], device=self.model.device)
        self._write(self.rows, self._state.step(tokens))
        ended = [row for row in self.rows if row.reason]
        self._leave()
        return ended

    def cancel(self, row: Row) -> None:
        """End a row; it takes part in no further step."""
        row.reason = row.reason or "cancelled"

    def _leave(self) -> None:
        kept = [place for place, row in enumerate(self.rows) if row.reason is None]
        if len(kept) == len(self.rows):
            return
        self._harvest()
        self.rows = [self.rows[place] for place in kept]
        self._state.keep(kept)
        self._settled = False

    def _settle(self) -> None:
        edits, self._gauges, sites = _arranged(self.rows, self.model, reading=False)
        self._state.arrange(edits, [g for g, _ in self._gauges], sites)
        self._settled = True

    def _harvest(self) -> None:
        for gauge, entries in self._gauges:
            for (row, place), found in zip(entries, gauge.read(), strict=True):
                row.touched[place] += found
        self._gauges = []

    def _write(self, rows: Sequence[Row], found: Float[Tensor, "row vocabulary"]) -> None:
        logits = found.float()
        whole = torch.isfinite(logits.amax(-1)).tolist()
        ends = set(self.model.eos_ids)
        told = {i: _log_probabilities(logits[i]) for i, row in enumerate(rows) if row.task.logprobs is not None}
        for i, row in enumerate(rows):
            if ends and len(row.tokens) < row.task.sampling.min_new_tokens:
                logits[i, list(ends)] = float("-inf")
        alike: dict[tuple[float, float, int], list[int]] = {}
        for i, row in enumerate(rows):
            how = row.task.sampling
            key = (how.temperature, how.top_p, how.top_k) if how.temperature else (0.0, 1.0, 0)
            alike.setdefault(key, []).append(i)
        chosen = [0] * len(rows)
        for places in alike.values():
            some = logits if len(places) == len(rows) else logits[places]
            draws = None
            if rows[places[0]]._draws is not None:
                drawn = [rows[i]._draws[len(rows[i].tokens)] for i in places]  # type: ignore[index]
                draws = torch.tensor(drawn, device=logits.device)
            for i, token in zip(places, choose(some, rows[places[0]].task.sampling, draws).tolist(), strict=True):
                chosen[i] = token
        record = self._state.record
        for i, row in enumerate(rows):
            if not whole[i]:
                row.reason = "error"
                row.error = (
                    f"{self.model.name} gives NaN or infinity at token {len(row.tokens)} of the text; steer it less, or load the "
                    "model in another dtype"
                )
                continue
            token = Token(chosen[i], states={site: record[site][i] for site in row.task.watch} if record else {})
            if i in told:
                token = _told(token, told[i], row.task.logprobs or 0)
            row.add(token, chosen[i] in ends, self.model.tokenizer)


def _arranged(
    rows: Sequence[Row], model: LanguageModel, *, reading: bool
) -> tuple[list[Intervention], list[tuple[Gauge, list[tuple[Row, int]]]], list[Site]]:
    """What is done to rows by their places, what is measured of it, and what is watched.

    Behind the prompts, what acts on prompts alone is left out: that it does nothing need not be found out at every step.
    """
    edits = [
        i
        for place, row in enumerate(rows)
        for i in for_rows(row.task.interventions, [place])
        if reading or i.when != "prompt"
    ]
    measured: dict[Site, list[tuple[int, Row, int]]] = {}
    for place, row in enumerate(rows):
        for index, along in enumerate(row.task.along):
            measured.setdefault(along.site, []).append((place, row, index))
    gauges = []
    for site, entries in measured.items():
        directions = torch.stack([row.task.along[index].direction for _, row, index in entries]).to(model.device)
        gauge = Gauge(site, [place for place, _, _ in entries], directions)
        gauges.append((gauge, [(row, index) for _, row, index in entries]))
    return edits, gauges, list(dict.fromkeys(site for row in rows for site in row.task.watch))


def _log_probabilities(logits: Float[Tensor, " vocabulary"]) -> Float[Tensor, " vocabulary"]:
    return torch.log_softmax(logits, -1)


def _told(token: Token, known: Float[Tensor, " vocabulary"], count: int) -> Token:
    top = known.topk(min(count, len(known)))
    pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return replace(token, logprob=float(known[token.id]), top=pairs)
