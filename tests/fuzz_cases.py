"""Damaged inputs for every entrance, from valid ones, and the command line called with them in this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import yaml

SPICE = [
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\xbd", b"\n", b"\r", b'"', b"'", b",", b";", b"{", b"}", b"[", b"]",
    b"{{", b"}}", b"{%", b"%}", b"#", b"&a", b"*a", b"!!", b"!!python/name:os.system", b"<<: *a", b": ", b"- ", b"~", b"null",
    b"true", b"NaN", b"-Infinity", b".inf", b".nan", b"1e999", b"-1", b"0", b"1" * 30, b"9" * 5000, b"[" * 5000, b'{"a":' * 3000,
    "\u202e".encode(), "\u200d".encode(), "\U0001f469".encode(), b"\\ud83d", b"../", b"~nobody/", b"/dev/zero", b"a" * 5000,
    b"{{'a'*10**9}}", b"__class__", b"2000000", b"%s%n", b"#text=", b"0x10", b"1:30", b"2024-01-01",
]  # fmt: skip


class Outcome(NamedTuple):
    """What one call did: exit code, output, seconds."""

    code: int
    text: str
    seconds: float


class TooSlow(BaseException):
    """A call went on past its limit."""


def call_here(arguments: list[str], *, limit: int = 60) -> Outcome:
    """The command line, called in this process."""
    from emotion_circuits.cli import main

    def late(*_: object) -> None:
        raise TooSlow

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    kept, before = sys.argv, signal.signal(signal.SIGALRM, late)
    sys.argv = ["emotion-circuits", *arguments]
    signal.alarm(limit)
    started = time.process_time()
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        sys.argv = kept
    return Outcome(code, out.buffer.getvalue().decode("utf-8", "replace"), time.process_time() - started)


def damaged(valid: bytes, rng: random.Random) -> bytes:
    """A valid input with one to three changes: bytes cut, doubled, flipped or replaced, lines moved, odd values put in."""
    data = bytearray(valid)
    for _ in range(rng.randint(1, 3)):
        a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(7):
            case 0:
                del data[a : min(b, a + 40)]
            case 1:
                data[a:a] = rng.choice(SPICE)
            case 2:
                data[a : min(b, a + 8)] = rng.choice(SPICE)
            case 3:
                data[a:a] = data[a : min(b, a + 200)]
            case 4 if data:
                data[min(a, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 5:
                lines = bytes(data).split(b"\n")
                rng.shuffle(lines)
                data = bytearray(b"\n".join(lines))
            case _:
                del data[a:]
    return bytes(data)


ROWS = [
    {
        "id": f"r{i}", "text": text, "label": label, "group": f"g{i}", "split": split, "language": "en", "set": "mine",
        "spans": [[0, 5]],
    }
    for i, (text, label, split) in enumerate(
        [
            ("Thank you so much.", "gratitude", "train"), ("Books stand on that shelf.", "neutral", "validation"),
            ("Angry letters came in May.", "anger", "test"), ("Thank heavens that you came, Ruth!", "gratitude", "test"),
        ]
    )
]  # fmt: skip
CSV = b'text,label,group,split\n"Thank you, all.",gratitude,g0,train\n"It ""opens"" at\nnine.",neutral,g1,test\n'
STUDY = {
    "model": "smollm2-135m", "prompts": ["core"], "seed": 1, "emotions": ["anger"],
    "steering": {"layers": [0.5, [0.2, 0.4]], "alphas": [0.1], "temperature": 0.7, "batch_rows": 8},
    "capture": {"poolings": ["last", "emotion", "mean", "frame"]}, "circuits": {"thorough": False},
}  # fmt: skip
SETTINGS = (
    b"steering.samples=2", b"steering.layers=[0.2,0.4]", b"prompts=core", b"seed=1", b"steering.temperature=0.5",
    b"circuits={steps: 2}", b"emotions=[anger]",
)  # fmt: skip


def valid_inputs(folder: Path) -> dict[str, tuple[str, bytes, tuple[str, ...]]]:
    """Entrance → the name of its file, a valid content, and the command with ``FILE`` in it (or ``CONTENT`` itself)."""
    from attribute_cases import write_colours
    from exchange_cases import vector_files
    from tiny_files import save_folder, write_gguf

    places = {name: folder / name for name in ("model", "colours", "plain")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    save_folder(places["model"])
    write_gguf(folder / "tiny.gguf")
    colours = write_colours(places["colours"])
    header = (folder / "tiny.gguf").read_bytes()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    check, read = ("data", "check", "FILE"), ("evaluate", "validate", "keywords", "--data", "FILE")
    info = ("models", "info", str(places["model"]))
    vectors = vector_files(folder / "vectors")
    again = ("--to", "safetensors", "--out", str(folder / "again.safetensors"))
    dry = ("run", "--dry-run", "--out", str(folder / "run"))
    return {
        "yaml study": ("study.yaml", yaml.safe_dump(STUDY).encode(), (*dry, "--config", "FILE")),
        "json study": ("study.json", json.dumps(STUDY).encode(), (*dry, "--config", "FILE")),
        "attribute": ("colours/colours.yaml", colours.read_bytes(), ("data", "attribute", "FILE")),
        "set": ("", b"", (*dry, "--set", "CONTENT")),
        "csv": ("a.csv", CSV, check),
        "jsonl": ("a.jsonl", lines, check),
        "json": ("a.json", json.dumps(ROWS).encode(), check),
        "judged text": ("b.jsonl", lines, read),
        "parquet": ("a.parquet", _parquet(), check),
        "vector gguf": ("vectors/v.gguf", vectors["v.gguf"], ("export", "FILE", *again)),
        "config.json": ("model/config.json", (places["model"] / "config.json").read_bytes(), info),
        "tokenizer.json": (
            "model/tokenizer.json", (places["model"] / "tokenizer.json").read_bytes(),
            ("data", "check", "core", "--tokenizer", str(places["model"])),
        ),
        "gguf header": ("tiny.gguf", header, ("models", "info", "FILE")),
        "circuit": ("circuit.json", b'{"format": 4, "model": "m", "nodes": ["L0H0"]}', ("circuit", "show", "FILE")),
    }  # fmt: skip


def _parquet() -> bytes:
    import pandas as pd

    out = io.BytesIO()
    pd.DataFrame(ROWS).to_parquet(out)
    return out.getvalue()


def arguments_for(entrance: tuple[str, bytes, tuple[str, ...]], content: bytes, folder: Path) -> list[str]:
    """The command, with the content written where it belongs."""
    name, _, command = entrance
    if name:
        (folder / name).write_bytes(content)
    text = os.fsdecode(content.replace(b"\0", b""))
    return [str(folder / name) if part == "FILE" else text if part == "CONTENT" else part for part in command]
