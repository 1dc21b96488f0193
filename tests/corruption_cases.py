"""Files of a finished run, damaged in every way that a disk or a hand can think of, and the commands that read them."""

import os
import random
import re
import shutil
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from typer.testing import CliRunner

from emotion_circuits.cli import _worded
from emotion_circuits.cli.app import app
from emotion_circuits.record.notes import _seen

SLOW = ("report", "calibrate")
FLIPS, TRUNCATIONS, SWAPS, DELETIONS = "flip", "truncation", "swap", "deletion"


@dataclass(frozen=True)
class Case:
    """What is done to which file (relative to the run's folder)."""

    how: str
    file: str
    seed: int
    other: str = ""

    def __str__(self):
        return f"{self.how} {self.file}" + (f" <-> {self.other}" if self.other else "")

    def apply(self, run):
        path, rng = run / self.file, random.Random(self.seed)
        before = path.stat()
        if self.how == FLIPS:
            data = bytearray(path.read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
        elif self.how == TRUNCATIONS:
            path.write_bytes(path.read_bytes()[: rng.randrange(before.st_size)])
        elif self.how == SWAPS:
            other = run / self.other
            mine, theirs = path.read_bytes(), other.read_bytes()
            path.write_bytes(theirs)
            other.write_bytes(mine)
        else:
            path.unlink()
            return
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def artefacts_of(run):
    """Every file that the program wrote and that says something."""
    return sorted(
        p.relative_to(run).as_posix()
        for p in run.rglob("*")
        if p.is_file() and p.name != ".lock" and p.suffix != ".html"
    )


def cases(run, count, seed=0):
    """As many cases, every file and every way among them, in a fixed order."""
    rng, files = random.Random(seed), artefacts_of(run)
    ways = [Case(how, file, rng.randrange(10**9)) for file in files for how in (FLIPS, TRUNCATIONS, DELETIONS)]
    alike = {}
    for file in files:
        alike.setdefault(Path(file).suffix, []).append(file)
    for kind in alike.values():
        mixed = rng.sample(kind, len(kind))
        ways += [Case(SWAPS, a, 0, b) for a, b in pairwise(mixed) if (run / a).read_bytes() != (run / b).read_bytes()]
    rng.shuffle(ways)
    return ways[:count]


def consumers(run, place):
    """The commands by name; what they write goes to ``place``."""
    texts = place / "texts.txt"
    texts.write_text("I thank you so much\nI am furious\n", encoding="utf-8")
    beside = place / "beside"
    grid = place / "survey.yaml"
    grid.write_text("name: one\nmodels: []\nattributes: []\nruns: [run]\n", encoding="utf-8")
    return {
        "run": ("run", "--out", run, "--no-track", "--json"),
        "report": ("report", run, "--out", place / "report.html"),
        "read": ("read", texts, "--run", run, "--json"),
        "steer": ("steer", "One two", "--run", run, "--emotion", "anger", "--max-new-tokens", 3, "--json"),
        "trace": ("trace", "I thank you", "--run", run, "--json"),
        "show": ("runs", "show", run),
        "compare": ("runs", "compare", run, beside, "--all", "--json"),
        "survey": ("survey", grid, "--out", place / "surveyed", "--json"),
        "calibrate": ("calibrate", run, "--draws", 1, "--only", "trace", "--out", place / "calibrated", "--json"),
    }


@dataclass(frozen=True)
class Outcome:
    code: int
    said: str
    shown: str


def consume(command, place):
    """What a command says and shows, as in a process of its own."""
    _seen.clear()
    for left in (place / "calibrated", place / "surveyed", place / "report.html"):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    done = CliRunner().invoke(app, ["--quiet", *map(str, command)])
    code, said = done.exit_code, done.stderr
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        text, expected = _worded(done.exception)
        code, said = (1 if expected else 70), said + text
    shown = re.sub(r'"seconds": [\d.e-]+', '"seconds": 0', done.stdout)
    if (place / "report.html").exists():
        shown += (place / "report.html").read_text(encoding="utf-8")
    return Outcome(code, said, shown)


class Opened:
    """Which files are opened by Python code inside a ``with`` block."""

    _files = None

    def __enter__(self):
        self.files = Opened._files = set()
        return self

    def __exit__(self, *_):
        Opened._files = None

    @staticmethod
    def hook(event, arguments):
        if event == "open" and Opened._files is not None and isinstance(arguments[0], str | os.PathLike):
            Opened._files.add(os.path.abspath(arguments[0]))  # noqa: PTH100  # links stay links


sys.addaudithook(Opened.hook)


def campaign(intact, place, count, *, everything=False):
    """Every case with every command that reads the file (``everything``: with all of them).

    Returns:
        ``(case, command, outcome)`` of those that end in an error of the program, and of those that say nothing and show
        something else than for the intact folder; and how many were tried.
    """
    run = place / "run"
    shutil.copytree(intact, run)
    shutil.copytree(intact, place / "beside")
    commands = consumers(run, place)
    right, reads = {}, {}
    for name, command in commands.items():
        shutil.rmtree(run)
        shutil.copytree(intact, run)
        with Opened() as opened:
            right[name] = consume(command, place)
        reads[name] = {os.path.relpath(file, run) for file in opened.files}
        assert right[name].code == 0, (name, right[name].said)
    bugs, silent, tried, refused = [], [], 0, 0
    for case in cases(run, count):
        for name, command in commands.items():
            # What is never opened cannot change what is shown; that it is gone can, which slow commands are asked less often.
            gone = case.how == DELETIONS and (name not in SLOW or case.seed % 4 == 0)
            concerned = gone or {case.file, case.other} & reads[name]
            if not (everything or name == "run" or concerned):
                continue
            shutil.rmtree(run)
            shutil.copytree(intact, run)
            case.apply(run)
            found, tried = consume(command, place), tried + 1
            refused += found.code not in (0, 70)
            if found.code == 70 or "Traceback" in found.said:
                bugs.append((str(case), name, found.said))
            elif found.code != 0 and len(found.said.strip().splitlines()) != 1:
                bugs.append((str(case), name, f"not one line: {found.said}"))
            elif found.code == 0 and found.shown != right[name].shown and not found.said.strip():
                silent.append((str(case), name, found.shown[:300]))
    return bugs, silent, tried, refused
