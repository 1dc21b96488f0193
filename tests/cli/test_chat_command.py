"""``emotion-circuits chat``: both answers, the dose changed by a typed line, a clean end."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.model import Sampling, generate, load_model
from emotion_circuits.model.chat import chat_turns
from serve_cases import save_chatting, tiny_run

runner = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("chat"))


def talk(run, *arguments, lines=None):
    short = ["--run", str(run), "--max-new-tokens", "6", "--temperature", "0"]
    return runner.invoke(app, ["chat", *short, *arguments], input=lines)


def test_one_turn_as_json_holds_both_answers_and_the_proof(run):
    done = talk(run, "--dose", "0.5", "--json", "Why does it rain?")
    found = json.loads(done.stdout)
    (turn,) = found["turns"]
    model = load_model(str(run.parent / "tiny-chat"))
    (prompt,) = chat_turns(model, ["Why does it rain?"])
    plain = generate(model, [prompt], Sampling(max_new_tokens=6), add_special_tokens=False)[0].text
    assert turn["base"] == plain != turn["steered"]
    (touched,) = turn["steering"]["choices"][0]["touched"]
    assert touched["projection_after"] - touched["projection_before"] == pytest.approx(1.0, rel=1e-3)


def test_turns_are_typed_and_the_dose_is_changed_between_them(run):
    lines = "Why?\n/dose 0.25\n\n/emotion apology\nAnd you?\n/new\n/dose much\n/dose 99\n/emotion joy\n/what\n/quit\nnever\n"
    done = talk(run, lines=lines)
    assert done.exit_code == 0, done.output
    assert "gratitude, dose 1" in done.output
    assert "apology, dose 0.25" in done.output
    for said in ("needs a number, got 'much'", "must be from -4 to 4, got 99", "no such value", "begun anew", "/quit"):
        assert said in done.output
    assert done.output.count("the model") == 2


def test_the_end_of_the_input_is_an_end(run):
    assert talk(run, lines="").exit_code == 0


def test_what_cannot_be_steered_is_refused_before_anything_is_asked(run):
    for arguments, said in ((["--emotion", "joy"], "no such value"), (["--emotion", "anger"], "no dose")):
        done = talk(run, *arguments, "Hello")
        assert done.exit_code == 1
        assert said in str(done.exception)


def test_without_a_run_directions_are_fitted_on_training_sentences_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    model = save_chatting(tmp_path / "tiny", chat=False)
    short = ["chat", "--model", str(model), "--max-new-tokens", "4", "--json", "Hello"]
    first, second = (runner.invoke(app, short) for _ in range(2))
    assert "no strength was validated" in first.stderr
    assert json.loads(first.stdout) == json.loads(second.stdout)
    (folder,) = (tmp_path / "cache" / "steer").iterdir()
    rows = json.loads((folder / "capture.json").read_text())
    assert "test" not in json.dumps(rows.get("splits", []))
