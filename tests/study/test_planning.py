"""What a dry run foretells, against what a run then does."""

import json

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.model import blueprint
from emotion_circuits.record.running import NOTE, read_note
from emotion_circuits.record.speed import Speed
from emotion_circuits.study import load_config, run_study, study_blueprint
from emotion_circuits.study.planning import estimate_study, plan_study
from emotion_circuits.study.speeds import corrections, remember
from study_cases import save_tiny, small

SPEED = Speed(token=1e-3, call=1e-2, row=1e-3, unembed=1e-4, choose=1e-4, solve=1e-2, host=1.0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("planning")
    config = small(save_tiny(root / "tiny"))
    return config, root / "run", run_study(config, root / "run")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    from emotion_circuits.paths import cache_dir

    # Installed models stay where they are; only what is remembered of speeds is this test's own.
    monkeypatch.setattr("emotion_circuits.study.speeds._file", lambda: tmp_path / "speeds.json")
    assert cache_dir()


def of(config):
    return estimate_study(config, blueprint(config.model), SPEED)


def size(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_disk_is_foretold(finished):
    config, run, _ = finished
    guess = of(config)
    # Of a tiny model small files are a larger part than of any real one.
    assert guess["capture"].bytes == pytest.approx(size(run / "capture"), rel=0.1)


def test_tokens_are_those_of_the_corpus(finished):
    config, run, _ = finished
    import pandas as pd

    rows = pd.read_parquet(run / "capture" / "rows.parquet")
    tokens = of(config)["capture"].tokens
    assert rows["n_tokens"].sum() <= tokens <= 1.2 * rows["n_tokens"].sum()


def test_estimates_grow_with_what_is_asked(finished):
    config = finished[0]
    base = of(config)

    def changed(**changes):
        return of(small(config.model, **changes))

    more = changed(**{"steering.samples": 3})["steering"]
    assert more.tokens == pytest.approx(3 * base["steering"].tokens, rel=0.01)
    assert more.seconds > 2.5 * base["steering"].seconds
    assert changed(**{"directions.null_draws": 50})["directions"].seconds > 2 * base["directions"].seconds
    assert changed(**{"circuits.exact": None})["circuits"].tokens > base["circuits"].tokens
    # A draw costs one token of a sentence, whatever its length.
    assert changed(**{"trace.null_draws": 4000})["trace"].tokens > 2 * base["trace"].tokens


@pytest.mark.parametrize("profile", ["quick", "plan", "chat", "baseline", "extended"])
def test_every_profile_is_estimated(finished, profile):
    config = load_config(
        profile, overrides={"model": finished[0].model, "steering.raw_layers": [], "steering.layers": [1]}
    )
    for name, guess in of(config).items():
        if name in config.leave_out:
            assert guess.seconds == guess.bytes == 0
            continue
        assert guess.seconds > 0
        assert guess.bytes > 0


def test_what_is_done_costs_nothing_and_what_was_interrupted_less(finished, tmp_path):
    import shutil

    config, run, _ = finished
    folder = tmp_path / "run"
    shutil.copytree(run, folder)

    def plan():
        found = run_study(config, folder, dry=True)
        return {s.stage: s for s in plan_study(config, folder, study_blueprint(config, folder), found.stages).stages}

    assert {s.status for name, s in plan().items() if name != "report"} == {"done"}
    assert plan()["capture"].seconds == 0
    note = read_note(folder / "capture")
    (folder / "capture" / NOTE).write_text(json.dumps({"format": 2, "status": "running", "key": note["key"]}))
    next((folder / "capture").glob("shard-*-00001.*")).unlink()
    part = plan()["capture"]
    assert part.status == "resumable"
    whole = of(config)["capture"]
    assert 0 < part.tokens < whole.tokens / 2
    before = sorted(p.name for p in folder.rglob("*"))
    plan()
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_a_changed_input_is_said_to_begin_anew(finished, tmp_path):
    config, run, _ = finished
    other = small(config.model, **{"directions.null_draws": 3})
    statuses = [r.status for r in run_study(other, run, dry=True).stages]
    assert statuses == ["reused", "would run anew", "would run anew", "would run anew", "would run anew"]
    assert (run / "directions" / NOTE).exists()


def test_the_next_estimate_learns_from_the_times_of_this_one(finished):
    config, run, done = finished
    model, stages = blueprint(config.model), ["capture", "directions"]
    assert corrections(model, lambda c: {"capture": 1.0, "directions": 1.0}, stages) == dict.fromkeys(stages, (1.0, 0))
    assert all(read_note(run / r.name)["timing"]["seconds"] > 0 for r in done.stages)
    slow = [r.__class__(r.name, "ran", 10.0) for r in done.stages]
    remember(config, model, run, slow)
    assert corrections(model, lambda c: {"capture": 4.0, "directions": 20.0}, stages) == {
        "capture": (2.5, 1), "directions": (0.5, 1),
    }  # fmt: skip
    other = blueprint(config.model, dtype="bfloat16")
    assert corrections(other, lambda c: {"capture": 4.0}, ["capture"]) == {"capture": (1.0, 0)}


def test_the_command_prints_a_table_and_json(finished, tmp_path):
    config, _, _ = finished
    file = tmp_path / "study.json"
    file.write_text(config.model_dump_json())
    arguments = ["run", "--config", str(file), "--out", str(tmp_path / "new"), "--dry-run"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert [s["stage"] for s in found["stages"]] == ["capture", "directions", "trace", "steering", "circuits", "report"]
    assert {s["status"] for s in found["stages"]} == {"to do"}
    for key in ("tokens", "seconds", "bytes"):
        assert found["total"][key] == pytest.approx(sum(s[key] for s in found["stages"]))
    assert "no weights are loaded" in found["method"]
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "in all" in text
    assert not (tmp_path / "new").exists()
