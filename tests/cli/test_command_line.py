"""What a person meets on the command line: help, exit codes, errors without tracebacks, JSON."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from command_cases import call
from emotion_circuits.cli.app import app
from fuzz_cases import call_here

COMMANDS = [
    "run", "read", "steer", "capture", "trace", "align", "plan", "models", "data", "evaluate", "heads", "circuit", "bench",
    "runs",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_models_list_as_json():
    done = CliRunner().invoke(app, ["models", "list", "--json"])
    found = json.loads(done.stdout)
    assert [m["name"] for m in found["bundled"]] == [
        "smollm2-135m",
        "gemma3-270m",
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
    ]
    assert {"gpt2", "gpt_neo", "gpt_neox", "gptj", "llama", "gemma3_text", "opt"} <= set(found["families"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "install", "gpt5"), "no bundled model 'gpt5'"),
        (("models", "check", "./nowhere"), "no such folder or file"),
        (("run", "--profile", "huge"), "no profile 'huge'"),
        (("run", "--set", "steering.alpha=1"), "steering.alpha: unknown key"),
        (("run", "--engine-option", "address=auto"), "the engine 'inline' has no options, got address"),
        (("read", "--run", "nowhere", "nothing.txt"), "nothing.txt: cannot be read"),
    ],
)
def test_user_errors_are_one_line_and_exit_1(arguments, message):
    done = call(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback():
    done = call("--debug", "models", "install", "gpt5")
    assert "Traceback" in done.stderr


def test_wrong_usage_exits_2():
    assert call("models", "list", "--nonsense").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["run", "--out", ""], " behind --out"),
        (["run", "--out="], " behind --out"),
        (["data", "check", ""], " behind check"),
    ],
)
def test_an_empty_argument_is_no_folder(arguments, where):
    done = call_here(arguments)
    assert done.code == 1
    assert done.text.startswith(f"error: the argument{where} is empty (a variable of the shell that is not set?)")


@pytest.mark.parametrize("argument", ["caf\udce9.csv", "\ud83d", "--map=text=\udcff"])
def test_an_argument_that_is_no_text_is_one_line(argument):
    """What a shell in another locale hands over: bytes that are no UTF-8."""
    done = call_here(["data", "check", argument])
    assert (done.code, done.text.count("\n")) == (1, 1)
    assert done.text.startswith("error: the argument '")
    assert "is not text in UTF-8" in done.text


def test_whoever_stops_reading_is_told_nothing():
    """``emotion-circuits … | head -1``: the pipe is closed before the command has written all."""
    script = "import sys; sys.argv = ['emotion-circuits', '--help']; from emotion_circuits.cli import main; main()"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode in (0, 1)
