"""A damaged file of a run is said by whatever reads it, in one line; nothing is shown as if it were whole."""

import shutil

import pytest

from corruption_cases import campaign
from emotion_circuits.record.reading import read_claims
from emotion_circuits.study.tracking import Tracker, default_uri, track_study


@pytest.fixture(scope="module")
def recorded(runs, tmp_path_factory):
    """A finished run that MLflow knows, where the campaign has its copy: a link names the store beside it."""
    place = tmp_path_factory.mktemp("corrupted")
    shutil.copytree(runs / "a", place / "run")
    track_study(place / "run", Tracker(default_uri(place / "run")), read_claims(place / "run"))
    (place / "run").rename(place / "intact")
    return place


def found(recorded, count, **options):
    bugs, silent, tried, refused = campaign(recorded / "intact", recorded, count, **options)
    for folder in ("run", "beside"):
        shutil.rmtree(recorded / folder)
    print(
        f"{count} cases, {tried} commands, {refused} refused, {len(silent)} silent, {len(bugs)} errors of the program"
    )
    assert not bugs, bugs[:5]
    assert not silent, silent[:5]
    assert refused


def test_a_sample_of_damaged_files(recorded):
    found(recorded, 8)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_kind_of_damage_to_every_file(recorded):
    found(recorded, 240)
