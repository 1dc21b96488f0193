"""A run's folder is enough to go on with it, and says so where it is not."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import read_study
from emotion_circuits.report.asked import QUESTIONS
from emotion_circuits.study import load_config, run_study
from study_cases import artefacts, small


@pytest.fixture
def run(runs, tmp_path):
    shutil.copytree(runs / "b", tmp_path / "run")
    return tmp_path / "run"


def statuses(run, *arguments):
    called = ("--quiet", "run", "--out", str(run), "--no-track", "--dry-run", "--json", *arguments)
    found = json.loads(CliRunner().invoke(app, called, catch_exceptions=False).stdout)
    return {row["stage"]: row["status"] for row in found["stages"] if row["stage"] != "report"}


def test_with_its_folder_alone_a_run_goes_on_as_it_was_asked(run, runs):
    assert set(statuses(run).values()) == {"done"}
    shutil.rmtree(run / "trace")
    (run / "manifest.json").unlink()
    CliRunner().invoke(app, ["--quiet", "run", "--out", str(run), "--no-track"], catch_exceptions=False)
    assert artefacts(run) == artefacts(runs / "b")
    assert not (run / "superseded" / "trace-1" / "nothing").exists()


def test_what_is_said_of_the_study_goes_before_what_is_there(run):
    assert "done" not in {statuses(run, "--profile", "quick")["steering"], statuses(run, "--set", "seed=9")["steering"]}


def test_without_its_configuration_the_manifest_tells(run):
    (run / "study.json").unlink()
    assert set(statuses(run).values()) == {"done"}
    assert not (run / "study.json").exists()


def test_an_edited_configuration_is_refused_there_and_run_where_it_is_named(run, capsys):
    path = run / "study.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(EmotionCircuitsError, match=r"study\.json: was changed after it was written.*; delete it"):
        statuses(run)
    assert load_config("quick", file=path).seed == 2
    assert "was edited after a run wrote it" in capsys.readouterr().err


def test_what_is_asked_is_kept_before_any_work(runs, tmp_path, monkeypatch):
    from emotion_circuits.stations.capture import station

    config = small(json.loads((runs / "a" / "study.json").read_text())["model"])

    def fails(*_):
        raise RuntimeError

    monkeypatch.setattr(station, "run", fails)
    with pytest.raises(RuntimeError):
        run_study(config, tmp_path / "run")
    assert read_study(tmp_path / "run") == config.model_dump(mode="json")


def test_no_hint_of_a_report_names_another_study_into_the_same_folder():
    for question in QUESTIONS:
        command = question.command.format(run="runs/demo")
        assert "emotion-circuits run" not in command or "--out runs/demo-baseline" in command
