"""Several batches at once on a CPU, each on cores of its own.

A batch of generation is a long chain of small products, which two cores share badly: half of the time one waits for the
other. Two batches beside one another keep both busy. Each worker has a replica of the model: modules and hooks of its
own, the same weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import chain
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

import torch

from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.sharing import foreign_hooks
from emotion_circuits.model.wiring import wiring_of

__all__ = ["at_once", "in_parallel", "replica", "torch_threads", "writing_model"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 4  # each holds the activations of a batch


def replica(model: LanguageModel, dtype: torch.dtype | None = None, *, own: bool = False) -> LanguageModel:
    """A model that can run beside the given one: the same weights, its own modules, hooks and tokenizer.

    Args:
        model: the model.
        dtype: of the replica's weights; in another one than the model's they are copies.
        own: the weights are copies in any case, so that they can be changed.
    """
    weights: dict[int, Any] = {id(tensor): tensor for tensor in chain(model.hf.parameters(), model.hf.buffers())}
    if own or dtype not in (None, model.dtype):
        # Buffers stay as they are, as when the model is loaded in this dtype: rotary angles need their digits.
        weights |= {
            id(p): torch.nn.Parameter(p.detach().to(dtype or p.dtype, copy=own), requires_grad=False)
            for p in model.hf.parameters()
        }
    made = LanguageModel(
        hf=copy.deepcopy(model.hf, weights),
        tokenizer=copy.deepcopy(model.tokenizer),  # a tokenizer refuses two threads
        family=model.family,
        name=model.name,
        source=model.source,
        revision=model.revision,
        refused=dict(model.refused),
        writes=model.writes,
        prefix=model.prefix,
        adapter=model.adapter,
        written_by=model.written_by,
        sums=model.sums,
    )
    if dtype is not None:
        made.config.dtype = dtype
    return made


def writing_model(model: LanguageModel) -> LanguageModel:
    """The model in the dtype that it writes in: itself, or a copy that is made once and kept.

    Figures of states, gradients and perplexities are the model's own; only continuations are written by the copy, which is
    as if loaded with ``dtype=model.writes``. Where something is edited or watched, or hooks that are not ours are on the model,
    it writes itself, so that those see everything.

    Args:
        model: the model.
    """
    dtype = model.writes
    if (
        model.written_by is not None
        or dtype in (None, model.dtype)
        or wiring_of(model).first_layer is not None
        or foreign_hooks(model)
    ):
        return model
    if model.writer is None or model.writer.dtype != dtype:
        model.writer = replica(model, dtype)
    return model.writer  # type: ignore[no-any-return]


def at_once(device: torch.device) -> int:
    """How many batches :func:`in_parallel` works on beside one another on a device, where it has as many."""
    return min(torch.get_num_threads(), _AT_ONCE) if device.type == "cpu" else 1


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Torch works with so many threads inside the ``with`` block; ``None``: with as many as before."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_parallel(
    model: LanguageModel,
    work: Callable[[LanguageModel, Item], Result],
    items: Sequence[Item],
    *,
    threads: int | None = None,
) -> Iterator[tuple[int, Result]]:
    """Do the work for each item, several at once where the model is on a CPU with several cores.

    Where something is edited or watched, or hooks that are not ours are on the model, items are worked on one after the
    other on the model itself, so that those see everything.

    Args:
        model: the model.
        work: ``work(model, item)``; it is given the model or a replica of it.
        items: what to work on.
        threads: of torch, for each item: how products are summed depends on them. By default the threads of this process
            are shared among the items worked on at once.

    Yields:
        The item's index and what came of it, in the order in which they are done. An error ends all: what has not begun
        is dropped, what runs stops at its next forward pass.
    """
    before = torch.get_num_threads()
    workers = min(at_once(model.device), len(items))
    if workers < 2 or wiring_of(model).first_layer is not None or foreign_hooks(model):
        for index, item in enumerate(items):
            with torch_threads(threads):
                result = work(model, item)
            yield index, result
        return
    each = before // workers if threads is None else threads
    stop = Event()
    free: SimpleQueue[LanguageModel] = SimpleQueue()
    for _ in range(workers):
        free.put(_stoppable(replica(model), stop))

    def run(item: Item) -> Result:
        mine = free.get()
        try:
            return work(mine, item)
        finally:
            free.put(mine)

    # torch counts threads per thread.
    pool = ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(each))
    try:
        futures: dict[Future[Result], int] = {pool.submit(run, item): index for index, item in enumerate(items)}
        for done in as_completed(futures):
            yield futures[done], done.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)


class _StoppedError(Exception):
    """The others' work is not wanted any more."""


def _stoppable(model: LanguageModel, stop: Event) -> LanguageModel:
    def check(_module: Any, _inputs: Any) -> None:
        if stop.is_set():
            raise _StoppedError

    model.base.register_forward_pre_hook(check)
    return model
