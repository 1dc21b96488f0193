"""``emotion-circuits tone``: the trace as a table and as JSON, and what is said where the goal was not reached."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.evaluation import registry
from serve_cases import Signs, tiny_run

runner = CliRunner()
LOOSE = ["--fluency", "90", "--similarity", "0", "--max-new-tokens", "12", "--temperature", "0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "160")
        patch.setitem(registry._own, "signs", (Signs, "how much of a text is &"))
        patch.setitem(registry._own, "p-signs", (lambda: Signs("p-signs", "p"), "how much of a text is p"))
        yield tiny_run(tmp_path_factory.mktemp("tone"), judges=["signs", "p-signs", "vader"])


def tone(run, *arguments):
    return runner.invoke(app, ["tone", "Why does it rain?", "--run", str(run), *LOOSE, *arguments])


def test_the_trace_is_a_table_and_the_answer_stands_behind_it(run):
    done = tone(run, "--goal", "more gratitude", "--target", "gratitude=0.6")
    assert done.exit_code == 0, done.output
    found = json.loads(tone(run, "--goal", "more gratitude", "--target", "gratitude=0.6", "--json").stdout)
    assert found["reached"]
    assert found["judge"] == "signs"
    assert done.stdout.splitlines()[-1] == found["text"]
    for said in ("unsteered", "perplexity", "reached: gratitude"):
        assert said in " ".join(done.stdout.split())
    assert "was not reached" not in done.output


def test_what_was_not_reached_or_lies_beyond_is_said(run):
    done = tone(run, "--goal", "感謝を多めに", "--target", "gratitude=1")
    assert done.exit_code == 0
    assert "the goal was not reached (gratitude ≥ 1" in done.stderr
    assert "the run's curve gives 0.25 [0.15, 0.35] at dose 1.00" in done.stderr
    assert "beyond" not in done.stderr
    assert "similar to one another" not in done.stderr
    near = tone(
        run, "--goal", "more gratitude", "--similarity", "1", "--temperature", "0.9", "--n", "2", "--tries", "1"
    )
    assert "similar to one another: --similarity 1 asks for more" in near.stderr
    assert (
        "beyond the validated range"
        in tone(run, "--goal", "more gratitude", "--target", "gratitude=1", "--beyond", "3").stderr
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--goal 'more VALUE', of gratitude"),
        (["--goal", "more anger"], "validated"),
        (["--goal", "more bliss"], "cannot be read"),
        (["--goal", "more gratitude", "--target", "gratitude=7"], "from 0 to 1"),
        (["--goal", "more gratitude", "--fluency", "0.2"], "fluency"),
        (["--goal", "more gratitude", "--similarity", "nan"], "similarity"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(run, arguments, said):
    done = tone(run, *arguments)
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_the_evaluation_writes_its_traces_and_tells_both_judges(run, tmp_path):
    (tmp_path / "asked.csv").write_text(
        "text,label,group,split\nWhy?,neutral,a,test\nHow?,neutral,b,test\nWhen?,neutral,c,train\n", encoding="utf-8"
    )
    out = tmp_path / "tone.json"
    files = ["--requests", str(tmp_path / "asked.csv"), "--out", str(out)]
    short = ["evaluate", "tone", str(run), "--goal", "more gratitude", *LOOSE, *files]
    done = runner.invoke(app, [*short, "--json"])
    assert done.exit_code == 0, done.output
    told, kept = json.loads(done.stdout), json.loads(out.read_text(encoding="utf-8"))
    assert kept["requests"] == ["Why?", "How?"]
    assert {(a["judge"], a["asked"]) for a in told["arms"]} == {("signs", True), ("p-signs", False)}
    assert kept["arms"] == told["arms"]
    assert {name: len(a) for name, a in kept["answers"].items()}["agent"] == 2
    table = runner.invoke(app, short)
    assert "best of n" in table.stdout
    assert "signs (asked)" in table.stdout
    with_same = runner.invoke(app, [*short, "--judge", "signs"])
    assert "judges that the agent does not ask" in str(with_same.exception)
