"""Place and strength are looked for on a model, coarse to fine, and shuffled directions go through the same search."""

import pytest

from emotion_circuits.record.running import run_stations
from emotion_circuits.record.station import Context
from emotion_circuits.stations.registry import study_stations
from emotion_circuits.stations.steering.finding import REFINED, SCREENED
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.shuffled import shuffled_claims
from study_cases import save_tiny, small

STATIONS = [station for station in study_stations() if station.name in ("capture", "directions", "steering")]
LOOKED = {
    "steering.alphas": None,
    "steering.layers": [0, 1],
    "steering.validation_prompts": 30,
    "steering.compare_prompts": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("found")
    config = small(save_tiny(root / "tiny"), **LOOKED)
    context = Context(config, root / "run")
    run_stations(context, STATIONS)
    return context


def test_places_are_tried_on_few_openings_and_chosen_on_all(run):
    folder = run.of(SteeringFolder)
    grid = folder.grid.read()
    steered = grid[grid["kind"] == "emotion"]
    assert {SCREENED, 30} <= set(steered["n"]) <= {SCREENED, REFINED, 30}
    assert (folder.path / "refine").is_dir()
    # Two layers, with and without the first token, at two strengths, three emotions; what is tried again is not shown twice.
    assert steered["condition"].is_unique
    assert 18 <= len(steered) <= 24 + 18
    whole = set(folder.validation.read()["condition"])
    chosen = folder.choice.read().conditions()
    assert chosen
    assert {condition.name for condition in chosen.values()} <= whole


def test_a_second_run_writes_nothing_anew(run):
    (*_, report) = run_stations(run, STATIONS)
    assert report.status == "reused"


def test_shuffled_directions_go_through_the_search(run):
    (claims,) = shuffled_claims(run, [3])
    kinds = {claim.kind for claim in claims}
    assert "steering.effect" in kinds
