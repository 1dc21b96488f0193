import json
import multiprocessing
import os
import signal

import pytest
from typer.testing import CliRunner

from emotion_circuits.activations import capture
from emotion_circuits.cli.app import app
from emotion_circuits.cli.shared import recorded
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_prompts
from emotion_circuits.study.tracking import LINK, Tracker, default_uri, track_capture
from families import tiny_model


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    root = tmp_path_factory.mktemp("tracking")
    store = capture(tiny_model("llama"), load_prompts("core")[:8], root / "states")
    tracker = Tracker(default_uri(root / "states"))
    return root, store, tracker, track_capture(root / "states", store.manifest, tracker)


def test_a_run_leads_to_its_capture_and_back(tracked, monkeypatch):
    root, store, tracker, run_id = tracked
    link = json.loads((root / "states" / LINK).read_text())
    assert link["run_id"] == run_id
    assert link["capture"] == store.manifest["hash"]
    found = tracker.find(capture=store.manifest["hash"][:12])
    assert [r.run_id for r in found] == [run_id]
    assert found[0].folder == str((root / "states").resolve())
    assert found[0].params["model.d_model"] == "32"
    assert tracker.find(capture="ffff") == []
    shown = CliRunner().invoke(app, ["runs", "show", str(root / "states"), "--json"])
    assert json.loads(shown.stdout)["capture"] == store.manifest["hash"]
    listed = CliRunner().invoke(app, ["runs", "list", "--store", tracker.uri, "--json"])
    assert [r["run_id"] for r in json.loads(listed.stdout)["runs"]] == [run_id]
    assert (
        next((root / "mlartifacts").rglob("manifest.json")).read_bytes()
        == (root / "states" / "manifest.json").read_bytes()
    )


