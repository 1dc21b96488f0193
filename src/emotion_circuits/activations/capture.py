"""Run a model over sentences and write what was seen to disk, in shards that survive an interruption.

The unembedding is never run. Sentences are sorted by length, so that batches hold little padding; a shard is one part
(:mod:`emotion_circuits.record.parts`): written when its rows are done, passed over when the capture is run again. Memory
holds one batch and one shard, whatever the number of sentences.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations.pooling import (
    ALL_POOLINGS,
    AVERAGES,
    FRAME,
    POOLINGS,
    PooledPositions,
    frame_tokens,
    mix,
    pool_weights,
    pooled_positions,
    stateless,
    text_mask,
    token_batches,
    width,
)
from emotion_circuits.activations.store import (
    FORMAT,
    MANIFEST,
    NORM,
    NOTE,
    PAIR_KINDS,
    ROWS,
    ActivationStore,
    check_format,
    shard_name,
    tensor_name,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.ledger import Ledger
from emotion_circuits.model import LanguageModel, Site, observe, weights_sha256
from emotion_circuits.model.sites import RESIDUAL_KINDS
from emotion_circuits.paths import hash_json, replacing, write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import Prompt, prompts_sha256
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.parts import Kept, Parts, Tensors

__all__ = ["STATE_KINDS", "capture", "capture_config", "residual_norms"]

STATE_KINDS = (*RESIDUAL_KINDS, "z", "q", "k", "v")
"""Kinds with one state per token. Those of heads are stored flat, ``[head * d_head]``."""

_log = logging.getLogger(__name__)


def capture_config(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    kinds: Sequence[str],
    poolings: Sequence[str],
    layers: Sequence[int],
    shard_rows: int,
    frame: str = FRAME,
) -> dict[str, Any]:
    """Everything that determines the bytes of a capture; its hash names the folder's contents."""
    return {
        "format": FORMAT,
        "model": {
            "name": model.name,
            "revision": model.revision,
            "weights_sha256": weights_sha256(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "n_layers": model.n_layers,
            "d_model": model.d_model,
            "n_heads": model.n_heads,
            "d_head": model.d_head,
        },
        "prompts_sha256": prompts_sha256(prompts),
        "n_rows": len(prompts),
        "kinds": list(kinds),
        "poolings": list(poolings),
        "layers": list(layers),
        "shard_rows": shard_rows,
        **({"frame": frame} if "frame" in poolings else {}),
    }


def capture(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    folder: Path | str,
    *,
    kinds: Sequence[str] = ("resid_post", "mlp_out"),
    pooling: Sequence[str] | str = POOLINGS,
    layers: Sequence[int] | None = None,
    batch_tokens: int = 1024,
    shard_rows: int = 256,
    frame: str = FRAME,
    engine: Engine | None = None,
) -> ActivationStore:
    """Capture states of every sentence, or go on with a capture that was interrupted.

    Args:
        model: the model.
        prompts: sentences; ids must be unique.
        folder: where shards, table and manifest go. A folder holding a capture of something else is an error.
        kinds: residual-stream site kinds (shape ``[d_model]`` per token); ``z q k v`` (all heads, flat
            ``[head * d_head]``; k and v repeated per query head); or ``scores pattern`` (a number per head, query and
            key: kept whole, with pooling ``tokens``).
        pooling: any of ``last``; ``emotion``; ``mean`` (over tokens without the first, which is an attention sink);
            ``weighted`` (as ``mean``, later tokens weighing more, in proportion to their position: Muennighoff 2022,
            SGPT); ``frame`` (the last token of ``frame`` appended to the sentence: what the model makes of the
            sentence when it is about to say it); ``tokens`` to keep every token.
        layers: which layers; all by default.
        batch_tokens: upper bound of tokens in one forward pass.
        shard_rows: sentences per shard.
        frame: the words appended for pooling ``frame``. States of the sentence's own tokens cannot see them.
        engine: where shards are computed; in this process by default.

    Returns:
        The finished store.

    Raises:
        EmotionCircuitsError: bad arguments, another capture's folder, a busy folder, NaN or infinite activations.
    """
    poolings = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    chosen = tuple(range(model.n_layers)) if layers is None else tuple(layers)
    _check_arguments(model, prompts, kinds, poolings, chosen)
    folder = Path(folder)
    config = capture_config(model, prompts, kinds, poolings, chosen, shard_rows, frame)
    manifest = {**config, "hash": hash_json(config)}
    sentences = _sentences(model, prompts, manifest, batch_tokens)
    lengths = [len(row) for row in sentences.ids]
    order = sorted(range(len(prompts)), key=lambda i: (lengths[i], i))
    shards = [order[start : start + shard_rows] for start in range(0, len(order), shard_rows)]
    kept = Kept(
        "capture",
        Tensors({"hash": manifest["hash"]}),
        note=NOTE,
        name=lambda part: Path(shard_name(manifest["hash"], part.index)).stem,
        anew="its sentences are captured anew",
        check=check_format,
    )
    with Parts(folder, manifest, shards, kept) as parts:
        _log.info("%s: capture %s, %d sentences in %d shards", folder, manifest["hash"][:12], len(prompts), len(shards))
        with progress_bar(f"capturing {model.name}", len(prompts)) as bar:
            bar.advance(len(prompts) - sum(len(part.task) for part in parts.missing()))
            for part, _ in parts.compute(Compute(_shard, sentences, model), engine):
                bar.advance(len(part.task))
        table = _table(prompts, sentences, shards)
        with replacing(folder / ROWS) as temporary:
            table.to_parquet(temporary, index=False)
            Ledger(folder).record(ROWS, temporary)
        write_json(folder / MANIFEST, manifest)
    return ActivationStore(folder, manifest, table)


def _check_arguments(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    kinds: Sequence[str],
    poolings: Sequence[str],
    layers: Sequence[int],
) -> None:
    if not prompts:
        raise EmotionCircuitsError("nothing to capture: the list of prompts is empty")
    repeated = pd.Series([p.id for p in prompts])
    if repeated.duplicated().any():
        raise EmotionCircuitsError(f"prompt id {repeated[repeated.duplicated()].iloc[0]!r} occurs twice")
    for kind in kinds:
        if kind not in (*STATE_KINDS, *PAIR_KINDS):
            known = ", ".join((*STATE_KINDS, *PAIR_KINDS))
            raise EmotionCircuitsError(f"kind {kind!r} is unknown; choose from {known}")
        if kind in PAIR_KINDS and "tokens" not in poolings:
            raise EmotionCircuitsError(
                f"kind {kind!r} holds a number per pair of tokens, which no pooling averages: add pooling 'tokens'"
            )
    for pool in poolings:
        if pool not in ALL_POOLINGS:
            raise EmotionCircuitsError(f"pooling {pool!r} is unknown; choose from {', '.join(ALL_POOLINGS)}")
    for layer in layers:
        for kind in kinds:
            model.check_site(Site(kind, layer))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class _Sentences:
    """What every shard needs.

    Attributes:
        names: each sentence's id.
        ids: its token ids.
        positions: its pooled tokens.
        kinds: what is captured of it.
        poolings: how.
        layers: where.
        suffix: token ids appended for pooling ``frame``.
        batch_tokens: upper bound of tokens in one forward pass.
    """

    names: list[str]
    ids: list[list[int]]
    positions: list[PooledPositions]
    kinds: list[str]
    poolings: list[str]
    layers: list[int]
    suffix: list[int]
    batch_tokens: int


def _sentences(
    model: LanguageModel, prompts: Sequence[Prompt], manifest: dict[str, Any], batch_tokens: int
) -> _Sentences:
    encoded = model.tokenizer([p.text for p in prompts], add_special_tokens=True, return_offsets_mapping=True)
    ids: list[list[int]] = encoded["input_ids"]
    for prompt, row in zip(prompts, ids, strict=True):
        if not row:
            raise EmotionCircuitsError(f"sentence {prompt.id} has no tokens for {model.name}")
    return _Sentences(
        names=[p.id for p in prompts],
        ids=ids,
        positions=pooled_positions(prompts, encoded["offset_mapping"]),
        kinds=manifest["kinds"],
        poolings=manifest["poolings"],
        layers=manifest["layers"],
        suffix=frame_tokens(model, manifest["frame"]) if "frame" in manifest["poolings"] else [],
        batch_tokens=batch_tokens,
    )


@torch.inference_mode()
def _shard(model: LanguageModel, of: _Sentences, members: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of one shard: the sentences of these rows."""
    ids, positions, poolings, layers, suffix = of.ids, of.positions, of.poolings, of.layers, of.suffix
    kinds = of.kinds
    states, pairs = [k for k in kinds if k not in PAIR_KINDS], [k for k in kinds if k in PAIR_KINDS]
    full = "tokens" in poolings
    pools = [p for p in poolings if p != "tokens"]
    lengths = [len(ids[row]) for row in members]
    tensors: dict[str, Tensor] = {}
    for kind in states:
        shapes = {pool: len(members) for pool in pools} | ({"tokens": sum(lengths)} if full else {})
        for pool, size in shapes.items():
            tensors[tensor_name(kind, pool)] = torch.empty(len(layers), size, width(model, kind), dtype=model.dtype)
        tensors[tensor_name(kind, NORM)] = torch.empty(len(layers), len(members))
    for kind in pairs:
        size = sum(n * n for n in lengths)
        tensors[tensor_name(kind, "tokens")] = torch.empty(len(layers), size, model.n_heads, dtype=model.dtype)
    sites = [Site(kind, layer) for layer in layers for kind in kinds]  # type: ignore[arg-type]
    place = {layer: i for i, layer in enumerate(layers)}
    row_at = token_at = pair_at = 0
    with progress_bar("a shard", len(members)) as bar:
        for rows in token_batches(members, ids, of.batch_tokens):
            batch = model.collate([[*ids[row], *suffix] for row in rows], side="right")
            text = text_mask(batch, len(suffix))
            weights = {pool: pool_weights(pool, batch, text, [positions[row] for row in rows]) for pool in pools}
            inner = text.float()
            inner[:, 0] = 0
            sizes = [len(ids[row]) for row in rows]
            row_slice = slice(row_at, row_at + len(rows))
            token_slice = slice(token_at, token_at + sum(sizes))
            pair_slice = slice(pair_at, pair_at + sum(n * n for n in sizes))

            def keep(
                site: Site,
                value: Tensor,
                text: Tensor = text,
                inner: Tensor = inner,
                weights: dict[str, Tensor] = weights,
                sizes: list[int] = sizes,
                row_slice: slice = row_slice,
                token_slice: slice = token_slice,
                pair_slice: slice = pair_slice,
            ) -> Tensor:
                layer = place[site.layer]
                if site.kind in PAIR_KINDS:  # [row, head, query, key]; padding is on the right
                    parts = [value[i, :, :n, :n].flatten(1).T for i, n in enumerate(sizes)]
                    tensors[tensor_name(site.kind, "tokens")][layer, pair_slice] = torch.cat(parts).to(
                        "cpu", model.dtype
                    )
                    return value.new_empty(0)
                value = value.flatten(2)  # heads side by side
                square = value.float().square().sum(-1) * inner  # inner: real tokens without the first
                tensors[tensor_name(site.kind, NORM)][layer, row_slice] = (square.sum(-1) / inner.sum(-1)).cpu()
                for pool, weight in weights.items():
                    state = value[torch.arange(len(weight)), weight] if weight.dim() == 1 else mix(weight, value)
                    tensors[tensor_name(site.kind, pool)][layer, row_slice] = state.to("cpu", model.dtype)
                if full:
                    tensors[tensor_name(site.kind, "tokens")][layer, token_slice] = value[text.bool()].cpu()
                return value.new_empty(0)

            with observe(model, sites, transform=keep):
                model.hidden(batch, finite=False)  # the states are checked, layer by layer
            row_at, token_at, pair_at = row_slice.stop, token_slice.stop, pair_slice.stop
            bar.advance(len(rows))
    _check_finite(model, tensors, of, members)
    return tensors


def _check_finite(model: LanguageModel, tensors: dict[str, Tensor], of: _Sentences, members: Sequence[int]) -> None:
    """Refuse NaN and infinity anywhere but where a sentence has no such state, which is known from its tokens alone."""
    lengths = torch.tensor([len(of.ids[row]) for row in members])
    absent = {pool: stateless(pool, lengths) for pool in AVERAGES}
    absent |= {NORM: absent["mean"], "emotion": torch.tensor([not of.positions[row].tokens for row in members])}
    for name, tensor in tensors.items():
        pool = name.rsplit(".", 1)[1]
        # A masked score is minus infinity by definition.
        finite = torch.isfinite(tensor) | (torch.isneginf(tensor) & name.startswith("scores."))
        finite = finite if pool == NORM else finite.all(-1)
        if pool in absent:
            finite = finite | absent[pool]
        if not bool(finite.all()):
            layer, column = (int(v) for v in (~finite).nonzero()[0])
            if pool == "tokens":
                sizes = lengths.square() if name.split(".")[0] in PAIR_KINDS else lengths
                column = int(torch.searchsorted(sizes.cumsum(0), column, right=True))
            kind = name.rsplit(".", 1)[0]
            raise EmotionCircuitsError(
                f"{model.name} gives NaN or infinity at {kind} of layer {of.layers[layer]}, first in sentence "
                f"{of.names[members[column]]} (pooling {pool}); nothing of this batch was kept. Load the model with "
                "dtype 'float32' or 'bfloat16'; if it still does, its weights are damaged"
            )


def _table(prompts: Sequence[Prompt], of: _Sentences, shards: Sequence[Sequence[int]]) -> pd.DataFrame:
    ids, positions = of.ids, of.positions
    where: dict[int, tuple[int, int, int, int]] = {}
    for shard, members in enumerate(shards):
        offset = pairs = 0
        for place, row in enumerate(members):
            where[row] = (shard, place, offset, pairs)
            offset += len(ids[row])
            pairs += len(ids[row]) ** 2
    return pd.DataFrame(
        {
            "id": [p.id for p in prompts],
            "text": [p.text for p in prompts],
            "label": [p.label for p in prompts],
            "group": [p.group for p in prompts],
            "split": [p.split for p in prompts],
            "language": [p.language for p in prompts],
            "set": [p.set for p in prompts],
            "n_tokens": [len(row) for row in ids],
            "emotion_tokens": [list(p.tokens) for p in positions],
            "matched_to": [p.matched for p in positions],
            "has_emotion": [bool(p.tokens) for p in positions],
            "shard": [where[i][0] for i in range(len(prompts))],
            "place": [where[i][1] for i in range(len(prompts))],
            "offset": [where[i][2] for i in range(len(prompts))],
            "pair_offset": [where[i][3] for i in range(len(prompts))],
        }
    )


def residual_norms(
    store: ActivationStore, *, kind: str = "resid_post", split: str = "train", reference: str = "neutral"
) -> Float[Tensor, " layer"]:
    """The size of the residual stream per layer: what ``alpha = 1`` means.

    Root mean square of the L2 norm of token states over neutral sentences, the first token (an attention sink with a
    massive activation) left out.

    Args:
        store: a capture with labels.
        kind: captured site kind.
        split: rows the mean is taken over.
        reference: label of neutral sentences.

    Raises:
        EmotionCircuitsError: no neutral sentence in the split.
    """
    rows = store.mask(label=reference, split=split)
    if not bool(rows.any()):
        raise EmotionCircuitsError(f"{store.folder}: no {reference} sentence in split {split!r} to measure norms on")
    squares = torch.stack([store.mean_square_norms(kind, layer)[rows] for layer in store.layers])
    return squares.nanmean(-1).sqrt()
