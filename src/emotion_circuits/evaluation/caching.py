"""Scores are remembered by (evaluator, version, text), so that a text is judged once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from jaxtyping import Float

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import Evaluator, check_texts
from emotion_circuits.ledger import file_crc32
from emotion_circuits.paths import cache_dir, hash_json, make_folder, replacing

__all__ = ["Cached", "TextCache", "text_key"]


def text_key(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class TextCache:
    """One Parquet table of rows keyed by text, for one computation.

    Args:
        kind: sub-folder of the cache, e.g. ``evaluations``.
        name: of the computation.
        version: of the computation; another version is another table.
        root: folder instead of the user's cache.
    """

    def __init__(self, kind: str, name: str, version: str, *, root: Path | None = None) -> None:
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60]
        self.path = (root or cache_dir()) / kind / f"{safe}-{hash_json([name, version])[:16]}.parquet"
        self.sum = self.path.with_suffix(".crc32")

    def _load(self) -> pd.DataFrame | None:
        try:
            # One flipped bit may leave a table that reads well and says something else. (Older tables have no sum.)
            if self.sum.exists() and self.sum.read_text(encoding="ascii") != file_crc32(self.path):
                return None
            return pd.read_parquet(self.path).set_index("text_sha256")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, NotImplementedError):
            # A damaged cache costs a recomputation, never a result.
            return None

    def fetch(self, texts: Sequence[str], compute: Callable[[list[str]], pd.DataFrame]) -> pd.DataFrame:
        """Rows of all texts; ``compute`` is called once with the distinct texts that are not yet known."""
        keys = [text_key(text) for text in texts]
        known = self._load()
        missing = {k: t for k, t in zip(keys, texts, strict=True) if known is None or k not in known.index}
        if missing or known is None:
            fresh = compute(list(missing.values()))
            if len(fresh) != len(missing):
                raise EmotionCircuitsError(
                    f"{self.path.stem}: {len(fresh)} rows were computed for {len(missing)} texts"
                )
            fresh = fresh.set_axis(pd.Index(list(missing), name="text_sha256"), axis=0)
            known = self._add(fresh)
        return known.loc[keys].reset_index(drop=True)

    def vectors(
        self, texts: Sequence[str], compute: Callable[[list[str]], Float[np.ndarray, "text d"]]
    ) -> Float[np.ndarray, "text d"]:
        """As :meth:`fetch` for one float32 vector per text; at least one text."""
        table = self.fetch(texts, lambda missing: pd.DataFrame({"embedding": [v.tobytes() for v in compute(missing)]}))
        return np.stack([np.frombuffer(raw, dtype=np.float32) for raw in table["embedding"]])

    def _add(self, fresh: pd.DataFrame) -> pd.DataFrame:
        make_folder(self.path.parent)
        # Another process may have added rows since they were read: merge under a lock.
        with FileLock(f"{self.path}.lock"):
            known = self._load()
            merged = fresh if known is None else pd.concat([known, fresh[~fresh.index.isin(known.index)]])
            with replacing(self.path) as temporary:
                merged.reset_index().to_parquet(temporary, index=False)
                # Before the table takes its name: killed in between, the old table differs from the sum and is made again.
                with replacing(self.sum) as note:
                    note.write_text(file_crc32(temporary), encoding="ascii")
        return merged


class Cached:
    """An evaluator that remembers.

    Args:
        inner: the evaluator.
        root: folder instead of the user's cache.
    """

    def __init__(self, inner: Evaluator, *, root: Path | None = None) -> None:
        self.inner = inner
        self.name, self.version, self.axis = inner.name, inner.version, inner.axis
        self._cache = TextCache("evaluations", inner.name, inner.version, root=root)

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """As the inner evaluator's, computed once per distinct text."""
        return self._cache.fetch(check_texts(texts, self.name), self.inner.score)

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """As the inner evaluator's."""
        return self.inner.decide(scores)
