import json
from types import SimpleNamespace

import pytest
from filelock import FileLock

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.folder import StationFolder
from emotion_circuits.record.running import NOTE, run_stations
from emotion_circuits.record.settings import Settings
from emotion_circuits.record.station import Context, Station
from emotion_circuits.study.config import StudyConfig


def make_stations(log, first_inputs, fail=()):
    def writer(name):
        def run(_context, station):
            folder = station.path
            log.append(name)
            part = folder / "part.txt"
            if not part.exists():
                part.write_text("first half", encoding="utf-8")
            if name in fail:
                raise RuntimeError("interrupted")
            (folder / "out.txt").write_text(f"{name} done", encoding="utf-8")

        return run

    def station(name, inputs, needs=()):
        code = SimpleNamespace(inputs=lambda _context: inputs, run=writer(name))
        return Station(name, name.title(), 1, __name__, Settings, StationFolder, needs, code=code)

    return [station("one", first_inputs), station("two", {}, ("one",)), station("three", {})]


def context(folder):
    return Context(StudyConfig(), folder)


def test_unchanged_stages_are_not_run_again(tmp_path):
    log = []
    run_stations(context(tmp_path), make_stations(log, {"a": 1}))
    assert log == ["one", "two", "three"]
    reports = run_stations(context(tmp_path), make_stations(log, {"a": 1}))
    assert log == ["one", "two", "three"]
    assert [r.status for r in reports] == ["reused"] * 3


def test_a_change_reruns_the_stage_and_what_needs_it_and_keeps_the_old(tmp_path):
    log = []
    run_stations(context(tmp_path), make_stations(log, {"a": 1}))
    (tmp_path / "one" / "part.txt").touch()
    run_stations(context(tmp_path), make_stations(log, {"a": 2}))
    assert log == ["one", "two", "three", "one", "two"]
    assert (tmp_path / "superseded" / "one-1" / "out.txt").read_text() == "one done"


def test_an_interrupted_stage_finds_its_own_work(tmp_path):
    log = []
    with pytest.raises(RuntimeError):
        run_stations(context(tmp_path), make_stations(log, {}, fail=("two",)))
    assert json.loads((tmp_path / "two" / NOTE).read_text())["status"] == "running"
    (tmp_path / "two" / "part.txt").write_text("kept", encoding="utf-8")
    run_stations(context(tmp_path), make_stations(log, {}))
    assert log == ["one", "two", "two", "three"]
    assert (tmp_path / "two" / "part.txt").read_text() == "kept"


def test_a_changed_artefact_is_noticed(tmp_path):
    run_stations(context(tmp_path), make_stations([], {}))
    (tmp_path / "one" / "out.txt").write_text("one dona", encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match=r"out\.txt: was changed after it was written"):
        run_stations(context(tmp_path), make_stations([], {}))


def test_a_missing_artefact_is_noticed(tmp_path):
    run_stations(context(tmp_path), make_stations([], {}))
    (tmp_path / "one" / "out.txt").unlink()
    with pytest.raises(EmotionCircuitsError, match=r"out\.txt: is missing"):
        run_stations(context(tmp_path), make_stations([], {}))


def test_two_runs_in_one_folder(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(EmotionCircuitsError, match="another run is working"):
        run_stations(context(tmp_path), make_stations([], {}))


def test_dry_run_changes_nothing(tmp_path):
    log = []
    reports = run_stations(context(tmp_path), make_stations(log, {}), dry=True)
    assert [r.status for r in reports] == ["would run"] * 3
    assert log == []
    assert not (tmp_path / "one").exists()


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "two" / "deep").mkdir(parents=True)
    (tmp_path / "two" / "deep" / "mine.txt").write_text("precious", encoding="utf-8")
    log = []
    with pytest.raises(EmotionCircuitsError, match=r"two: holds deep/mine\.txt and no stage\.json"):
        run_stations(context(tmp_path), make_stations(log, {}))
    assert log == []
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"] == ["mine.txt"]


def test_empty_folders_and_what_a_dead_process_left_are_no_obstacle(tmp_path):
    (tmp_path / "one" / "parts").mkdir(parents=True)
    left = [tmp_path / ".study.json.abcd_123.tmp", tmp_path / "one" / ".out.txt.x2345678.tmp"]
    for path in left:
        path.write_text("half", encoding="utf-8")
    run_stations(context(tmp_path), make_stations([], {}))
    assert not any(path.exists() for path in left)
