"""How fast this machine is, at this model's shapes, right now: a second or two of the products the model would compute.

No weights are loaded. A block's time is that of its matrix products (random numbers of the same shapes) and of a fixed cost
per block and call, which is what small models mostly pay for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from emotion_circuits.model import Blueprint
from emotion_circuits.model.replicas import at_once

__all__ = ["BATCH_TOKENS", "TABLE_BYTES", "Speed", "calibrate", "token_ids"]

BATCH_TOKENS = 1024
TABLE_BYTES = 25_000
"""A Parquet table of a few hundred rows."""
_OVERHEAD = 1.2
"""Attention, norms and activations, as a multiple of the matrix products."""
_CALL = 4e-4
"""Seconds per block and call beyond what grows with tokens, on the machine whose interpreter takes :data:`_PLAIN`."""
_PLAIN = 0.005
"""Seconds of :func:`_interpreter` on that machine."""
_SLICE = 16384


@dataclass(frozen=True)
class Speed:
    """Seconds of the pieces that stations are made of.

    Attributes:
        token: one token through all blocks, in a batch of about a thousand.
        call: one forward call of all blocks beyond its tokens.
        row: one row of a decoding step through all blocks, where as many batches are written beside one another as the
            device's cores allow.
        unembed: one row's logits, likewise.
        choose: choosing one row's next token from its logits, likewise.
        solve: one probe: a 1000-row covariance in ``d_model`` dimensions, or among the rows where those are fewer, and a solve,
            in double precision.
        host: how much slower than the reference machine this one interprets Python and moves small arrays.
    """

    token: float
    call: float
    row: float
    unembed: float
    choose: float
    solve: float
    host: float

    def forward(self, tokens: float, calls: float = 1) -> float:
        """Seconds of ``calls`` forward passes of ``tokens`` in all, without the unembedding."""
        return tokens * self.token + calls * self.call

    def decode(self, rows: float, at_once: int, steps: int) -> float:
        """Seconds in which ``rows`` texts of ``steps`` tokens are written, ``at_once`` of them together."""
        chunks = max(1.0, rows / at_once)
        return 1.15 * steps * (rows * (self.row + self.unembed + self.choose) + chunks * self.call)


def token_ids(model: Blueprint, texts: Sequence[str]) -> list[list[int]]:
    """Token numbers of texts, with the model's own tokenizer."""
    return model.encode(texts).ids


def calibrate(model: Blueprint, *, rows: int = 128) -> Speed:
    """Measure.

    Args:
        model: whose shapes.
        rows: of a decoding step.
    """
    device = model.place
    shapes = [tuple(p.shape) for p in model.blocks[model.n_layers // 2].parameters() if p.dim() == 2]
    weights = [torch.full(shape, 1e-2, dtype=model.dtype, device=device) for shape in shapes]

    def block(count: int) -> Callable[[], None]:
        inputs = {w.shape[1]: torch.full((count, w.shape[1]), 1e-2, dtype=model.dtype, device=device) for w in weights}

        def run() -> None:
            for w in weights:
                torch.nn.functional.linear(inputs[w.shape[1]], w)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    size = min(model.vocabulary, _SLICE)
    table = torch.full((size, model.d_model), 1e-2, dtype=model.dtype, device=device)
    states = torch.full((rows, model.d_model), 1e-2, dtype=model.dtype, device=device)
    logits = torch.randn(rows, size, device=device)

    def unembed() -> None:
        torch.nn.functional.linear(states, table)

    def choose() -> None:
        torch.softmax(logits, -1).topk(min(256, size), dim=-1, sorted=False)

    x = torch.randn(1000, model.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def solve() -> None:
        gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
        torch.linalg.solve(gram + torch.eye(len(gram), dtype=x.dtype), gram[:, :3])

    beside = at_once(device)
    alone = torch.get_num_threads() // beside
    with torch.inference_mode():
        wide = _best(block(BATCH_TOKENS))
        narrow, logit, choice = (_best(run, threads=alone) / beside for run in (block(rows), unembed, choose))
        whole = model.vocabulary / size / rows
        host = _best(_interpreter, threads=1) / _PLAIN
        return Speed(
            token=_OVERHEAD * wide / BATCH_TOKENS * model.n_layers,
            call=_CALL * host * model.n_layers,
            row=_OVERHEAD * narrow / rows * model.n_layers,
            unembed=logit * whole,
            choose=choice * whole,
            solve=_best(solve),
            host=host,
        )


def _best(run: Callable[[], object], *, threads: int | None = None, seconds: float = 0.25) -> float:
    """Least seconds of a call over a few: what it takes when nothing else runs. The first one warms up.

    Args:
        run: the call.
        threads: how many share its work; those of the linear algebra by default.
        seconds: to spend.
    """
    before = torch.get_num_threads()
    threads = before if threads is None else threads
    torch.set_num_threads(threads)
    try:
        run()
        taken: list[float] = []
        until = time.perf_counter() + seconds
        while len(taken) < 3 or time.perf_counter() < until:
            started, used = time.perf_counter(), time.process_time()
            run()
            # On a busy machine threads wait more than they work: what they used is what they will take alone.
            wall, work = time.perf_counter() - started, time.process_time() - used
            taken.append(wall if torch.cuda.is_available() else min(wall, max(work / threads, 1e-7)))
        return min(taken)
    finally:
        torch.set_num_threads(before)


def _interpreter() -> int:
    """What the stations' Python mostly does: dictionaries, small arrays, sorting."""
    table = {i: np.arange(8) + i for i in range(2000)}
    return sum(int(table[i].sum()) for i in range(2000)) + len(sorted(str(i) for i in range(5000)))
