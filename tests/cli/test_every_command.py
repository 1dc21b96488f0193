"""What holds for all commands alike: help with an example, JSON, exit codes, errors without a traceback, completion."""

import json
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from command_cases import call
from emotion_circuits.cli import completing, exit_codes
from emotion_circuits.cli.app import app
from emotion_circuits.model import BUNDLED
from emotion_circuits.prompts import available_attributes, load_attribute
from emotion_circuits.study.config import PROFILES
from study_cases import save_tiny


def leaves(command, path=()):
    if hasattr(command, "commands"):
        return [leaf for name, sub in command.commands.items() for leaf in leaves(sub, (*path, name))]
    return [(path, command)]


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_the_walk_finds_the_commands():
    assert {("run",), ("runs", "compare"), ("runs", "clean"), ("models", "check"), ("circuit", "find")} <= set(COMMANDS)
    assert len(COMMANDS) >= 25


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_every_command_has_an_example_that_is_its_own_and_takes_json(path):
    done = CliRunner().invoke(app, [*path, "--help"], terminal_width=400)
    assert done.exit_code == 0
    assert f"Example: emotion-circuits {' '.join(path)} " in done.output + " " or (
        f"Example: emotion-circuits {' '.join(path)}\n" in done.output
    )
    assert "--json" in {o for p in COMMANDS[path].params for o in p.opts}, "every command reports something"


# One call per command that works without a model, and what it answers.
QUICK = {
    ("plan",): (),
    ("models", "list"): (),
    ("evaluate", "list"): (),
    ("data", "describe"): ("implicit-fresh",),
    ("data", "check"): ("implicit-fresh",),
    ("data", "attribute"): ("emotion-en",),
    ("run",): ("--set", "model=smollm2-135m", "--dry-run", "--out", "nowhere"),
}


@pytest.mark.parametrize("path", sorted(QUICK), ids=" ".join)
def test_json_is_all_there_is_on_standard_output(path, tmp_path):
    done = call(*path, *QUICK[path], "--json", cwd=tmp_path, env={**os.environ, "MLFLOW_TRACKING_URI": ""})
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)
    assert list(tmp_path.iterdir()) == []


# One wrong input per command: what every person types some day.
WRONG = {
    ("run",): ("--config", "nothing.yaml"),
    ("survey",): ("nothing.yaml",),
    ("report",): ("nowhere",),
    ("read",): ("nothing.txt", "--run", "nowhere"),
    ("export",): ("nowhere", "--emotion", "anger", "--to", "repeng", "--out", "v.gguf"),
    ("steer",): ("I", "--emotion", "anger", "--run", "nowhere"),
    ("chat",): ("Hello", "--run", "nowhere"),
    ("serve",): ("--run", "nowhere"),
    ("tone",): ("Hello", "--run", "nowhere", "--goal", "more anger"),
    ("tune",): ("nowhere", "--out", "x"),
    ("capture",): ("--prompts", "nothing.jsonl", "--out", "x"),
    ("trace",): ("I", "--model", "./nowhere"),
    ("align",): ("nowhere", "nowhere"),
    ("plan",): ("--effect", "nan"),
    ("calibrate",): ("nowhere",),
    ("models", "install"): ("gpt5",),
    ("models", "info"): ("./nowhere",),
    ("models", "check"): ("./nowhere",),
    ("data", "check"): ("nothing.csv",),
    ("data", "attribute"): ("nothing.yaml",),
    ("data", "describe"): ("nothing",),
    ("evaluate", "validate"): ("nothing",),
    ("evaluate", "tone"): ("nowhere", "--goal", "more anger"),
    ("evaluate", "blind"): ("nowhere", "--out", "sample.jsonl"),
    ("human", "design"): ("nowhere", "--out", "x"),
    ("human", "analyse"): ("nowhere",),
    ("human", "sheet"): ("nowhere",),
    ("human", "serve"): ("nowhere",),
    ("human", "export"): ("nowhere", "--to", "csv", "--out", "x"),
    ("heads", "screen"): ("./nowhere",),
    ("heads", "ablate"): ("./nowhere",),
    ("heads", "patch"): ("./nowhere",),
    ("circuit", "find"): ("./nowhere",),
    ("circuit", "show"): ("nothing.json",),
    ("circuit", "test"): ("nothing.json",),
    ("bench", "planted"): ("--sweep", "x"),
    ("runs", "show"): ("nowhere",),
    ("runs", "compare"): ("./nowhere", "./nowhere"),
    ("runs", "clean"): ("nowhere",),
}


def test_every_command_that_takes_input_has_a_wrong_one_here():
    assert set(COMMANDS) - set(WRONG) == {("models", "list"), ("evaluate", "list"), ("runs", "list")}


@pytest.mark.parametrize("path", sorted(WRONG), ids=" ".join)
def test_user_errors_are_one_line(path, tmp_path, monkeypatch, capsys):
    from emotion_circuits.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["emotion-circuits", *path, *WRONG[path]])
    with pytest.raises(SystemExit) as stopped:
        main()
    err = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == exit_codes.PROBLEM, err
    assert err[-1].startswith("error: ")
    assert not [line for line in err if "Traceback" in line]


def test_exit_codes_are_documented_and_kept(monkeypatch, capsys):
    from emotion_circuits.cli import main, run

    text = CliRunner().invoke(app, ["--help"]).output
    for code, meaning in exit_codes.EXIT_CODES.items():
        assert f"{code:<4} {meaning}" in text

    def broken(*_arguments, **_options):
        raise ZeroDivisionError("one by none")

    monkeypatch.setattr(run, "settings_of", broken)
    monkeypatch.setattr(sys, "argv", ["emotion-circuits", "run"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == exit_codes.BUG
    assert "ZeroDivisionError: one by none (--debug shows where)" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["emotion-circuits", "--debug", "run"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize("option", ["-q", "--quiet", "-v", "--verbose"])
def test_quiet_and_verbose_are_known_in_short_too(option):
    assert CliRunner().invoke(app, [option, "evaluate", "list"]).exit_code == 0


def test_verbose_says_more_and_quiet_nothing_on_standard_error(tmp_path):
    tiny = save_tiny(tmp_path / "tiny")

    def err(*options):
        done = call(*options, "models", "info", tiny, "--json")
        assert done.returncode == 0
        json.loads(done.stdout)
        return done.stderr

    assert "3 layers" in err("-v")
    assert err("-q") == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell):
    script = call("--show-completion", shell, env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert script.returncode == 0, script.stderr
    assert "COMPLETE" in script.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("emotion-circuits ru", {"run", "runs"}),
        ("emotion-circuits run --profile ", set(completing.PROFILES)),
        ("emotion-circuits models check ", set(completing.MODELS)),
        ("emotion-circuits steer --emotion g", {"gratitude", "guilt"}),
        ("emotion-circuits run --attribute emotion-e", {"emotion-en", "emotion-es"}),
    ],
)
def test_commands_and_values_are_completed(words, offered):
    variables = {
        "_PYTHON _M EMOTION_CIRCUITS.CLI_COMPLETE".replace(" ", "_"): "complete_bash",
        "_EMOTION_CIRCUITS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'emotion-circuits'; from emotion_circuits.cli import main; main()"],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **variables},
    )  # fmt: skip
    assert set(done.stdout.split()) == offered, done.stderr


def test_what_is_completed_is_what_there_is():
    assert set(completing.PROFILES) == set(PROFILES)
    assert set(completing.MODELS) == set(BUNDLED)
    assert list(completing.attributes()) == available_attributes()
    assert set(completing.values()) == {v for name in available_attributes() for v in load_attribute(name).values}
