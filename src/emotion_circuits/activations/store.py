"""The record on disk: shards of safetensors, a table of rows, one manifest; read back a layer or a sentence.

Folder layout::

    manifest.json          what was captured, from what, and which shards are complete
    rows.parquet           one line per sentence: id, label, group, split, language, set, tokens, shard, place in it
                           (n_tokens counts the model's prefix; emotion_is_sink: its word is nothing but the first token)
    shard-<hash>-00000.safetensors
                           per kind and pooling ``[layer, row, d_model]``; with pooling ``tokens``
                           ``[layer, token, d_model]``, sentences one after another (ragged, no padding), and for
                           ``scores pattern`` ``[layer, query × key, head]`` likewise;
                           ``norm [layer, token]`` of the residual stream, by which sinks are told. The hash is that of the
                           capture's config.
    sums.json              CRC-32 of every shard and of the table, checked when the capture is opened or gone on with

Layer is the first axis, so that one layer of a shard, and one sentence of a layer, is one contiguous read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from emotion_circuits.activations.shards import Shard
from emotion_circuits.activations.sinks import Sinks, judged_by
from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.ledger import LEDGER, Ledger
from emotion_circuits.progress import progress_bar
from emotion_circuits.record.notes import checked, is_there

__all__ = [
    "FORMAT",
    "MANIFEST",
    "NORM",
    "NOTE",
    "PAIR_KINDS",
    "ROWS",
    "ActivationStore",
    "check_format",
    "read_rows",
    "shard_name",
    "tensor_name",
]

FORMAT = 4
"""Version of the folder's layout."""
MANIFEST = "manifest.json"
NOTE = "capture.json"
"""As the manifest, from the beginning of a capture on."""
ROWS = "rows.parquet"
NORM = "norm"
PAIR_KINDS = ("scores", "pattern")
"""Kinds with a number per head, query and key."""


def shard_name(capture_hash: str, index: int) -> str:
    """File name of a shard: which capture it belongs to, and its number there."""
    return f"shard-{capture_hash[:12]}-{index:05d}.safetensors"


def tensor_name(kind: str, pooling: str) -> str:
    """Name of a tensor inside a shard."""
    return f"{kind}.{pooling}"


def check_format(path: Path, found: Any) -> None:
    """Refuse a capture of another layout.

    Args:
        path: of the manifest, for the message.
        found: what it holds.

    Raises:
        EmotionCircuitsError: no manifest of a capture, or one that an older or newer version wrote.
    """
    version = found.get("format") if isinstance(found, dict) else None
    if not isinstance(version, int):
        raise EmotionCircuitsError(f"{path}: is not the manifest of a capture (it has no format number)")
    if version != FORMAT:
        how = "a newer" if version > FORMAT else "an older"
        raise EmotionCircuitsError(
            f"{path}: has format {version}, this version reads {FORMAT}: {how} version of emotion-circuits wrote it; "
            "use that version, or capture anew into another folder"
        )