def test_the_environment_names_another_store(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere/x.db")
    assert default_uri(tmp_path) == "sqlite:////elsewhere/x.db"


def test_a_store_that_cannot_be_opened_stops_nothing_unless_asked_for(tmp_path, capsys):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")

    def record():
        return tracker.record("x", params={}, metrics={}, tags={})

    assert recorded(False, record) is None
    assert recorded(None, record) is None
    assert "warning: not recorded in MLflow: tracking store" in capsys.readouterr().err
    with pytest.raises(EmotionCircuitsError, match="tracking store"):
        recorded(True, record)


def test_a_store_is_whole_or_not_there(tmp_path, monkeypatch):
    import mlflow

    tracker = Tracker(f"sqlite:///{tmp_path / 'deep' / 'mlflow.db'}")

    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "search_experiments", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tracker.record("x", params={}, metrics={}, tags={})
    assert list((tmp_path / "deep").iterdir()) == []
    with pytest.raises(EmotionCircuitsError, match=r"deep/mlflow\.db: there is none"):
        tracker.find()
    tracker.record("x", params={}, metrics={}, tags={})
    assert len(tracker.find()) == 1
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["mlflow.db"]


def test_unknown_runs_and_unwritable_stores_are_clear_errors(tracked, tmp_path):
    _, _, tracker, _ = tracked
    with pytest.raises(EmotionCircuitsError, match="0 recorded runs"):
        CliRunner().invoke(app, ["runs", "show", "nothing", "--store", tracker.uri], catch_exceptions=False)
    with pytest.raises(EmotionCircuitsError, match="was not recorded"):
        CliRunner().invoke(app, ["runs", "show", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(EmotionCircuitsError, match="tracking store"):
        Tracker("sqlite:////proc/nowhere/x.db").record("x", params={}, metrics={}, tags={})


@pytest.fixture
def recording(tmp_path):
    tracker = Tracker(default_uri(tmp_path / "states"))

    def record():
        return tracker.record("x", params={"a": 1}, metrics={"m": 0.5}, tags={"folder": "here"})

    return tracker, record


@pytest.mark.parametrize("at", ["log_batch", "set_terminated"])
def test_one_finished_row_after_a_kill_in_the_midst_of_recording(recording, monkeypatch, at):
    import mlflow

    tracker, record = recording

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, at, killed)
        with pytest.raises(KeyboardInterrupt):
            record()
    assert [r.status for r in tracker.find()] == ["RUNNING"]
    # The second kill comes after all is recorded, before the folder is told.
    assert record() == record()
    (found,) = tracker.find()
    assert (found.status, found.params, found.metrics) == ("FINISHED", {"a": "1"}, {"m": 0.5})


@pytest.mark.parametrize("at", ["create_run", "log_batch", "set_terminated"])
def test_one_finished_row_after_the_process_was_killed_while_recording(recording, at):
    """``kill -9`` in a process of its own: the database is left as it was at that moment."""
    import mlflow

    tracker, record = recording

    def die():
        whole = getattr(mlflow.MlflowClient, at)

        def killed(*arguments, **options):
            if at == "create_run":
                whole(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(mlflow.MlflowClient, at, killed)
        record()

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [r.status for r in tracker.find()] == ["RUNNING"]
    record()
    (found,) = tracker.find()
    assert (found.status, found.params, found.metrics) == ("FINISHED", {"a": "1"}, {"m": 0.5})


@pytest.mark.parametrize("name", ["a b", "a%b", "a%20b", "a?b", "a#b", "a&b=c", "ä'q\"x", "a[b]"])
def test_a_store_lies_beside_the_folder_whatever_that_is_called(tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    tracker = Tracker(default_uri(place / "run"))
    (place / "note.txt").write_text("n")
    run_id = tracker.record("x", params={}, metrics={}, tags={}, artifacts=[place / "note.txt"])
    assert [r.run_id for r in tracker.find()] == [run_id]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert {p.name for p in place.iterdir()} == {"note.txt", "mlflow.db", "mlartifacts"}
    assert len(list((place / "mlartifacts").rglob("note.txt"))) == 1


def test_an_address_in_somebody_elses_folder_is_not_followed(tracked, tmp_path):
    root, _, _, _ = tracked
    foreign = tmp_path / "theirs"
    foreign.mkdir()
    link = json.loads((root / "states" / LINK).read_text())
    for uri in (f"sqlite:///{tmp_path}/planted.db", "http://127.0.0.1:9/", link["uri"]):
        (foreign / LINK).write_text(json.dumps({"uri": uri, "experiment": "e", "run_id": "0"}))
        with pytest.raises(EmotionCircuitsError, match=r"names the store .*; to open it, give it with --store"):
            CliRunner().invoke(app, ["runs", "show", str(foreign)], catch_exceptions=False)
    assert [p.name for p in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"uri": 3}', "null"])
def test_a_damaged_link_is_one_line_and_is_written_anew(tracked, tmp_path, damage):
    (tmp_path / LINK).write_text(damage)
    with pytest.raises(EmotionCircuitsError, match=rf"{LINK}.*written anew"):
        CliRunner().invoke(app, ["runs", "show", str(tmp_path)], catch_exceptions=False)


def test_what_a_person_types_is_no_part_of_a_query(tracked):
    _, _, tracker, _ = tracked
    for typed in ("' OR name LIKE '", "%", "52a3'", "`x`"):
        with pytest.raises(EmotionCircuitsError, match="not the beginning of a hash"):
            tracker.find(capture=typed)


def test_a_listing_says_where_it_looked(tracked, tmp_path, monkeypatch):
    _, _, tracker, _ = tracked
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EmotionCircuitsError, match=r"runs/mlflow\.db: there is none .*--store"):
        CliRunner().invoke(app, ["runs", "list"], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []
    shown = CliRunner().invoke(app, ["runs", "list", "--capture", "ffff", "--store", tracker.uri])
    assert f"No runs of capture ffff in {tracker.uri}" in shown.stdout
