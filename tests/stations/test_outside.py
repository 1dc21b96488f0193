"""A station of another package, written to the letter of the how-to, is found everywhere a station of our own is."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from emotion_circuits.record.notes import read_note, write_note
from emotion_circuits.record.running import NOTE
from study_cases import SMALL, save_tiny

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "station.md"
FILES = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def install(place):
    """The how-to's files, and what an installer would leave of its project file."""
    files = dict(FILES.findall(HOWTO.read_text(encoding="utf-8")))
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    about = place / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (about / "entry_points.txt").write_text(points)
    return place


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    root = tmp_path_factory.mktemp("outside")
    nested = {}
    for key, value in {**SMALL, "length.resamples": 500}.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    nested["model"] = str(save_tiny(root / "tiny"))
    (root / "study.yaml").write_text(json.dumps(nested))
    place = install(root / "packages")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *sys.path])}

    def command(*arguments, fails=False):
        done = subprocess.run(
            [sys.executable, "-m", "emotion_circuits.cli", "--quiet", *map(str, arguments)],
            capture_output=True, text=True, env=environment, cwd=root, timeout=600, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else json.loads(done.stdout)

    run = ("run", "--config", "study.yaml", "--out", "run", "--json")
    before = command(*run, "--dry-run")
    return root, command, run, before, command(*run, "--track")


def test_it_is_planned_run_and_reused(outside):
    _, command, run, before, after = outside
    planned = {stage["stage"]: stage for stage in before["stages"]}
    assert planned["length"]["status"] == "to do"
    assert planned["length"]["bytes"] == 20_000
    assert {stage["name"]: stage["status"] for stage in after["stages"]}["length"] == "ran"
    again = {stage["stage"]: stage["status"] for stage in command(*run, "--dry-run")["stages"]}
    assert again["length"] == "done"
    anew = command(*run, "--dry-run", "--set", "length.resamples=600")
    assert {s["stage"]: s["status"] for s in anew["stages"] if s["status"] != "done"} == {
        "length": "to do",
        "report": "to do",
    }


def test_an_interrupted_one_goes_on(outside):
    root, command, run, *_ = outside
    note = root / "run" / "length" / NOTE
    claims = (root / "run" / "length" / "claims.json").read_bytes()
    write_note(note.parent, {**(read_note(note.parent) or {}), "status": "running"})
    assert {s["stage"]: s["status"] for s in command(*run, "--dry-run")["stages"]}["length"] == "resumable"
    command(*run)
    assert json.loads(note.read_text())["status"] == "complete"
    assert (root / "run" / "length" / "claims.json").read_bytes() == claims


def test_its_claims_are_in_the_summary_and_in_tracking(outside):
    _, command, _, _, after = outside
    ids = [f"length.longer.{emotion}" for emotion in ("gratitude", "anger", "apology")]
    assert [row["finding"] for row in after["summary"] if row["finding"].startswith("length")] == ids
    recorded = command("runs", "show", "run", "--json")
    assert set(ids) <= set(recorded["metrics"])
    assert recorded["params"]["length.resamples"] == "500"
    compared = command("runs", "compare", "run", "run", "--json")
    assert set(ids) <= {row["id"] for row in compared["claims"]}
    assert "length" in {row["stage"] for row in compared["stages"]}


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "ja"])
def test_it_is_on_the_page(outside, language):
    root, command, *_ = outside
    command("report", "run", "--lang", language, "--out", f"{language}.html", "--json")
    html = (root / f"{language}.html").read_text(encoding="utf-8")
    assert html.count('id="claim-length-longer-') == 3
    assert 'id="length-boxes"' in html
    assert 'href="#length"' in html  # from the question that it answers, and from the contents
    # Words that a catalogue knows are the reader's; sentences it lacks stay English.
    # The attribute's file, shown among the settings, holds every language's word once.
    assert (html.count("感謝") > 1) == (language == "ja")


def test_settings_that_it_does_not_know_are_named(outside):
    _, command, run, *_ = outside
    assert "length.samples: unknown key; known: set, resamples" in command(
        *run, "--set", "length.samples=3", fails=True
    )
