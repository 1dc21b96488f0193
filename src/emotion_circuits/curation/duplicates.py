"""Exact and near duplicates: sets of character n-grams compared by their Jaccard similarity."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

__all__ = ["Duplicate", "Similar", "find_duplicates", "normalised", "shingles", "similar_texts"]

_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_LONGEST = 5

# What grows with the square of a corpus ends here: all pairs of 1,500 texts that are all alike, and of 100,000 that are not.
_MOST_MEETINGS = 30_000_000
_MOST_COMPARED = 2_000_000
_MOST_GRAMS = 16_000_000
_AT_ONCE = 1_000_000


class Duplicate(NamedTuple):
    """Two texts that are alike: positions ``first < second`` and their similarity (1 = the same once normalised)."""

    first: int
    second: int
    similarity: float


class Similar(NamedTuple):
    """Pairs of texts that are alike.

    Attributes:
        first, second: positions, ``first < second``, in the order of the second.
        similarity: Jaccard similarity of each pair.
        complete: whether every pair was looked at; in very large corpora of texts that are much alike only the likeliest are.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    complete: bool


def normalised(text: str) -> str:
    """Text without case, punctuation and differences of Unicode form, in which equal means duplicate."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", folded).split()) or folded


def _gram_length(plain: str) -> int:
    return 3 if _UNSPACED.search(plain) else _LONGEST


def shingles(text: str) -> frozenset[str]:
    """Character n-grams of the normalised text: 5 characters, 3 where the script has no spaces."""
    plain = normalised(text)
    n = _gram_length(plain)
    return frozenset(plain[i : i + n] for i in range(max(1, len(plain) - n + 1)))


def find_duplicates(texts: Sequence[str], *, threshold: float = 0.65) -> list[Duplicate]:
    """Every pair of texts whose n-gram sets have a Jaccard similarity of at least ``threshold``.

    As :func:`similar_texts`, for corpora in which pairs can be listed.

    Args:
        texts: any number of texts.
        threshold: in (0, 1].

    Returns:
        Pairs in the order of the second text.

    Example:
        >>> find_duplicates(["Thank you so much.", "It rains.", "thank you so much!"])
        [Duplicate(first=0, second=2, similarity=1.0)]
    """
    found = similar_texts([normalised(text) for text in texts], threshold=threshold)
    pairs = zip(found.first.tolist(), found.second.tolist(), found.similarity.tolist(), strict=True)
    return [Duplicate(*pair) for pair in pairs]


def similar_texts(plain: Sequence[str], *, threshold: float = 0.65) -> Similar:
    """Every pair of normalised texts whose n-gram sets have a Jaccard similarity of at least ``threshold``.

    Exact (no hashing): two sets that similar must share an element of their prefixes once all sets are ordered from the rarest
    n-gram to the commonest, and early enough in both, so only such pairs are compared (prefix and positional filtering:
    Xiao, Wang, Lin, Yu & Wang 2011, "Efficient similarity joins for near-duplicate detection").

    Args:
        plain: texts, :func:`normalised`.
        threshold: in (0, 1].
    """
    nothing = np.array([], dtype=np.int64)
    if len(plain) < 2:
        return Similar(nothing, nothing, np.array([]), True)
    sets, uncut = _gram_sets(plain)
    sizes = np.diff(sets.indptr)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    candidates = _Candidates(sets, sizes, threshold)
    complete = uncut and not candidates.capped
    for first, second, all_of_them in candidates.chunks():
        complete = complete and all_of_them
        for start in range(0, len(first), 20_000):
            a, b = first[start : start + 20_000], second[start : start + 20_000]
            shared = np.asarray(sets[a].multiply(sets[b]).sum(axis=1)).ravel()
            similarity = shared / (sizes[a] + sizes[b] - shared)
            alike = similarity >= threshold
            found.append((np.minimum(a, b)[alike], np.maximum(a, b)[alike], similarity[alike]))
    if not found:
        return Similar(nothing, nothing, np.array([]), complete)
    low, high, similarity = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((low, high))
    return Similar(low[order], high[order], similarity[order], complete)


def _gram_sets(plain: Sequence[str]) -> tuple[sparse.csr_matrix, bool]:
    """A row of ones per text in the columns of its n-grams, the rarest first; and whether no text was cut."""
    longest = max(200, _MOST_GRAMS // len(plain))
    uncut = all(len(text) <= longest for text in plain) or sum(map(len, plain)) <= _MOST_GRAMS
    if not uncut:
        plain = [text[:longest] for text in plain]
    lengths = np.array([len(text) for text in plain])
    n = np.array([_gram_length(text) for text in plain])
    points = np.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    alphabet = np.flatnonzero(np.bincount(points)) if len(points) else np.array([], dtype=np.int64)
    code = np.zeros(0x110000, dtype=np.int64)
    code[alphabet] = np.arange(1, len(alphabet) + 1)
    codes = np.concatenate([code[points], np.zeros(_LONGEST, dtype=np.int64)])
    base = len(alphabet) + 1
    counts = np.maximum(1, lengths - n + 1)
    # Of millions of grams every array counts: positions fit into 32 bits, and each goes when it was used.
    text = np.repeat(np.arange(len(plain), dtype=np.int32), counts)
    offset = np.arange(len(text), dtype=np.int32) - np.repeat((np.cumsum(counts) - counts).astype(np.int32), counts)
    start = np.repeat((np.cumsum(lengths) - lengths).astype(np.int32), counts) + offset
    left = np.minimum(n[text], lengths[text] - offset).astype(
        np.int8
    )  # characters of the gram; missing ones count as none
    del offset
    key = np.zeros(len(text), dtype=np.int64)
    for k in range(_LONGEST):
        if k == 3 and base**_LONGEST >= 2**62:
            key = pd.factorize(key)[0].astype(np.int64)
        key *= base
        key += np.where(k < left, codes[start + k], 0)
    del start, left, codes
    which, grams = pd.factorize(key)
    del key
    rank = np.empty(len(grams), dtype=np.int64)
    rank[np.argsort(np.bincount(which), kind="stable")] = np.arange(len(grams))
    cells = rank[which]
    del which
    cells += text * np.int64(len(grams))
    del text
    cells.sort()
    cells = cells[np.flatnonzero(np.diff(cells, prepend=-1))]
    column = (cells % len(grams)).astype(np.int32)
    pointers = np.searchsorted(cells, np.arange(len(plain) + 1) * len(grams))
    values = np.ones(len(cells), dtype=np.int32)
    return sparse.csr_matrix((values, column, pointers), shape=(len(plain), len(grams))), uncut


class _Candidates:
    """Pairs that may be similar: the shorter text's early grams are looked up in the longer one's."""

    def __init__(self, sets: sparse.csr_matrix, sizes: np.ndarray, threshold: float) -> None:
        self.sizes, self.threshold = sizes, threshold
        sizes32 = sizes.astype(np.int32)
        row = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        column = sets.indices
        place = np.arange(len(row), dtype=np.int32) - np.repeat(sets.indptr[:-1].astype(np.int32), sizes)
        size = sizes32[row]
        flat = np.zeros(len(sizes) * 4, dtype=np.uint64)
        bit = column % 256
        np.bitwise_or.at(flat, row * 4 + bit // 64, np.left_shift(np.uint64(1), (bit % 64).astype(np.uint64)))
        self.bits = flat.reshape(-1, 4)
        del bit

        def early(share: float) -> np.ndarray:
            kept: np.ndarray = place < size - np.ceil(share * size - 1e-9) + 1
            return kept

        looked_up, indexed = early(threshold), early(2 * threshold / (1 + threshold))
        self.row, self.column, self.place = (part[looked_up].astype(np.int64) for part in (row, column, place))
        self.wide = int(sizes.max()) + 2
        key = column[indexed].astype(np.int64) * self.wide + size[indexed]
        order = np.argsort(key, kind="stable")
        key = key[order]
        self.by_gram = row[indexed][order].astype(np.int64)
        self.by_gram_place = place[indexed][order].astype(np.int64)
        own = sizes[self.row]
        shortest = np.ceil(threshold * own - 1e-9).astype(np.int64)
        self.begin = np.searchsorted(key, self.column * self.wide + shortest)
        self.meetings = np.searchsorted(key, self.column * self.wide + own, side="right") - self.begin
        self.capped = int(self.meetings.sum()) > _MOST_MEETINGS
        if self.capped:
            # The rarest grams of each text, which tell the most, come first in it.
            most = _MOST_MEETINGS // len(sizes)
            before = np.cumsum(self.meetings) - self.meetings
            before -= before[np.searchsorted(self.row, self.row)]
            self.meetings = np.clip(most - before, 0, self.meetings)

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
        """Pairs ``(shorter, longer)``, each once, and whether these are all of the longer texts looked at."""
        ends = np.cumsum(self.meetings)
        # All meetings of one text in one chunk, so that each pair is compared once.
        last = np.flatnonzero(np.diff(self.row, append=-1) != 0)
        start = 0
        while start < len(self.row):
            base = ends[start - 1] if start else 0
            stop = last[max(np.searchsorted(ends[last], base + _AT_ONCE) - 1, np.searchsorted(last, start))] + 1
            yield self._chunk(slice(start, stop))
            start = stop

    def _chunk(self, part: slice) -> tuple[np.ndarray, np.ndarray, bool]:
        count = self.meetings[part]
        probe = np.repeat(np.arange(part.start, part.stop), count)
        inside = np.arange(len(probe)) - np.repeat(np.cumsum(count) - count, count)
        entry = self.begin[probe] + inside
        longer, shorter = self.row[probe], self.by_gram[entry]
        size, other = self.sizes[longer], self.sizes[shorter]
        # As many grams as can still be shared from here on, against as many as must be.
        most = np.minimum(size - self.place[probe], other - self.by_gram_place[entry])
        needed = np.ceil(self.threshold / (1 + self.threshold) * (size + other) - 1e-9)
        kept = (most >= needed) & ((other < size) | (shorter < longer))
        n = len(self.sizes)
        pairs, shared = np.unique(longer[kept] * n + shorter[kept], return_counts=True)
        longer, shorter = pairs // n, pairs % n
        # Grams that fall on different bits are different: so many at least are not shared.
        apart = np.bitwise_count(self.bits[longer] ^ self.bits[shorter]).sum(axis=1, dtype=np.int64)
        size = self.sizes[longer] + self.sizes[shorter]
        kept = (size - apart) // 2 >= np.ceil(self.threshold / (1 + self.threshold) * size - 1e-9)
        longer, shorter, shared = longer[kept], shorter[kept], shared[kept]
        texts = len(np.unique(self.row[part]))
        allowed = max(1, _MOST_COMPARED * texts // n)
        if len(longer) <= allowed:
            return shorter, longer, True
        order = np.lexsort((-shared, longer))
        longer, shorter = longer[order], shorter[order]
        nth = np.arange(len(longer)) - np.searchsorted(longer, longer)
        likely = nth < max(1, allowed // texts)
        return shorter[likely], longer[likely], bool(likely.all())
