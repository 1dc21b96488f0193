"""What is done to a batch: which of its tokens belong to which request, what is added to them, and what that did.

A batch is flat: the tokens of all requests one behind the other, each request's a piece of its text (a piece of a prompt, or one
written token). Only rows that a request chose are written; all others keep their bits. What is done is measured on the very
numbers that the next block reads: a token counts as touched where they differ before and after.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from emotion_circuits_vllm.asking import Asked, Edit
from emotion_circuits_vllm.places import chosen, how_many
from emotion_circuits_vllm.shelf import Vectors

__all__ = ["FIELDS", "Acting", "Piece", "Sums", "has_moved", "stream"]

FIELDS = ("tokens", "before", "after", "first", "first_before", "first_after", "looked")
"""What is summed for each vector at each layer of a request; the text's first token is counted by itself. ``looked`` counts all
tokens that were chosen and came by, changed or not."""

Sums = list[tuple[list[float], int, int, bool]]
"""By entry of ``Asked.entries``: the sums of :data:`FIELDS`, tokens chosen, tokens chosen that came from the prefix cache, and
whether those were computed by a request on which the same steering acted."""

_PROVEN = 4096
_MOVED = 1e-4
"""Residual norms by which a projection must have moved."""


def has_moved(sums: Sequence[float], norm: float) -> bool:
    """Whether a text's projection on a direction moved, at its first token or on average at the others.

    Args:
        sums: of :data:`FIELDS`.
        norm: of the layer's residual stream.
    """
    n, before, after, first, first_before, first_after, _ = sums
    return bool(
        (n and abs(after - before) / n > _MOVED * norm) or (first and abs(first_after - first_before) > _MOVED * norm)
    )


@dataclass(frozen=True)
class Piece:
    """A request's part of a batch.

    Attributes:
        request: its id.
        start: place in its text of the first token.
        count: of tokens.
    """

    request: str
    start: int
    count: int


@dataclass(eq=False)
class _Held:
    """A request while it is worked on."""

    asked: Asked
    prompt: int
    salt: str
    vectors: Vectors
    stages: dict[int, list[list[Edit]]]  # by layer: edits that are done at once, in order
    slots: dict[tuple[str, int], int]
    cached: int = -1  # tokens at its beginning that came from the prefix cache
    counted: int = 0  # tokens measured so far: what is computed again after a preemption is not counted again
    picked: dict[int, int] = field(default_factory=dict)  # by layer: tokens chosen and computed


@dataclass(eq=False)
class _Stage:
    """One write: additions of all requests at once, or one edit of another kind."""

    rows: torch.Tensor
    deltas: torch.Tensor | None = None
    of: torch.Tensor | None = None
    change: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass(eq=False)
class _Layer:
    stages: list[_Stage]
    rows: torch.Tensor  # of entries: one row of the batch may be measured along several directions
    slots: torch.Tensor
    units: torch.Tensor
    of: torch.Tensor  # which unit
    first: torch.Tensor


def stream(output: object) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The two parts of a residual stream that a decoder block hands on; where the sum is made at once, one part and ``None``.

    Returns:
        ``[token, d_model]``, views of what was handed on: writing into the first is writing into the stream.

    Raises:
        TypeError: a block that hands on something else.
    """
    parts = list(output) if isinstance(output, tuple | list) else [output]
    found = [p for p in parts if isinstance(p, torch.Tensor)]
    flat = [p.view(-1, p.shape[-1]) if p.dim() == 3 and p.shape[0] == 1 else p for p in found[:2]]
    if not flat or any(p.dim() != 2 for p in flat) or (len(flat) > 1 and flat[0].shape != flat[1].shape):
        raise TypeError(
            f"a decoder block hands on {[tuple(p.shape) for p in found] or type(output).__name__}, not a residual stream"
        )
    return flat[0], flat[1] if len(flat) > 1 else None


