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
    FRAME,
    POOLINGS,
    PooledPositions,
    Pooler,
    frame_tokens,
    pooled_positions,
    token_batches,
    width,
)
from emotion_circuits.activations.sinks import (
    Sinks,
    judged_by,
    measure_sinks,
    not_finite,
    run_judged,
    sentences_for_sinks,
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
from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.ledger import Ledger
from emotion_circuits.model import LanguageModel, Site, observe, weights_sha256
from emotion_circuits.model.halving import in_halves
from emotion_circuits.model.language_model import Encoded
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
    reference: str | None = "neutral",
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
        "prefix": list(model.prefix),
        "reference": reference,
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
    reference: str | None = "neutral",
    engine: Engine | None = None,
) -> ActivationStore:
    """Capture states of every sentence, or go on with a capture that was interrupted.

    Args:
        model: the model; its prefix stands before every sentence.
        prompts: sentences; ids must be unique.
        folder: where shards, table and manifest go. A folder holding a capture of something else is an error.
        kinds: residual-stream site kinds (shape ``[d_model]`` per token); ``z q k v`` (all heads, flat
            ``[head * d_head]``; k and v repeated per query head); or ``scores pattern`` (a number per head, query and
            key: kept whole, with pooling ``tokens``).
        pooling: any of ``last``; ``emotion``; ``mean`` (over a sentence's tokens);
            ``weighted`` (as ``mean``, later tokens weighing more, in proportion to their position: Muennighoff 2022,
            SGPT); ``frame`` (the last token of ``frame`` appended to the sentence: what the model makes of the
            sentence when it is about to say it); ``tokens`` to keep every token, those before the text included. All but
            ``tokens`` leave attention sinks out (:mod:`emotion_circuits.activations.sinks`).
        layers: which layers; all by default.
        batch_tokens: upper bound of tokens in one forward pass.
        shard_rows: sentences per shard.
        frame: the words appended for pooling ``frame``. States of the sentence's own tokens cannot see them.
        reference: label of the sentences on which token norms are measured; ``None``: all of them.
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
    config = capture_config(model, prompts, kinds, poolings, chosen, shard_rows, frame, reference)
    key = hash_json(config)
    states = [kind for kind in kinds if kind not in PAIR_KINDS]
    sinks = _noted_sinks(folder, key)
    if sinks is None:
        on = sentences_for_sinks(prompts, reference)
        sinks = measure_sinks(model, [p.text for p in on], states, chosen, [p.id for p in on])
    manifest = {**config, "sinks": sinks.to_json(), "hash": key}
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


def _noted_sinks(folder: Path, key: str) -> Sinks | None:
    """What an interrupted capture of the same measured: its shards rest on it."""
    try:
        note = loads((folder / NOTE).read_text(encoding="utf-8"))
        return Sinks.from_json(note["sinks"]) if note["hash"] == key else None
    except (OSError, ValueError, KeyError, TypeError, EmotionCircuitsError):
        return None  # whoever reads the note says what is wrong with it


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
        ids: its token ids, prefix first.
        positions: its pooled tokens.
        sinks: which tokens are left out.
        kinds: what is captured of it.
        poolings: how.
        layers: where.
        suffix: token ids appended for pooling ``frame``.
        batch_tokens: upper bound of tokens in one forward pass.
    """

    names: list[str]
    ids: list[list[int]]
    positions: list[PooledPositions]
    sinks: Sinks
    kinds: list[str]
    poolings: list[str]
    layers: list[int]
    suffix: list[int]
    batch_tokens: int


def _sentences(
    model: LanguageModel, prompts: Sequence[Prompt], manifest: dict[str, Any], batch_tokens: int
) -> _Sentences:
    suffix = frame_tokens(model, manifest["frame"]) if "frame" in manifest["poolings"] else []
    encoded: Encoded = model.encode([p.text for p in prompts], room=len(suffix), names=[p.id for p in prompts])
    for prompt, row in zip(prompts, encoded.ids, strict=True):
        if len(row) <= len(model.prefix):
            raise EmotionCircuitsError(f"sentence {prompt.id} has no tokens for {model.name}")
    sinks = Sinks.from_json(manifest["sinks"])
    return _Sentences(
        names=[p.id for p in prompts],
        ids=encoded.ids,
        positions=pooled_positions(prompts, encoded.offsets, sinks.lead),
        sinks=sinks,
        kinds=manifest["kinds"],
        poolings=manifest["poolings"],
        layers=manifest["layers"],
        suffix=suffix,
        batch_tokens=batch_tokens,
    )


