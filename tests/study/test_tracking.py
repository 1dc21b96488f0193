import json

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
