"""A row of a corpus, and a corpus as a file: fixtures of the tests of corpora."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def row():
    """A valid row with some fields replaced (``None`` leaves a field out)."""

    def make(**fields):
        base = {
            "id": "a",
            "text": "I am so grateful to you.",
            "label": "gratitude",
            "group": "g",
            "split": "train",
            "language": "en",
            "set": "mine",
            "spans": [[8, 16]],
        }
        return {k: v for k, v in {**base, **fields}.items() if v is not None}

    return make


@pytest.fixture
def corpus(tmp_path):
    """Writes objects (or raw lines) as a JSONL file and returns its path."""

    def write(rows, name="mine.jsonl"):
        path = tmp_path / name
        lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write
