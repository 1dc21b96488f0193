"""What every test shares."""

import shutil
from pathlib import Path

import pytest

LONGEST = (
    "study/test_faults.py", "stations/test_outside.py", "record/test_stations_in_parts.py", "study/test_calibrating.py",
    "curation/test_bundled_corpora.py", "report/test_study_report.py", "planted/test_calibration.py",
    "planted/test_generators.py", "record/test_engines.py", "evaluation/test_texts.py", "directions/test_two_models.py",
    "docs/test_examples.py", "survey/test_survey.py", "record/test_clusters.py", "serve/test_studio.py",
    "serve/test_server.py", "study/test_comparing_and_cleaning.py", "study/test_whole_study.py", "study/test_circuit_nulls.py",
    "study/test_planning.py", "cli/test_every_command.py", "report/test_page.py", "steering/test_sweeping.py",
    "docs/test_site.py", "study/test_circuits_stage.py", "steering/test_nulls.py", "circuits/test_circuit_commands.py",
)  # fmt: skip
"""Modules that take longest, in that order: begun last they would keep one worker busy while the other has nothing to do."""


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(autouse=True, scope="session")
def _speeds_of_tests_are_not_the_users(tmp_path_factory):
    from emotion_circuits.study import speeds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speeds, "_file", lambda: tmp_path_factory.getbasetemp() / "speeds.json")
        yield


@pytest.fixture(autouse=True)
def _options_before_the_command_end_with_their_test(monkeypatch):
    """A test that calls a command with ``--quiet`` leaves no silence to those after it on the same worker."""
    from emotion_circuits.cli.shared import State

    monkeypatch.setattr(State, "debug", False)
    monkeypatch.setattr(State, "quiet", False)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two finished studies that several modules look at; whoever writes into them leaves them as they were."""
    from emotion_circuits.study import run_study
    from study_cases import save_tiny, small

    root = tmp_path_factory.mktemp("two")
    tiny = save_tiny(root / "tiny")
    run_study(small(tiny), root / "a")
    shutil.copytree(root / "a", root / "b")
    run_study(small(tiny, **{"trace.top": 1, "seed": 1}), root / "b")
    return root
