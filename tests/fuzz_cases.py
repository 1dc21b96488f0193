"""Damaged inputs for every entrance, from valid ones, and the command line called with them in this process."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

SPICE = [
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\xbd", b"\n", b"\r", b'"', b"'", b",", b";", b"{", b"}", b"[", b"]",
    b"{{", b"}}", b"{%", b"%}", b"#", b"&a", b"*a", b"!!", b"!!python/name:os.system", b"<<: *a", b": ", b"- ", b"~", b"null",
    b"true", b"NaN", b"-Infinity", b".inf", b".nan", b"1e999", b"-1", b"0", b"1" * 30, b"9" * 5000, b"[" * 5000, b'{"a":' * 3000,
    "\u202e".encode(), "\u200d".encode(), "\U0001f469".encode(), b"\\ud83d", b"../", b"~nobody/", b"/dev/zero", b"a" * 5000,
    b"{{'a'*10**9}}", b"__class__", b"2000000", b"%s%n", b"#text=", b"0x10", b"1:30", b"2024-01-01",
]  # fmt: skip
ODD = [
    None, True, False, -1, 0, 1, 2, 1.5, 1e-300, 1e300, 10**9, 2**31, 2**63, 2**64, 10**18, "", " ", "x", "-1", "NaN",
    "a" * 3000, "../..", "/", "/dev/zero", "~", "\x00", "\u200d", "{{", "[/x]", "%s", [], {}, [[]], [None], [0], [1, "a"],
    {"": 0}, {"a": {"b": []}}, "train", "all", "neutral", "float64", "cuda:9", "gpt2",
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

    def command() -> None:
        kept, sys.argv = sys.argv, ["emotion-circuits", *arguments]
        try:
            main()
        finally:
            sys.argv = kept

    return _limited(command, limit)


def _limited(action: Callable[[], object], limit: int) -> Outcome:
    def late(*_: object) -> None:
        raise TooSlow

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    # Of the processor's time: a machine that is busy with other things is no fault of an input.
    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, limit)
    started = time.process_time()
    code, said = 0, ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            action()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except TooSlow:
        code, said = 124, f"longer than {limit} s"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return Outcome(code, out.buffer.getvalue().decode("utf-8", "replace") + said, time.process_time() - started)


def call_library(function: Callable[[], object], *, limit: int = 60) -> Outcome:
    """A function of the library, ended as the command line would end."""
    from emotion_circuits.cli import _worded

    def guarded() -> None:
        try:
            function()
        except Exception as error:
            text, expected = _worded(error)
            sys.stderr.write(text + "\n")
            raise SystemExit(1 if expected else 70) from None

    return _limited(guarded, limit)


# --- Damage --------------------------------------------------------------------------------------------------------------------


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


def changed(value: Any, rng: random.Random) -> Any:
    """A value of JSON with one or two of its parts made odd, moved, doubled or left out: what reads well and says nonsense."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 2)):
        places = list(_places(value))
        if not places:
            return rng.choice(ODD)
        inside, key = rng.choice(places)
        match rng.randrange(5):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside[rng.choice([key + "_", key.upper(), "id", "text"])] = inside.pop(key)
            case 2:
                other, name = rng.choice(places)
                if isinstance(other, dict) and name in other:
                    inside[key] = copy.deepcopy(other[name])
            case 3 if isinstance(inside[key], int | float) and not isinstance(inside[key], bool):
                inside[key] = inside[key] * rng.choice([-1, 0, 2, 1000, 10**6]) + rng.choice([0, 1])
            case _:
                inside[key] = rng.choice(ODD)
    return value


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield value, key
        yield from _places(part)


