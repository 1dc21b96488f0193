"""Exact and near duplicates: sets of character n-grams compared by their Jaccard similarity."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Duplicate", "find_duplicates", "normalised", "shingles"]

_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


class Duplicate(NamedTuple):
    """Two texts that are alike: positions ``first < second`` and their similarity (1 = the same once normalised)."""

    first: int
    second: int
    similarity: float


def normalised(text: str) -> str:
    """Text without case, punctuation and differences of Unicode form, in which equal means duplicate."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", folded).split()) or folded


def shingles(text: str) -> frozenset[str]:
    """Character n-grams of the normalised text: 5 characters, 3 where the script has no spaces."""
    plain = normalised(text)
    n = 3 if _UNSPACED.search(plain) else 5
    return frozenset(plain[i : i + n] for i in range(max(1, len(plain) - n + 1)))


def find_duplicates(texts: Sequence[str], *, threshold: float = 0.65) -> list[Duplicate]:
    """Every pair of texts whose n-gram sets have a Jaccard similarity of at least ``threshold``.

    Exact (no hashing): two sets that similar must share an element of their prefixes once all sets are ordered from
    the rarest n-gram to the commonest, so only such pairs are compared (prefix filtering: Bayardo, Ma & Srikant 2007,
    "Scaling up all pairs similarity search").

    Args:
        texts: any number of texts.
        threshold: in (0, 1].

    Returns:
        Pairs in the order of the second text.
    """
    sets = [shingles(text) for text in texts]
    plain = [normalised(text) for text in texts]
    frequency = Counter(gram for grams in sets for gram in grams)
    holders: dict[str, list[int]] = defaultdict(list)
    found: list[Duplicate] = []
    for second, grams in enumerate(sets):
        ordered = sorted(grams, key=lambda gram: (frequency[gram], gram))
        prefix = ordered[: len(ordered) - math.ceil(threshold * len(ordered) - 1e-9) + 1]
        candidates = {first for gram in prefix for first in holders[gram]}
        for first in sorted(candidates):
            shared = len(sets[first] & grams)
            similarity = shared / (len(sets[first]) + len(grams) - shared)
            if plain[first] == plain[second]:
                found.append(Duplicate(first, second, 1.0))
            elif similarity >= threshold:
                found.append(Duplicate(first, second, similarity))
        for gram in prefix:
            holders[gram].append(second)
    return found
