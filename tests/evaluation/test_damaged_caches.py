"""A cache that was damaged, or written by another version, costs time and never changes a score."""

import random

import pandas as pd
import pytest

from emotion_circuits.evaluation.caching import TextCache

TEXTS = [f"text {i}" for i in range(40)]


def lengths(texts):
    return pd.DataFrame({"n": [float(len(t)) for t in texts], "word": [t.split()[0] for t in texts]})


def test_no_flipped_bit_changes_a_score(tmp_path):
    cache = TextCache("evaluations", "length", "1", root=tmp_path)
    right = cache.fetch(TEXTS, lengths)
    whole, rng, computed = cache.path.read_bytes(), random.Random(2), 0

    def counting(texts):
        nonlocal computed
        computed += 1
        return lengths(texts)

    for _ in range(25):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        cache.path.write_bytes(data)
        pd.testing.assert_frame_equal(cache.fetch(TEXTS, counting), right)
    assert computed == 25
    cache.fetch(TEXTS, counting)
    assert computed == 25


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"nonsense" * 100])
def test_what_is_no_table_is_made_again(tmp_path, damage):
    cache = TextCache("evaluations", "length", "1", root=tmp_path)
    right = cache.fetch(TEXTS, lengths)
    for sums in (True, False):
        cache.path.write_bytes(damage)
        if not sums:
            cache.sum.unlink()
        pd.testing.assert_frame_equal(cache.fetch(TEXTS, lengths), right)


def test_another_version_has_its_own_table(tmp_path):
    old, new = (TextCache("evaluations", "length", version, root=tmp_path) for version in ("1", "2"))
    old.fetch(TEXTS, lambda texts: lengths(texts).assign(n=0.0))
    assert new.fetch(TEXTS, lengths)["n"].min() > 0
    assert old.fetch(TEXTS, lengths)["n"].max() == 0