def _json(valid: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return damaged(valid, rng)
    return json.dumps(changed(json.loads(valid), rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace")


def _json_lines(valid: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return damaged(valid, rng)
    rows = changed([json.loads(line) for line in valid.splitlines()], rng)
    return "".join(json.dumps(row) + "\n" for row in (rows if isinstance(rows, list) else [rows])).encode()


def _yaml(valid: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return damaged(valid, rng)
    return yaml.safe_dump(changed(yaml.safe_load(valid), rng), sort_keys=False).encode("utf-8", "replace")


def _sealed(valid: bytes, rng: random.Random) -> bytes:
    """A note whose seal fits what was put into it."""
    from emotion_circuits.paths import hash_json
    from emotion_circuits.sealing import SEAL, unsealed

    if rng.random() < 0.4:
        return damaged(valid, rng)
    found = changed(unsealed(json.loads(valid)), rng)
    if isinstance(found, dict) and SEAL in json.loads(valid):
        found[SEAL] = hash_json(found)
    return json.dumps(found).encode("utf-8", "replace")


def _safetensors(valid: bytes, rng: random.Random) -> bytes:
    """The header is changed, as JSON or as bytes; its length fits it, mostly."""
    length = struct.unpack("<Q", valid[:8])[0]
    header, rest = valid[8 : 8 + length], valid[8 + length :]
    if rng.random() < 0.3:
        return damaged(valid, rng)
    header = _json(header, rng)
    size = len(header) if rng.random() < 0.9 else rng.choice([0, 2**63, 2**40, len(header) + 1, len(valid)])
    return struct.pack("<Q", size) + header + rest


def _beginning(length: int) -> Callable[[bytes, random.Random], bytes]:
    def change(valid: bytes, rng: random.Random) -> bytes:
        return damaged(valid[:length], rng) + valid[length:] if rng.random() < 0.8 else damaged(valid, rng)

    return change


def _ending(valid: bytes, rng: random.Random) -> bytes:
    """Parquet and zip files say at their end what they hold."""
    where = max(0, len(valid) - 2000)
    return valid[:where] + damaged(valid[where:], rng) if rng.random() < 0.7 else damaged(valid, rng)


def _setting(valid: bytes, rng: random.Random) -> bytes:
    name, _, value = rng.choice(SETTINGS).partition(b"=")
    if rng.random() < 0.5:
        return damaged(name + b"=" + value, rng)
    return name + b"=" + json.dumps(rng.choice(ODD)).encode()


_TEMPLATES = [
    b"{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:", b"{{ messages[0].content }}",
    b"{% for i in range(10**9) %}a{% endfor %}", b"{{ 'a' * 10**10 }}",
    b"{% set x = namespace(n=0) %}{{ x.n + messages|length }}",
    b"{{ raise_exception('no') }}", b"{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", b"{{ ''.__class__.__mro__ }}",
    b"{{ messages | tojson }}", b"{% include 'x' %}", b"{{ strftime_now('%d') }}", b"{% generation %}x{% endgeneration %}",
]  # fmt: skip


def _chat(valid: bytes, rng: random.Random) -> bytes:
    found = json.loads(valid)
    found["chat_template"] = damaged(rng.choice(_TEMPLATES), rng).decode("utf-8", "replace")
    if rng.random() < 0.3:
        found = changed(found, rng)
    return json.dumps(found).encode("utf-8", "replace")


# --- Entrances -----------------------------------------------------------------------------------------------------------------

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
TSV = b"text\tlabel\tgroup\tsplit\nThank you all.\tgratitude\tg0\ttrain\nIt opens at nine.\tneutral\tg1\ttest\n"
STUDY = {
    "model": "smollm2-135m", "prompts": ["core"], "seed": 1, "emotions": ["anger"],
    "steering": {"layers": [0.5, [0.2, 0.4]], "alphas": [0.1], "temperature": 0.7, "batch_rows": 8},
    "capture": {"poolings": ["last", "emotion", "mean", "frame"]}, "circuits": {"thorough": False},
}  # fmt: skip
SETTINGS = (
    b"steering.samples=2", b"steering.layers=[0.2,0.4]", b"prompts=core", b"seed=1", b"steering.temperature=0.5",
    b"circuits={steps: 2}", b"emotions=[anger]", b"capture.batch_tokens=512", b"steering.alphas=[0.1]", b"attribute=emotion-en",
    b"directions.extractors=[lda]", b"trace.top=3", b"capture.poolings=[last]", b"model=gpt2", b"trace={}",
)  # fmt: skip


class Entrance(NamedTuple):
    """A way in.

    Attributes:
        file: where the content is put, in the folder; none where it is an argument.
        valid: a content that is read without complaint.
        into: the command with ``FILE`` or ``CONTENT`` in it, or a function of the file.
        change: valid content → damaged one.
        share: of ten thousand inputs.
    """

    file: str
    valid: bytes
    into: tuple[str, ...] | Callable[[Path], object]
    change: Callable[[bytes, random.Random], bytes]
    share: int


def entrances(folder: Path) -> dict[str, Entrance]:
    """The settings' and tables' entrances, which need no model."""
    from attribute_cases import write_colours

    (folder / "colours").mkdir(exist_ok=True)
    colours = write_colours(folder / "colours")
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    check, judge = ("data", "check", "FILE"), ("evaluate", "validate", "keywords", "--data", "FILE")
    dry = ("run", "--dry-run", "--out", str(folder / "run"))
    found = {
        "yaml study": Entrance("study.yaml", yaml.safe_dump(STUDY).encode(), (*dry, "--config", "FILE"), _yaml, 700),
        "json study": Entrance("study.json", json.dumps(STUDY).encode(), (*dry, "--config", "FILE"), _json, 300),
        "attribute": Entrance(
            "colours/colours.yaml", colours.read_bytes(), ("data", "attribute", "FILE"), _yaml, 700
        ),
        "--set": Entrance("", SETTINGS[0], (*dry, "--set", "CONTENT"), _setting, 700),
        "--map": Entrance("", b"text=text", ("data", "check", str(folder / "a.csv"), "--map", "CONTENT"), _text, 200),
        "csv": Entrance("a.csv", CSV, check, _text, 900),
        "tsv": Entrance("a.tsv", TSV, check, _text, 300),
        "jsonl": Entrance("a.jsonl", lines, check, _json_lines, 900),
        "json": Entrance("a.json", json.dumps(ROWS).encode(), check, _json, 600),
        "judged text": Entrance("b.jsonl", lines, judge, _json_lines, 300),
        "parquet": Entrance("a.parquet", _parquet(), check, _ending, 400),
    }  # fmt: skip
    (folder / "a.csv").write_bytes(CSV)
    if (sheet := _excel()) is not None:
        found["excel"] = Entrance("a.xlsx", sheet, check, _ending, 300)
    return found


def _text(valid: bytes, rng: random.Random) -> bytes:
    return damaged(valid, rng)


def model_entrances(folder: Path) -> dict[str, Entrance]:
    """Models' folders and files; each input is a model that is loaded."""
    from tiny_files import save_folder, write_gguf

    place = save_folder(folder / "model")
    write_gguf(folder / "tiny.gguf")
    info = ("models", "info", str(place))

    def chat(_: Path) -> object:
        from emotion_circuits.model import load_model
        from emotion_circuits.model.chat import chat_turns

        return chat_turns(load_model(place, check=False), ["Hello"])

    def content(name: str) -> bytes:
        return (place / name).read_bytes()

    template = {**json.loads(content("tokenizer_config.json")), "chat_template": _TEMPLATES[0].decode()}
    tokens = ("data", "check", str(folder / "a.jsonl"), "--tokenizer", str(place))
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return {
        "config.json": Entrance("model/config.json", content("config.json"), info, _json, 700),
        "tokenizer.json": Entrance("model/tokenizer.json", content("tokenizer.json"), tokens, _json, 300),
        "model's tokenizer": Entrance("model/tokenizer.json", content("tokenizer.json"), info, _json, 300),
        "tokenizer_config.json": Entrance(
            "model/tokenizer_config.json", content("tokenizer_config.json"), info, _json, 250
        ),
        "generation_config.json": Entrance(
            "model/generation_config.json", content("generation_config.json"), info, _json, 100
        ),
        "weights": Entrance("model/model.safetensors", content("model.safetensors"), info, _safetensors, 400),
        "gguf header": Entrance(
            "tiny.gguf", (folder / "tiny.gguf").read_bytes(), ("models", "info", "FILE"), _beginning(6000), 600
        ),
        "chat template": Entrance("model/tokenizer_config.json", json.dumps(template).encode(), chat, _chat, 250),
    }  # fmt: skip


def state_entrances(folder: Path, run: Path) -> dict[str, Entrance]:
    """Files of states and vectors, read by the library; and the notes of a run's folder."""
    import shutil

    import torch

    from direction_cases import planted_store
    from emotion_circuits.activations import ActivationStore, Moments
    from emotion_circuits.directions import DirectionSet, fit_directions
    from emotion_circuits.steering import SteeringVectors
    from exchange_cases import vector_files

    (folder / "state").mkdir()
    unit = {name: torch.nn.functional.normalize(torch.randn(2, 8), dim=-1) for name in ("anger", "gratitude")}
    SteeringVectors(unit, torch.ones(2)).save(folder / "state" / "vectors.safetensors")
    note = fit_directions(planted_store(folder / "capture")).save(folder / "state").relative_to(folder).as_posix()
    moments = Moments(["anger", "neutral"], 2, 8)
    moments.save(folder / "state")
    copied = folder / "study"
    shutil.copytree(run, copied)
    # Without the sums, which would find every change before it is read.
    states = shutil.copytree(run / "capture", folder / "states", ignore=shutil.ignore_patterns("s[tu]*.json"))

    def use_store(_: Path) -> object:
        return fit_directions(ActivationStore.open(states))

    readers: dict[str, tuple[str, Callable[[Path], object], Any, int]] = {
        "vectors": ("state/vectors.safetensors", SteeringVectors.load, _safetensors, 300),
        "directions": (note, DirectionSet.load, _json, 200),
        "directions' tensors": (
            note.replace(".json", ".safetensors"), DirectionSet.load, _safetensors, 200
        ),
        "moments": ("state/moments.json", lambda path: Moments.load(path.parent), _json, 100),
        "moments' tensors": (
            "state/moments.safetensors", lambda path: Moments.load(path.parent), _safetensors, 100
        ),
        "capture's note": ("states/manifest.json", use_store, _sealed, 150),
        "capture's states": (
            next(states.glob("shard-*.safetensors")).relative_to(folder).as_posix(), use_store, _safetensors, 100
        ),
    }  # fmt: skip
    found = {
        name: Entrance(file, (folder / file).read_bytes(), function, change, share)
        for name, (file, function, change, share) in readers.items()
    }
    for note, share in (("study.json", 100), ("manifest.json", 150)):
        content = (copied / note).read_bytes()
        found[f"run's {note}"] = Entrance(
            f"study/{note}", content, ("runs", "compare", str(copied), str(run)), _sealed, share
        )
    found["circuit"] = Entrance("circuit.json", _circuit(folder), ("circuit", "show", "FILE"), _json, 250)
    exported = vector_files(folder / "exported")
    again = ("--to", "safetensors", "--out", str(folder / "again.safetensors"))
    found["exported vector"] = Entrance(
        "exported/v.gguf", exported["v.gguf"], ("export", "FILE", *again), _beginning(2000), 200
    )
    stage = copied / "directions" / "stage.json"
    found["run's stage.json"] = Entrance(
        "study/directions/stage.json", stage.read_bytes(), ("report", str(copied), "--out", str(folder / "r.html")),
        _sealed, 100,
    )  # fmt: skip
    found["run gone on with"] = Entrance(
        "study/study.json",
        (copied / "study.json").read_bytes(),
        ("run", "--dry-run", "--out", str(copied)),
        _sealed,
        150,
    )
    return found


def _circuit(folder: Path) -> bytes:
    from emotion_circuits.circuits import Search, find_circuit
    from emotion_circuits.planted import PlantedSpec, plant

    planted = plant(PlantedSpec(seed=3, n_pairs=36))
    find_circuit(planted.model, planted.pairs, exact=4, steps=2, search=Search(n_random=2, roles=2)).save(
        folder / "circuit.json"
    )
    return (folder / "circuit.json").read_bytes()


def _parquet() -> bytes:
    import pandas as pd

    out = io.BytesIO()
    pd.DataFrame(ROWS).to_parquet(out)
    return out.getvalue()


def _excel() -> bytes | None:
    try:
        from openpyxl import Workbook
    except ImportError:
        return None
    book, out = Workbook(), io.BytesIO()
    names = ("id", "text", "label", "group", "split")
    book.active.append(names)
    for row in ROWS:
        book.active.append([row[name] for name in names])
    book.save(out)
    return out.getvalue()


# --- The attack ----------------------------------------------------------------------------------------------------------------


def tried(entrance: Entrance, content: bytes, folder: Path, limit: int = 60) -> Outcome:
    """What becomes of a content."""
    if entrance.file:
        (folder / entrance.file).write_bytes(content)
    path = folder / entrance.file
    if callable(entrance.into):
        function = entrance.into
        return call_library(lambda: function(path), limit=limit)
    text = os.fsdecode(content.replace(b"\0", b""))
    return call_here([{"FILE": str(path), "CONTENT": text}.get(p, p) for p in entrance.into], limit=limit)


class Found(NamedTuple):
    """What an entrance's inputs did: exit codes, what must not be, the slowest's seconds, the peak of memory in KiB."""

    codes: Counter[int]
    wrong: list[tuple[int, int, str, bytes]]
    slowest: float
    memory: int


def attack(name: str, entrance: Entrance, folder: Path, numbers: Iterable[int], seed: int) -> Found:
    """Inputs of these numbers, one after another."""
    codes: Counter[int] = Counter()
    wrong, slowest = [], 0.0
    for number in numbers:
        content = entrance.change(entrance.valid, random.Random(f"{seed} {name} {number}"))
        outcome = tried(entrance, content, folder)
        codes[outcome.code] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.code not in (0, 1, 2) or "Traceback" in outcome.text or outcome.seconds > 20:
            wrong.append((number, outcome.code, outcome.text[-300:], content[:300]))
        elif outcome.code == 1 and "error" not in outcome.text:
            wrong.append((number, outcome.code, "says no error: " + outcome.text[-300:], content[:300]))
    if entrance.file:
        (folder / entrance.file).write_bytes(entrance.valid)
    return Found(codes, wrong, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def attack_in_workers(
    name: str, entrance: Entrance, folder: Path, count: int, seed: int, *, at_once: int = 250, memory: int = 6 * 2**30
) -> Found:
    """As :func:`attack`, in processes of a few hundred inputs each, so that no crash and no memory outlives its batch."""
    fork = multiprocessing.get_context("fork")
    total = Found(Counter(), [], 0.0, 0)

    def work(numbers: range, pipe: Any) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        pipe.send(attack(name, entrance, folder, numbers, seed))

    for start in range(0, count, at_once):
        ours, theirs = fork.Pipe(duplex=False)
        worker = fork.Process(target=work, args=(range(start, min(start + at_once, count)), theirs))
        worker.start()
        theirs.close()
        try:
            found = ours.recv()
        except EOFError:
            worker.join()
            found = Found(Counter(), [(start, worker.exitcode or 0, "the process ended", b"")], 0.0, 0)
        worker.join()
        total = Found(
            total.codes + found.codes, total.wrong + found.wrong, max(total.slowest, found.slowest),
            max(total.memory, found.memory),
        )  # fmt: skip
    return total
