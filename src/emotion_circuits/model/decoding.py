"""Rows that are being written, token by token: they join, take steps together, and leave.

A batch in which rows come and go is padded on the left: every row ends in the last column, so that a row that joins brings its
keys and values, and the narrower of the two is padded. When rows leave, columns in which nobody is left are cut off. What is
done to a row is named by the row's place in the batch, and given anew whenever places change.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from emotion_circuits.model.gauging import Gauge
from emotion_circuits.model.intervening import Intervention, intervene
from emotion_circuits.model.language_model import Batch, LanguageModel
from emotion_circuits.model.observing import Record, observe
from emotion_circuits.model.sharing import read_prompts
from emotion_circuits.model.sites import Site
from emotion_circuits.model.unembedding import passing_logits

__all__ = ["Decoding"]


class Decoding:
    """What is known of the rows so far: keys and values, or with ``use_cache=False`` the tokens themselves.

    To be used in a ``with`` block and under ``torch.inference_mode()``. Logits that it gives hold until its next call.

    Attributes:
        last: what the last forward pass was run on.
        record: with ``watch``, the state of each row's last token at every site watched, ``[row, d_model]``.
    """

    def __init__(self, model: LanguageModel, *, use_cache: bool = True) -> None:
        self.model, self.use_cache = model, use_cache
        self.last: Batch | None = None
        self.record: Record | None = None
        self._cache: Any = None
        self._ids = torch.zeros(0, 0, dtype=torch.long, device=model.device)
        self._mask = self._ids
        self._ends = torch.zeros(0, dtype=torch.long, device=model.device)
        self._whole, self._done = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        self._whole.enter_context(passing_logits(self.model))
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.close()
        self._whole.close()

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def columns(self) -> int:
        """Width of the batch, padding included."""
        return int(self._mask.shape[1])

    def arrange(
        self, edits: Sequence[Intervention] = (), gauges: Sequence[Gauge] = (), watch: Sequence[Site] = ()
    ) -> None:
        """Say what is done to the rows from now on, instead of what was done so far.

        Args:
            edits: interventions; their ``rows`` are places in the batch.
            gauges: what to measure of them.
            watch: sites whose last state is kept in ``record``.
        """
        self._put(self._ends, edits, gauges, watch)

    def _put(
        self, ends: Int[Tensor, " row"], edits: Sequence[Intervention], gauges: Sequence[Gauge], watch: Sequence[Site]
    ) -> None:
        self._done.close()
        self._done = ExitStack()
        self._done.enter_context(intervene(self.model, edits, prompt_ends=ends, gauges=gauges))
        latest = observe(self.model, watch, transform=lambda _site, value: value[:, -1].float())
        self.record = self._done.enter_context(latest) if watch else None

    def join(
        self,
        batch: Batch,
        edits: Sequence[Intervention] = (),
        gauges: Sequence[Gauge] = (),
        watch: Sequence[Site] = (),
        *,
        room: float,
    ) -> Float[Tensor, "row vocabulary"]:
        """Read prompts of further rows, and put these behind those that are there.

        What was arranged for the others no longer holds; where there are others, arrange anew before the next step.

        Args:
            batch: the prompts, padded on the left.
            edits: what is done to them; ``rows`` are places among them.
            gauges: what to measure of that, by places among them.
            watch: as for :meth:`arrange`.
            room: tokens that will follow at most.

        Returns:
            What is predicted behind each.
        """
        ends = torch.full((len(batch.input_ids),), batch.input_ids.shape[1], device=self.model.device)
        self._put(ends, edits, gauges, watch)
        self.last = batch
        if self.use_cache:
            logits, cache, mask = read_prompts(self.model, batch, room=room)
        else:
            logits, cache, mask = self.model.forward(batch, last_only=True).logits, None, batch.attention_mask
        if not len(self):
            self._cache, self._mask, self._ids, self._ends = cache, mask, batch.input_ids, ends
            return logits[:, -1]
        width = max(mask.shape[1], self.columns)
        if self.use_cache:
            _merge(self._cache, cache, width)
        else:
            self._ids = torch.cat([_wide(self._ids, width, self.model.pad_id), _wide(batch.input_ids, width)])
        self._ends = torch.cat([self._ends + (width - self.columns), ends + (width - batch.input_ids.shape[1])])
        self._mask = torch.cat([_wide(self._mask, width), _wide(mask, width)])
        return logits[:, -1]

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row vocabulary"]:
        """Put one token behind every row.

        Args:
            tokens: theirs.

        Returns:
            What is predicted behind each.
        """
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        if self.use_cache:
            self.last = Batch(tokens[:, None], self._mask)
            found = self.model.forward(self.last, last_only=True, past_key_values=self._cache, use_cache=True)
        else:
            self._ids = torch.cat([self._ids, tokens[:, None]], dim=1)
            self.last = Batch(self._ids, self._mask)
            found = self.model.forward(self.last, last_only=True)
        logits: Tensor = found.logits
        return logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Let all rows go but these, which take the places in the order named; arrange anew before the next step.

        Args:
            rows: places.
        """
        self._done.close()
        self.record = None
        kept = torch.tensor(list(rows), dtype=torch.long, device=self.model.device)
        self._mask, self._ends = self._mask[kept], self._ends[kept]
        if not len(kept):
            self._mask, self._ids, self._cache = self._mask[:, :0], self._ids[:0, :0], None
            return
        gone = int(self._mask.argmax(-1).min())
        self._mask, self._ends = self._mask[:, gone:], self._ends - gone
        if self.use_cache:
            self._cache.batch_select_indices(kept)
            for layer in self._cache.layers:
                _fit(layer, self.columns)
        else:
            self._ids = self._ids[kept][:, gone:]


def _wide(values: Int[Tensor, "row column"], width: int, fill: int = 0) -> Int[Tensor, "row width"]:
    """Padded on the left to a width."""
    return torch.nn.functional.pad(values, (width - values.shape[1], 0), value=fill)


def _merge(ours: DynamicCache, theirs: DynamicCache, width: int) -> None:
    """Put the rows of one cache behind those of the other, at a common width."""
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        for layer in (mine, other):
            _fit(layer, width)
        mine.keys, mine.values = torch.cat([mine.keys, other.keys]), torch.cat([mine.values, other.values])


def _fit(layer: Any, width: int) -> None:
    """Pad a layer's cache, or cut it, on its left, to what it keeps of so many columns: a local layer keeps its window only."""
    kept = width
    if layer.is_sliding:
        kept, layer.cumulative_length = min(width, layer.sliding_window - 1), width
    more = kept - layer.keys.shape[-2]
    if more:
        # A negative pad cuts off.
        layer.keys, layer.values = (torch.nn.functional.pad(t, (0, 0, more, 0)) for t in (layer.keys, layer.values))
