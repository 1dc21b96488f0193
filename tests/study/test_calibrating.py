"""A run's claims, made again with shuffled labels: counted, resumed, extended, shown."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emotion_circuits.activations import ActivationStore
from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.engines import engine
from emotion_circuits.record.station import Context
from emotion_circuits.stations.directions.shuffled import PlantedStates, shuffled_within_groups
from emotion_circuits.stations.steering import shuffled as steering
from emotion_circuits.study import run_study
from emotion_circuits.study.calibrating import DRAWS, calibrate_run, supported
from emotion_circuits.study.config import StudyConfig
from study_cases import save_tiny, small


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("calibrating")
    run_study(small(save_tiny(root / "tiny")), root / "run")
    calibrate_run(root / "run", root / "out", draws=6, only=["directions"])
    return root


def files(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("part-*")}


def test_labels_move_within_their_groups_alone(finished):
    rows = ActivationStore.open(finished / "run" / "capture").rows
    a, b = (shuffled_within_groups(rows, draw) for draw in (0, 1))
    assert a != b
    assert a == shuffled_within_groups(rows, 0)
    assert a != rows["label"].tolist()
    groups = rows["set"] + rows["group"]
    before, after = (
        pd.DataFrame({"g": groups, "l": labels}).groupby(["g", "l"]).size() for labels in (rows["label"], a)
    )
    pd.testing.assert_series_equal(before, after)


def test_every_kind_of_the_station_is_counted(finished):
    found = json.loads((finished / "out" / "calibration.json").read_text())
    assert set(found["false_claims"]) == {"directions.reading", "directions.single", "directions.cosine"}
    for rate in found["false_claims"].values():
        assert 0 <= rate["low"] <= rate["rate"] <= rate["high"] <= 1
        assert rate["draws"] == 6
    draws = DRAWS.read(finished / "out" / "draws.parquet")
    assert set(draws["draw"]) == set(range(6))
    claims = {c["id"] for c in json.loads((finished / "run" / "directions" / "claims.json").read_text())}
    assert set(draws["id"]) == claims


def test_intervals_are_covered_and_nothing_is_planted_unasked(finished):
    found = json.loads((finished / "out" / "calibration.json").read_text())
    assert found["power"] == {}
    assert 0.93 <= found["coverage"]["normal, n = 34"]["rate"] <= 0.97
    assert found["coverage"]["lognormal, n = 8"]["rate"] < 0.93


def test_planted_states_are_those_of_the_capture_moved_by_label(finished):
    store = ActivationStore.open(finished / "run" / "capture")
    moved = PlantedStates.of(store, ("anger",), strength=0.5, seed=3)
    layer = store.layers[-1]
    before, after = (s.pooled("resid_post", "mean", layer) for s in (store, moved))
    change, own = (after - before).norm(dim=-1), store.mask(label="anger")
    assert change[own].numpy() == pytest.approx(0.5 * store.sinks.median("resid_post", layer), rel=1e-4)
    assert not change[~own].any()


def test_planted_states_are_read_where_shuffled_labels_are_not(finished, tmp_path):
    found = calibrate_run(finished / "run", tmp_path / "out", draws=2, planted=2, only=["directions"])
    assert set(found.power) == {"directions.reading", "directions.single"}
    draws = found.draws[found.draws["kind"] == "directions.reading"].groupby("program")["estimate"].mean()
    assert draws["planted"] > draws["shuffled"] + 0.1
    assert set(found.draws["program"]) == {"shuffled", "planted"}


def test_steering_writes_with_shuffled_directions_and_claims_as_the_run_does(finished, tmp_path):
    run = finished / "run"
    found = calibrate_run(run, tmp_path / "out", draws=3, planted=2, only=["steering"])
    real = {c["id"] for c in json.loads((run / "steering" / "claims.json").read_text())}
    draws = found.draws[found.draws["program"] == "shuffled"]
    assert set(draws["kind"]) <= {"steering.effect", "steering.tokens"}
    assert set(draws["id"]) <= real
    assert draws.groupby("id")["estimate"].nunique().max() == 3
    assert set(found.power) == {"steering.effect"}
    planted = found.draws[found.draws["program"] == "planted"]
    one = "steering.gratitude.share"
    low, high = (part.loc[part["id"] == one, "estimate"].mean() for part in (draws, planted))
    assert high > low + 0.15


def test_a_draw_of_steering_is_the_same_in_whatever_company(finished):
    run = finished / "run"
    config = StudyConfig.model_validate(json.loads((run / "manifest.json").read_text())["config"])
    context = Context(config, run)
    together, alone = steering.shuffled_claims(context, [4, 5]), steering.shuffled_claims(context, [5])
    assert [c.figures for c in together[1]] == [c.figures for c in alone[0]]


def test_draws_differ_and_are_chance(finished):
    draws = DRAWS.read(finished / "out" / "draws.parquet")
    assert draws.groupby("id")["estimate"].nunique().max() > 1
    assert (draws["p"].dropna() > 0).all()


def test_more_draws_go_on_and_nothing_is_computed_twice(finished, tmp_path):
    calibrate_run(finished / "run", tmp_path / "out", draws=4, only=["directions"])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("part-*")}
    calibrate_run(finished / "run", tmp_path / "out", draws=6, only=["directions"])
    assert before.items() <= {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("part-*")}.items()
    assert sorted(DRAWS.read(tmp_path / "out" / "draws.parquet")["draw"].unique()) == list(range(6))


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_engine(finished, tmp_path):
    calibrate_run(
        finished / "run", tmp_path / "out", draws=6, only=["directions"], engine=engine("processes", workers=2)
    )
    assert files(tmp_path / "out") == files(finished / "out")


def test_a_run_is_left_as_it_is(finished):
    before = {p: p.stat().st_mtime_ns for p in (finished / "run").rglob("*") if p.is_file()}
    calibrate_run(finished / "run", finished / "out", draws=6, only=["directions"])
    assert before == {p: p.stat().st_mtime_ns for p in (finished / "run").rglob("*") if p.is_file()}


def test_rates_of_planted_draws():
    rng = np.random.default_rng(0)
    draws = pd.DataFrame(
        {
            "draw": np.repeat(np.arange(100), 3),
            "kind": "a.b",
            "verdict": np.where(rng.random(300) < 0.2, "supported", "inconclusive"),
        }
    )
    rate = supported(draws)["a.b"]
    assert rate["rate"] == pytest.approx(0.2, abs=0.06)
    assert rate["low"] < 0.2 < rate["high"]


def test_bad_input(finished, tmp_path):
    with pytest.raises(EmotionCircuitsError, match="unknown; choose from"):
        calibrate_run(finished / "run", tmp_path, only=["nowhere"])
    with pytest.raises(EmotionCircuitsError, match="none of its finished stations"):
        calibrate_run(finished / "run", tmp_path, only=["capture"])
    with pytest.raises(EmotionCircuitsError, match="at least one draw"):
        calibrate_run(finished / "run", tmp_path, draws=0)
    with pytest.raises(EmotionCircuitsError, match="finish the run"):
        calibrate_run(tmp_path / "nothing", tmp_path / "x")


def test_the_command_and_its_page(finished):
    arguments = [
        "calibrate",
        str(finished / "run"),
        "--out",
        str(finished / "out"),
        "--draws",
        "6",
        "--only",
        "directions",
    ]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    page = (finished / "out" / "calibration.html").read_text()
    assert found["page"] == str(finished / "out" / "calibration.html")
    assert "directions.cosine" in page
    assert '"x":["8","12","20","34","65","200"]' in page.replace(" ", "")  # a line of the coverage over units
    table = CliRunner().invoke(app, [*arguments, "--lang", "ja"])
    assert table.exit_code == 0, table.output
    assert "directions.reading" in table.output
    assert "較正" in (finished / "out" / "calibration.html").read_text()