class Acting:
    """Steers the requests of a worker.

    Args:
        device: of the model.
        dtype: of its residual stream.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.fired: dict[int, int] = {}
        self._held: dict[str, _Held] = {}
        self._free: list[int] = []
        self._sums = torch.zeros(0, len(FIELDS), dtype=torch.float64, device=device)
        self._plan: dict[int, _Layer] = {}
        self._proven: OrderedDict[tuple[str, str], None] = OrderedDict()

    # -- requests ------------------------------------------------------------------------------------------------------------

    def take(self, request: str, asked: Asked, vectors: Vectors, prompt: int) -> None:
        """A request has come.

        Args:
            request: its id.
            asked: of it.
            vectors: of the file it names.
            prompt: tokens of its prompt.
        """
        if request in self._held:
            self.forget([request])
        stages: dict[int, list[list[Edit]]] = {}
        for edit in asked.edits:
            if edit.acts:
                _put(stages.setdefault(edit.layer, []), edit)
        slots = {entry: self._slot() for entry in asked.entries}
        self._held[request] = _Held(asked, prompt, asked.salt(prompt, vectors.mark(asked)), vectors, stages, slots)

    def forget(self, requests: Sequence[str]) -> None:
        """Requests have gone."""
        for request in requests:
            held = self._held.pop(request, None)
            if held is None:
                continue
            self._prove(held)
            self._free += held.slots.values()

    def _slot(self) -> int:
        if not self._free:
            more = max(64, len(self._sums))
            self._free = list(range(len(self._sums), len(self._sums) + more))
            self._sums = torch.cat([self._sums, self._sums.new_zeros(more, len(FIELDS))])
        slot = self._free.pop()
        self._sums[slot] = 0
        return slot

    def _prove(self, held: _Held) -> None:
        """Remember that a steering moved texts, for those that begin with what this one computed."""
        for (vector, layer), slot in held.slots.items():
            if has_moved(self._sums[slot].tolist(), float(held.vectors.norms[layer])):
                self._proven[held.salt, vector] = None
                self._proven.move_to_end((held.salt, vector))
        while len(self._proven) > _PROVEN:
            self._proven.popitem(last=False)

    def sums(self, requests: Sequence[str]) -> dict[str, Sums]:
        """What was done so far to those that are steered among some requests."""
        held = {r: self._held[r] for r in requests if r in self._held}
        if not held:
            return {}
        rows = self._sums.tolist()
        found: dict[str, Sums] = {}
        for request, one in held.items():
            of = []
            for (vector, layer), slot in one.slots.items():
                edits = [e for stage in one.stages[layer] for e in stage]
                cached = how_many(edits, one.cached, one.prompt) if one.cached > 0 else 0
                of.append((rows[slot], one.picked.get(layer, 0), cached, (one.salt, vector) in self._proven))
            found[request] = of
        return found

    # -- a batch -------------------------------------------------------------------------------------------------------------

    def prepare(self, pieces: Sequence[Piece]) -> None:
        """Lay out what is done to the next batch.

        Args:
            pieces: in the order of the flat batch.
        """
        stages: dict[int, list[tuple[list[np.ndarray], list[int], list[torch.Tensor], list[_Stage]]]] = {}
        entries: dict[int, list[tuple[np.ndarray, int, torch.Tensor, np.ndarray]]] = {}
        offset = 0
        for piece in pieces:
            held = self._held.get(piece.request)
            if held is not None:
                self._lay(held, piece, offset, stages, entries)
            offset += piece.count
        self._plan = {layer: self._layer(stages[layer], entries[layer]) for layer in stages}

    def _lay(self, held: _Held, piece: Piece, offset: int, stages: dict, entries: dict) -> None:
        if held.cached < 0:
            held.cached = held.counted = piece.start
        new = np.arange(piece.start, piece.start + piece.count) >= held.counted
        for layer, of in held.stages.items():
            union = np.zeros(piece.count, dtype=bool)
            for number, edits in enumerate(of):
                where = chosen(edits[0], piece.start, piece.count, held.prompt)
                if not where.any():
                    continue
                union |= where
                laid = stages.setdefault(layer, [])
                while len(laid) <= number:
                    laid.append(([], [], [], []))
                rows, counts, deltas, others = laid[number]
                at = np.flatnonzero(where) + offset
                if edits[0].operation == "add" and not edits[0].gate:
                    rows.append(at)
                    counts.append(len(at))
                    deltas.append(sum((held.vectors.delta(e) for e in edits[1:]), held.vectors.delta(edits[0])))
                else:
                    others.append(
                        _Stage(
                            torch.from_numpy(at).to(self.device), change=_change(edits[0], held.vectors, self.device)
                        )
                    )
            if not union.any():
                continue
            counts_here = union & new
            held.picked[layer] = held.picked.get(layer, 0) + int(counts_here.sum())
            at = np.flatnonzero(counts_here)
            for (vector, of_layer), slot in held.slots.items():
                if of_layer == layer:
                    entries.setdefault(layer, []).append(
                        (at + offset, slot, held.vectors.row(vector, layer), (at + piece.start) == 0)
                    )
        held.counted = max(held.counted, piece.start + piece.count)

    def _layer(self, laid: list, entries: list) -> _Layer:
        stages: list[_Stage] = []
        for rows, counts, deltas, others in laid:
            if rows:
                of = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(self.device)
                stages.append(
                    _Stage(
                        torch.from_numpy(np.concatenate(rows)).to(self.device),
                        torch.stack(deltas).to(self.device, self.dtype),
                        of,
                    )
                )
            stages += others
        sizes = [len(at) for at, *_ in entries]
        joined = torch.from_numpy(np.concatenate([at for at, *_ in entries])).to(self.device)
        slots = torch.from_numpy(np.repeat([slot for _, slot, *_ in entries], sizes)).to(self.device)
        of = torch.from_numpy(np.repeat(np.arange(len(entries)), sizes)).to(self.device)
        units = torch.stack([unit for *_, unit, _ in entries]).to(self.device)
        first = torch.from_numpy(np.concatenate([one for *_, one in entries])).to(self.device)
        return _Layer(stages, joined, slots, units, of, first)

    def rest(self) -> None:
        """What runs next is no batch of requests."""
        self._plan = {}

    def push_all(self, layer: int, delta: torch.Tensor, tokens: int) -> None:
        """Push every token of the next pass at one layer, and measure nothing: whether a layer can be steered at all."""
        nothing = torch.zeros(0, dtype=torch.long, device=self.device)
        stage = _Stage(
            torch.arange(tokens, device=self.device), delta[None].to(self.device, self.dtype),
            torch.zeros(tokens, dtype=torch.long, device=self.device),
        )  # fmt: skip
        units = torch.zeros(0, len(delta), device=self.device)
        self._plan = {layer: _Layer([stage], nothing, nothing, units, nothing, nothing.bool())}

    def after_block(self, layer: int, output: object) -> None:
        """Called with what a decoder block hands on; writes into it."""
        self.fired[layer] = self.fired.get(layer, 0) + 1
        plan = self._plan.get(layer)
        if plan is None:
            return
        hidden, residual = stream(output)

        def at(rows: torch.Tensor) -> torch.Tensor:
            return hidden[rows] if residual is None else hidden[rows] + residual[rows]

        before = at(plan.rows)
        for stage in plan.stages:
            if stage.deltas is not None:
                hidden[stage.rows] = hidden[stage.rows] + stage.deltas[stage.of]
            else:
                assert stage.change is not None
                hidden[stage.rows] = hidden[stage.rows] + stage.change(at(stage.rows)).to(hidden.dtype)
        if not len(plan.rows):
            return
        after = at(plan.rows)
        changed = (after != before).any(-1)
        unit = plan.units[plan.of]
        along = torch.stack([(before.float() * unit).sum(-1), (after.float() * unit).sum(-1)]).double()
        rest, first = (changed & ~plan.first).double(), (changed & plan.first).double()
        told = torch.stack(
            [rest, rest * along[0], rest * along[1], first, first * along[0], first * along[1], torch.ones_like(rest)],
            dim=-1,
        )
        self._sums.index_add_(0, plan.slots, told)


def _put(stages: list[list[Edit]], edit: Edit) -> None:
    """Behind the others; an addition goes to an earlier one with the same places, where only additions lie between."""
    if edit.operation == "add" and not edit.gate and isinstance(edit.positions, str):
        for stage in reversed(stages):
            one = stage[0]
            if one.operation != "add" or one.gate:
                break
            if (one.positions, one.when) == (edit.positions, edit.when):
                stage.append(edit)
                return
    stages.append([edit])


def _change(edit: Edit, vectors: Vectors, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """What is added to the tokens found, for edits that look at them."""
    unit, norm = vectors.row(edit.vector, edit.layer).to(device), float(vectors.norms[edit.layer])

    def change(found: torch.Tensor) -> torch.Tensor:
        wide = found.float()
        along = (wide * unit).sum(-1, keepdim=True)
        if edit.operation == "add":
            made = (unit * (edit.alpha * norm)).expand_as(wide)
        else:
            made = ((edit.alpha * norm if edit.operation == "clamp" else 0.0) - along) * unit
        if edit.gate:
            gate = (wide * vectors.row(edit.gate, edit.layer).to(device)).sum(-1, keepdim=True)
            open_ = gate > edit.threshold * norm if edit.side == "above" else gate < edit.threshold * norm
            made = torch.where(open_, made, 0.0)
        return made

    return change
