"""Exact scans: many small changes of the same run, each measured, none run twice.

A *variant* is a set of interventions on one batch. Variants that begin in the same layer are stacked on the batch axis
and resume there from the stored residual stream; only the last token's logits are computed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Batch, Intervention, LanguageModel, Record, Site, intervene, observe
from emotion_circuits.model.halving import in_halves
from emotion_circuits.model.resuming import resume
from emotion_circuits.progress import progress_bar

__all__ = ["BaseRun", "Variant", "base_run", "chunks_by_layer", "run_chunk", "run_variants"]

Variant = Sequence[Intervention]
Measure = Callable[[Float[Tensor, "variant row vocabulary"], Record], Tensor]


@dataclass(frozen=True, eq=False)
class BaseRun:
    """A run without interventions, and what is needed to resume it.

    Attributes:
        batch: the prompts, left-padded.
        resid_pre: per layer ``[row, position, d_model]``.
        logits: ``[row, vocabulary]`` at the last token.
        values: further sites that were asked for.
    """

    batch: Batch
    resid_pre: tuple[Float[Tensor, "row position d_model"], ...]
    logits: Float[Tensor, "row vocabulary"]
    values: dict[Site, Tensor]


@torch.no_grad()
def base_run(model: LanguageModel, batch: Batch, sites: Iterable[Site] = ()) -> BaseRun:
    """Run a batch once and keep every block's input.

    Args:
        model: the model.
        batch: left-padded prompts.
        sites: what else to keep, without a head.

    Raises:
        EmotionCircuitsError: the batch is right-padded, so the last column is not the last token everywhere.
    """
    if not bool(batch.real[:, -1].all()):
        raise EmotionCircuitsError("scans read the last column: tokenize with side='left'")
    wanted = list(dict.fromkeys(sites))
    pre = model.sites("resid_pre")
    with observe(model, [*pre, *wanted]) as record:
        logits = model.logits(batch, last_only=True)
    return BaseRun(batch, tuple(record[s] for s in pre), logits, {s: record[s] for s in wanted})


def _tiled(batch: Batch, times: int) -> Batch:
    return Batch(batch.input_ids.repeat(times, 1), batch.attention_mask.repeat(times, 1))


def chunks_by_layer(layers: Sequence[int], at_once: int) -> list[list[int]]:
    """Variants that run together: neighbours among those that begin in the same layer, at most so many.

    Args:
        layers: the first layer that each variant changes or watches.
        at_once: variants run together at most.

    Returns:
        Indices of variants, the lowest layer first.
    """
    by_layer: dict[int, list[int]] = defaultdict(list)
    for index, layer in enumerate(layers):
        by_layer[layer].append(index)
    return [
        by_layer[layer][start : start + at_once]
        for layer in sorted(by_layer)
        for start in range(0, len(by_layer[layer]), at_once)
    ]


@torch.no_grad()
def run_chunk(
    model: LanguageModel,
    base: BaseRun,
    variants: Sequence[Variant],
    layer: int,
    measure: Measure,
    *,
    watch: Sequence[Site] = (),
    stop: int | None = None,
) -> Tensor:
    """Measure variants together that begin in one layer; arguments as those of :func:`run_variants`."""
    rows = base.batch.input_ids.shape[0]

    def run(some: Sequence[Variant]) -> Tensor:
        times = len(some)
        changes = [
            replace(change, rows=tuple(range(place * rows, (place + 1) * rows)))
            for place, variant in enumerate(some)
            for change in variant
        ]
        pre = base.resid_pre[layer].repeat(times, 1, 1)
        batch = _tiled(base.batch, times)
        with observe(model, watch) as record, intervene(model, changes), resume(model, layer, pre, stop=stop):
            if stop is None:
                logits = model.logits(batch, last_only=True)
            else:
                model.hidden(batch, finite=False)
                logits = pre.new_empty(times * rows, 0)
        return measure(logits.unflatten(0, (times, rows)), record)

    return torch.cat(list(in_halves(variants, run, what="variants of the run")))


def run_variants(
    model: LanguageModel,
    base: BaseRun,
    variants: Sequence[Variant],
    measure: Measure,
    *,
    watch: Sequence[Site] = (),
    stop: int | None = None,
    batch_rows: int = 256,
    title: str = "scan",
) -> Tensor:
    """Measure every variant of a base run.

    Args:
        model: the model.
        base: the run the variants change.
        variants: each a set of interventions on all rows of the base batch (``rows`` unset).
        measure: from last-token logits ``[variant, row, vocabulary]`` (and the record of ``watch``, whose rows are
            variant-major) to ``[variant, …]``.
        watch: sites the measure wants to see.
        stop: blocks from this one on are not run, and there are no logits (their last axis is empty).
        batch_rows: rows run at once.
        title: of the progress bar.

    Returns:
        ``[variant, …]`` in the order given.

    Raises:
        EmotionCircuitsError: a variant that names rows.
    """
    layers = []
    for variant in variants:
        if any(i.rows is not None for i in variant):
            raise EmotionCircuitsError("a variant acts on all rows of the base batch: leave rows unset")
        # What is only watched at the end of a run that stops begins nothing.
        touched = [*(i.site.layer for i in variant), *(s.layer for s in watch if stop is None)]
        layers.append(min(touched, default=model.n_layers - 1))
    results: dict[int, Tensor] = {}
    with progress_bar(title, len(variants)) as bar:
        for chunk in chunks_by_layer(layers, max(1, batch_rows // base.batch.input_ids.shape[0])):
            some = [variants[index] for index in chunk]
            measured = run_chunk(model, base, some, layers[chunk[0]], measure, watch=watch, stop=stop)
            results |= dict(zip(chunk, measured, strict=True))
            bar.advance(len(chunk))
    return torch.stack([results[index] for index in range(len(variants))])