class _Model(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    d_model: int
    n_heads: int = 0


class _Manifest(BaseModel):
    """What a store reads of a manifest; what else it holds is others'."""

    model_config = ConfigDict(strict=True)

    model: _Model
    kinds: list[str]
    poolings: list[str]
    layers: list[int]
    hash: str
    frame: str | None = None


def _check_manifest(path: Path, found: Any) -> None:
    check_format(path, found)
    try:
        _Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise EmotionCircuitsError(
            f"{path}: is damaged ({place}: {first['msg']}); run the capture again, it resumes"
        ) from error


def read_rows(folder: Path) -> pd.DataFrame:
    """The table of a capture's sentences; states need not be there.

    Raises:
        FileNotFoundError: there is none.
        EmotionCircuitsError: it is damaged or was changed.
    """
    path = folder / ROWS
    try:
        return pd.read_parquet(checked(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise EmotionCircuitsError(f"{path}: is damaged ({error}); run the capture again, it resumes") from error


class ActivationStore:
    """Captured activations.

    Attributes:
        folder: where they are.
        manifest: what was captured (config, model, data hash).
        rows: one line per sentence, in the order of the prompts.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], rows: pd.DataFrame) -> None:
        self.folder, self.manifest, self.rows = folder, manifest, rows

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True) -> ActivationStore:
        """Open a finished capture.

        Args:
            folder: of the capture.
            verify: read every shard once and compare its checksum (several GB/s from the page cache; once per process
                while the files stay as they are). Reading a layer afterwards checks nothing again.

        Raises:
            EmotionCircuitsError: no capture there, an unfinished or damaged one, or one of another version.
        """
        folder = Path(folder)
        file = folder / MANIFEST
        try:
            manifest = loads(checked(file).read_text(encoding="utf-8"))
            _check_manifest(file, manifest)
            rows = read_rows(folder)
        except FileNotFoundError as error:
            raise EmotionCircuitsError(
                f"{folder}: no finished capture here ({error.filename} is missing); run the capture again, it resumes"
            ) from error
        except (ValueError, OSError) as error:
            raise EmotionCircuitsError(f"{file}: is damaged ({error}); run the capture again, it resumes") from error
        store = cls(folder, manifest, rows)
        if verify:
            store.verify()
        return store

    def relabelled(self, labels: Sequence[str]) -> ActivationStore:
        """The same states under other labels; nothing on disk changes.

        Args:
            labels: one per row.

        Raises:
            EmotionCircuitsError: another number of labels than rows.
        """
        if len(labels) != len(self.rows):
            raise EmotionCircuitsError(f"{self.folder}: {len(labels)} labels for {len(self.rows)} rows")
        return ActivationStore(self.folder, self.manifest, self.rows.assign(label=list(labels)))

    def verify(self) -> None:
        """Compare every shard, and the table, with the checksum noted when it was written.

        Captures without noted sums pass; whether their files are cut off is noticed when they are read.

        Raises:
            EmotionCircuitsError: a shard that is missing or holds other bytes.
        """
        if is_there(self.folder / LEDGER):
            checked(self.folder / LEDGER)
        ledger = Ledger(self.folder)
        if ledger.known is None:
            return
        files = [self.folder / ROWS] if ROWS in ledger.known else []
        files += [shard.path for shard in self._shards]
        with progress_bar("checking shards", len(files)) as bar:
            for path in files:
                try:
                    damaged = ledger.verdict(path) == "damaged"
                except OSError as error:
                    raise EmotionCircuitsError(
                        f"{path}: cannot be read ({error.strerror}); run the capture again, it resumes"
                    ) from error
                if damaged:
                    raise EmotionCircuitsError(
                        f"{path}: is damaged (its checksum differs from the one noted in {ledger.path.name} when it was "
                        "written); delete this one file and run the capture again, it resumes"
                    )
                bar.advance()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Captured site kinds."""
        return tuple(self.manifest["kinds"])

    @property
    def poolings(self) -> tuple[str, ...]:
        """Captured poolings (``tokens`` for full-token storage)."""
        return tuple(self.manifest["poolings"])

    @property
    def layers(self) -> tuple[int, ...]:
        """Captured layers."""
        return tuple(self.manifest["layers"])

    @property
    def frame(self) -> str | None:
        """The words appended for pooling ``frame``."""
        value = self.manifest.get("frame")
        return None if value is None else str(value)

    @cached_property
    def sinks(self) -> Sinks:
        """Which tokens were left out, and the median token norms behind it.

        Raises:
            EmotionCircuitsError: a manifest without them.
        """
        return Sinks.from_json(self.manifest.get("sinks", {}))

    @property
    def d_model(self) -> int:
        """Width of a state."""
        return int(self.manifest["model"]["d_model"])

    @cached_property
    def _order(self) -> tuple[Tensor, ...]:
        """Per shard, the row numbers it holds, in its order."""
        table = self.rows.reset_index(drop=True)
        return tuple(
            torch.tensor(part.sort_values("place").index.to_numpy().copy())
            for _, part in table.groupby("shard", sort=True)
        )

    def _place(self, layer: int) -> int:
        try:
            return self.layers.index(layer)
        except ValueError:
            raise EmotionCircuitsError(
                f"{self.folder}: layer {layer} was not captured; captured: {list(self.layers)}"
            ) from None

    def _need(self, kind: str, pooling: str) -> str:
        if kind not in self.kinds or pooling not in self.poolings:
            raise EmotionCircuitsError(
                f"{self.folder}: {kind} pooled by {pooling!r} was not captured; captured kinds: "
                f"{', '.join(self.kinds)}; poolings: {', '.join(self.poolings)}"
            )
        return tensor_name(kind, pooling)

    def _states(self, kind: str, pooling: str) -> str:
        if kind in PAIR_KINDS:
            raise EmotionCircuitsError(f"{kind} has no state per token: read it with .attention(kind, layer, row)")
        return self._need(kind, pooling)

    @cached_property
    def _shards(self) -> tuple[Shard, ...]:
        return tuple(Shard(self.folder / shard_name(self.manifest["hash"], index)) for index in range(len(self._order)))

    def _slice(self, shard: int, name: str, layer: int, columns: slice) -> Tensor:
        return self._shards[shard].rows(name, layer, columns.start or 0, columns.stop, bytearray())

    def pooled(self, kind: str, pooling: str, layer: int) -> Float[Tensor, "row d_model"]:
        """One state per sentence, in the order of :attr:`rows`, read without loading other layers.

        Rows that have no such state are NaN: with pooling ``emotion`` those whose ``has_emotion`` is false, and those of
        which attention sinks leave nothing at this layer.

        Raises:
            EmotionCircuitsError: not captured, or a damaged shard.
        """
        name = self._states(kind, pooling)
        if pooling == "tokens":
            raise EmotionCircuitsError("pooling 'tokens' keeps every token: read it with .tokens(kind, layer, row)")
        return self._by_row(name, layer)

    def heads(self, kind: str, pooling: str, layer: int) -> Float[Tensor, "row head d_head"]:
        """As :meth:`pooled` for ``z q k v``, heads apart.

        Raises:
            EmotionCircuitsError: the kind has no heads.
        """
        if kind not in ("z", "q", "k", "v"):
            raise EmotionCircuitsError(f"{kind} has no heads; heads exist at z, q, k, v")
        flat: Tensor = self.pooled(kind, pooling, layer)
        apart: Tensor = flat.unflatten(-1, (int(self.manifest["model"]["n_heads"]), -1))
        return apart

    def token_norms(self, kind: str, layer: int) -> tuple[Float[Tensor, " token"], Int[Tensor, " token"]]:
        """L2 norms of the residual stream by which the sinks of a kind are told, and the row each token belongs to.

        Shard by shard, the tokens of a row in their order.
        """
        if kind not in self.kinds or kind in PAIR_KINDS:
            raise EmotionCircuitsError(f"{self.folder}: no norms of {kind}; captured: {', '.join(self.kinds)}")
        name, place = tensor_name(judged_by(kind), NORM), self._place(layer)
        norms = torch.cat([shard.rows(name, place, 0, None, bytearray()) for shard in self._shards])
        order = torch.cat(self._order)
        lengths = torch.tensor(self.rows["n_tokens"].to_numpy().copy())
        return norms, order.repeat_interleave(lengths[order])

    def _by_row(self, name: str, layer: int) -> Tensor:
        place = self._place(layer)
        result: Tensor | None = None
        # One shard at a time through the same bytes: they stay in the processor's cache.
        scratch = bytearray()
        for shard, order in zip(self._shards, self._order, strict=True):
            part = shard.rows(name, place, 0, None, scratch)
            if len(part) != len(order) or (result is not None and part.shape[1:] != result.shape[1:]):
                raise EmotionCircuitsError(
                    f"{shard.path}: holds {tuple(part.shape)} states of {name} where the table has {len(order)} rows; delete "
                    "this one file and run the capture again, it resumes"
                )
            if result is None:
                result = _roomy(len(self.rows), part)
            result.index_copy_(0, order, part)
        assert result is not None
        return result

    def tokens(self, kind: str, layer: int, row: int) -> Float[Tensor, "token d_model"]:
        """All token states of one sentence (real tokens only), read without loading the rest."""
        name = self._states(kind, "tokens")
        entry = self.rows.iloc[row]
        start = int(entry["offset"])
        return self._slice(int(entry["shard"]), name, self._place(layer), slice(start, start + int(entry["n_tokens"])))

    def attention(self, kind: str, layer: int, row: int) -> Float[Tensor, "head query key"]:
        """Attention ``scores`` or ``pattern`` of one sentence, read without loading the rest.

        Raises:
            EmotionCircuitsError: not captured, or not a kind of attention.
        """
        if kind not in PAIR_KINDS:
            raise EmotionCircuitsError(f"{kind} is not attention; attention is kept as {' or '.join(PAIR_KINDS)}")
        name = self._need(kind, "tokens")
        entry = self.rows.iloc[row]
        start, n = int(entry["pair_offset"]), int(entry["n_tokens"])
        flat = self._slice(int(entry["shard"]), name, self._place(layer), slice(start, start + n * n))
        apart: Tensor = flat.T.unflatten(1, (n, n))
        return apart

    def mask(self, **conditions: str | Sequence[str]) -> Tensor:
        """Rows that meet conditions: ``store.mask(split="train", label=["polite", "neutral"])``."""
        chosen = torch.ones(len(self.rows), dtype=torch.bool)
        for column, wanted in conditions.items():
            values = [wanted] if isinstance(wanted, str) else list(wanted)
            chosen &= torch.tensor(self.rows[column].isin(values).to_numpy().copy())
        return chosen


def _roomy(rows: int, like: Tensor) -> Tensor:
    """An empty tensor in NumPy's memory.

    NumPy asks for huge pages; the first touch of each small page costs more than the copy into it.
    """
    size = rows * like[:1].numel() * like.itemsize
    memory = torch.from_numpy(np.empty(size, dtype=np.uint8))
    return memory.view(like.dtype).view(rows, *like.shape[1:])
