"""Work that does not fit into memory is done in halves, and that is said."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["in_halves"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def in_halves(items: Sequence[Item], run: Callable[[Sequence[Item]], Result], *, what: str) -> Iterator[Result]:
    """What comes of the items run together or, where the device's memory is too small for that, in halves of halves.

    Rows that run beside fewer others are computed by other products, so that figures agree within rounding, not to the bit;
    what was halved is logged as a warning.

    Args:
        items: what would run together; at least one.
        run: runs some of them, neighbours in their order; called again on a half, it must leave nothing of a call that failed.
        what: the items are, for people: ``sentences``.

    Yields:
        What came of each call, in the order of the items.

    Raises:
        EmotionCircuitsError: one item alone does not fit.

    Example:
        >>> list(in_halves([1, 2, 3], sum, what="numbers"))
        [6]
    """
    waiting: list[Sequence[Item]] = [items]
    while waiting:
        some = waiting.pop()
        short: str | None = None
        try:
            result = run(some)
        except torch.OutOfMemoryError as error:
            short = str(error).strip().partition("\n")[0].partition(". GPU")[0]
        if short is None:
            yield result
            continue
        # Out of the handler: while it runs, its traceback holds the tensors of the call that failed.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(some) == 1:
            raise EmotionCircuitsError(
                f"one of the {what} alone does not fit into the device's memory ({short}); free memory there, "
                "spread the model over several devices (device=auto) or load it in a smaller dtype (bfloat16)"
            )
        half = len(some) // 2
        _log.warning("%d %s at once do not fit into the device's memory; tried again in halves", len(some), what)
        waiting += [some[half:], some[:half]]