@torch.inference_mode()
def _shard(model: LanguageModel, of: _Sentences, members: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of one shard: the sentences of these rows."""
    return _Shard(model, of, members).captured()


class _Shard:
    """A shard while it is captured.

    Args:
        model: the model.
        of: what every shard needs.
        members: rows of this one.
    """

    def __init__(self, model: LanguageModel, of: _Sentences, members: Sequence[int]) -> None:
        self.model, self.of, self.members = model, of, members
        self.states = [kind for kind in of.kinds if kind not in PAIR_KINDS]
        self.pairs = [kind for kind in of.kinds if kind in PAIR_KINDS]
        self.pools = [pool for pool in of.poolings if pool != "tokens"]
        self.place = {layer: i for i, layer in enumerate(of.layers)}
        lengths = [len(of.ids[row]) for row in members]
        self.tensors: dict[str, Tensor] = {}
        for kind in self.states:
            shapes = {pool: len(members) for pool in self.pools}
            shapes |= {"tokens": sum(lengths)} if "tokens" in of.poolings else {}
            for pool, size in shapes.items():
                self._allocate(tensor_name(kind, pool), size, width(model, kind), dtype=model.dtype)
            self._allocate(tensor_name(judged_by(kind), NORM), sum(lengths))
        for kind in self.pairs:
            self._allocate(tensor_name(kind, "tokens"), sum(n * n for n in lengths), model.n_heads, dtype=model.dtype)
        self.absent = {
            tensor_name(kind, pool): torch.zeros(len(of.layers), len(members), dtype=torch.bool)
            for kind in self.states
            for pool in self.pools
        }

    def _allocate(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        self.tensors[name] = torch.empty(len(self.of.layers), *shape, dtype=dtype)

    def captured(self) -> dict[str, Tensor]:
        """Run all batches."""
        row = token = pair = 0
        with progress_bar("a shard", len(self.members)) as bar:

            def run(rows: Sequence[int]) -> int:
                nonlocal row, token, pair
                sizes = [len(self.of.ids[r]) for r in rows]
                squares = sum(n * n for n in sizes)
                self._batch(
                    rows, slice(row, row + len(rows)), slice(token, token + sum(sizes)), slice(pair, pair + squares)
                )
                row, token, pair = row + len(rows), token + sum(sizes), pair + squares
                return len(rows)

            for batch in token_batches(self.members, self.of.ids, self.of.batch_tokens):
                for done in in_halves(batch, run, what="sentences"):
                    bar.advance(done)
        self._check_finite()
        return self.tensors

    def _batch(self, rows: Sequence[int], at: slice, tokens: slice, pairs: slice) -> None:
        of, model = self.of, self.model
        batch = model.collate([[*of.ids[row], *of.suffix] for row in rows], side="right")
        pooler = Pooler(batch, len(of.suffix), [of.positions[row] for row in rows], of.sinks)
        sizes = [len(of.ids[row]) for row in rows]

        def take(kind: str, layer: int, states: Tensor, norms: Tensor) -> None:
            place = self.place[layer]
            self.tensors[tensor_name(judged_by(kind), NORM)][place, tokens] = norms[pooler.text].cpu()
            for pool in self.pools:
                found, name = pooler.pool(pool, kind, layer, states, norms), tensor_name(kind, pool)
                self.tensors[name][place, at] = found.states.to("cpu", model.dtype)
                self.absent[name][place, at] = found.absent.cpu()
            if "tokens" in of.poolings:
                self.tensors[tensor_name(kind, "tokens")][place, tokens] = states[pooler.text].cpu()

        def keep(site: Site, value: Tensor) -> Tensor:
            # [row, head, query, key]; padding is on the right
            parts = [value[i, :, :n, :n].flatten(1).T for i, n in enumerate(sizes)]
            whole = torch.cat(parts).to("cpu", model.dtype)
            self.tensors[tensor_name(site.kind, "tokens")][self.place[site.layer], pairs] = whole
            return value.new_empty(0)

        watched = [Site(kind, layer) for layer in of.layers for kind in self.pairs]  # type: ignore[arg-type]
        with observe(model, watched, transform=keep):
            # The states are checked, layer by layer.
            run_judged(model, batch, self.states, of.layers, take, finite=False)

    def _check_finite(self) -> None:
        """Refuse NaN and infinity anywhere but where a sentence has no such state."""
        of, lengths = self.of, torch.tensor([len(self.of.ids[row]) for row in self.members])
        for name, tensor in self.tensors.items():
            kind, pool = name.rsplit(".", 1)
            # A masked score is minus infinity by definition.
            finite = torch.isfinite(tensor) | (torch.isneginf(tensor) & (kind == "scores"))
            finite = finite if pool == NORM else finite.all(-1)
            if name in self.absent:
                finite = finite | self.absent[name]
            if bool(finite.all()):
                continue
            layer, column = (int(v) for v in (~finite).nonzero()[0])
            if pool in ("tokens", NORM):
                sizes = lengths.square() if kind in PAIR_KINDS else lengths
                column = int(torch.searchsorted(sizes.cumsum(0), column, right=True))
            name = f"{of.names[self.members[column]]} (pooling {pool})"
            raise EmotionCircuitsError(not_finite(self.model, kind, of.layers[layer], name))


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
            "emotion_is_sink": [p.sink for p in positions],
            "shard": [where[i][0] for i in range(len(prompts))],
            "place": [where[i][1] for i in range(len(prompts))],
            "offset": [where[i][2] for i in range(len(prompts))],
            "pair_offset": [where[i][3] for i in range(len(prompts))],
        }
    )


def residual_norms(store: ActivationStore, *, kind: str = "resid_post") -> Float[Tensor, " layer"]:
    """The size of the residual stream per layer: what ``alpha = 1`` means.

    Median L2 norm of the token states of neutral training sentences, attention sinks left out. (A root mean square is ruled
    by the few long states: in layers 2 to 8 of SmolLM2-135M it is 1.3 to 1.7 times the median.)

    Args:
        store: a capture.
        kind: captured site kind, or ``resid_post``, which is always measured.

    Raises:
        EmotionCircuitsError: a kind whose norms were not measured.
    """
    return torch.tensor([store.sinks.median(kind, layer) for layer in store.layers])
