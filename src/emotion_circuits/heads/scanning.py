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
from emotion_circuits.model.resuming import resume
from emotion_circuits.progress import progress_bar

__all__ = ["BaseRun", "Variant", "base_run", "run_variants"]

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


@torch.no_grad()
def run_variants(
    model: LanguageModel,
    base: BaseRun,
    variants: Sequence[Variant],
    measure: Measure,
    *,
    watch: Sequence[Site] = (),
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
        batch_rows: rows run at once.
        title: of the progress bar.

    Returns:
        ``[variant, …]`` in the order given.

    Raises:
        EmotionCircuitsError: a variant that names rows.
    """
    rows = base.batch.input_ids.shape[0]
    by_layer: dict[int, list[int]] = defaultdict(list)
    for index, variant in enumerate(variants):
        if any(i.rows is not None for i in variant):
            raise EmotionCircuitsError("a variant acts on all rows of the base batch: leave rows unset")
        first = min((i.site.layer for i in variant), default=model.n_layers - 1)
        by_layer[min([first, *(s.layer for s in watch)])].append(index)
    results: dict[int, Tensor] = {}
    at_once = max(1, batch_rows // rows)
    with progress_bar(title, len(variants)) as bar:
        for layer in sorted(by_layer):
            indices = by_layer[layer]
            for start in range(0, len(indices), at_once):
                chunk = indices[start : start + at_once]
                changes = [
                    replace(change, rows=tuple(range(place * rows, (place + 1) * rows)))
                    for place, index in enumerate(chunk)
                    for change in variants[index]
                ]
                pre = base.resid_pre[layer].repeat(len(chunk), 1, 1)
                with observe(model, watch) as record, intervene(model, changes), resume(model, layer, pre):
                    logits = model.logits(_tiled(base.batch, len(chunk)), last_only=True)
                measured = measure(logits.unflatten(0, (len(chunk), rows)), record)
                results |= dict(zip(chunk, measured, strict=True))
                bar.advance(len(chunk))
    return torch.stack([results[index] for index in range(len(variants))])
