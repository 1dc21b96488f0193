"""Two runs side by side, and a run's folder freed of what it no longer needs."""

import json
import shutil
import subprocess
import sys
import threading

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import open_run, read_claims
from emotion_circuits.study import run_study
from emotion_circuits.study.cleaning import clean_run, spare_files
from emotion_circuits.study.comparing import compare_runs
from study_cases import artefacts, resummed, small


def command(*arguments):
    done = CliRunner().invoke(app, ["runs", *map(str, arguments)], catch_exceptions=False)
    return done.stdout


# -- compare -----------------------------------------------------------------------------------------------------------


def test_what_was_asked_and_what_came_out_differently(runs):
    found = json.loads(command("compare", runs / "a", runs / "b", "--json"))
    assert {row["key"]: (row["a"], row["b"]) for row in found["config"]} == {"trace.top": (3, 1), "seed": (0, 1)}
    claims = {row["id"]: row for row in found["claims"]}
    a, b = open_run(runs / "a").claims, open_run(runs / "b").claims
    assert set(claims) == set(a) | set(b)
    for name, row in claims.items():
        assert (row["flags"] == ["only in a"]) == (name not in b)
        if name in a and name in b:
            figures = a[name].figures
            assert row["a"]["estimate"] == figures.estimate
            assert row["a"]["interval"] == (list(figures.interval) if figures.interval else None)
            assert ("verdict" in row["flags"]) == (a[name].verdict != b[name].verdict)
            assert ("part" in row["flags"]) == (a[name].about.part != b[name].about.part)
    assert sum(row["flags"] == ["only in a"] for row in claims.values()) >= 3
    assert all(row[side]["seconds"] > 0 for row in found["stages"] for side in "ab")
    text = command("compare", runs / "a", runs / "b")
    assert "trace.top" in text
    assert "only in a" in text


def test_a_run_does_not_differ_from_itself(runs):
    found = compare_runs(open_run(runs / "a"), open_run(runs / "a"))
    assert found["config"] == found["environment"] == found["choices"] == []
    assert not [row for row in found["claims"] if row["flags"]]


def test_intervals_that_do_not_meet_are_flagged(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "c")
    path = tmp_path / "c" / "directions" / "claims.json"
    claims = json.loads(path.read_text())
    claims[0]["figures"] |= {"interval": [5.0, 6.0], "estimate": 5.5}
    claims[0]["verdict"] = "supported"
    path.write_text(json.dumps(claims))
    resummed(path.parent)
    rows = {r["id"]: r for r in compare_runs(open_run(runs / "a"), open_run(tmp_path / "c"))["claims"]}
    assert "intervals apart" in rows[claims[0]["id"]]["flags"]
    assert len([r for r in rows.values() if r["flags"]]) == 1


def test_an_unfinished_run_can_be_compared_which_is_said(runs, tmp_path, caplog):
    shutil.copytree(runs / "a", tmp_path / "half")
    (tmp_path / "half" / "manifest.json").unlink()
    shutil.rmtree(tmp_path / "half" / "circuits")
    found = compare_runs(open_run(runs / "a"), open_run(tmp_path / "half"))
    assert {s["stage"]: s["b"]["status"] for s in found["stages"]}["circuits"] == "missing"
    assert found["environment"] == []
    assert f"{tmp_path / 'half'}: has not finished" in caplog.text


def test_runs_are_compared_and_cleaned_without_tracking(runs):
    """In a process in which MLflow cannot be imported."""
    code = (
        "import sys\n"
        "for name in ('mlflow', 'sqlalchemy', 'alembic'): sys.modules[name] = None\n"
        "from emotion_circuits.cli import main\n"
        f"sys.argv = ['emotion-circuits', 'runs', {{}}, *{[str(runs / 'a'), str(runs / 'b')]!r}[:{{}}], '--json']\n"
        "main()\n"
    )
    for name, count in (("compare", 2), ("clean", 1)):
        done = subprocess.run(
            [sys.executable, "-c", code.format(repr(name), count)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_recorded_runs_are_found_by_their_id(runs, monkeypatch, tmp_path):
    from mlflow.tracking import MlflowClient

    from emotion_circuits.study.tracking import Tracker, track_study

    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")
    ids = [track_study(runs / name, tracker, read_claims(runs / name)) for name in "ab"]
    recorded = MlflowClient(tracking_uri=tracker.uri).get_run(ids[0]).data
    for claim in read_claims(runs / "a"):
        of, low, high = claim.figures, *(claim.figures.interval or (None, None))
        for ending, value in {"": of.estimate, ".q": of.q, ".low": low, ".high": high}.items():
            assert recorded.metrics.get(f"{claim.id}{ending}") == (None if value is None else pytest.approx(value))
        assert recorded.tags[f"verdict.{claim.id}"] == claim.verdict
    found = json.loads(command("compare", *ids, "--store", tracker.uri, "--json"))
    assert [row["key"] for row in found["config"]] == ["seed", "trace.top"] or len(found["config"]) == 2
    for name in "ab":
        (runs / name / "tracking.json").unlink()
    with pytest.raises(EmotionCircuitsError, match="neither a folder nor the id of one recorded run"):
        command("compare", "ffffffff", ids[0], "--store", tracker.uri)


@pytest.mark.parametrize("version", [0, 99])
def test_runs_of_another_version_are_refused(runs, tmp_path, version):
    shutil.copytree(runs / "a", tmp_path / "other")
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    (tmp_path / "other" / "manifest.json").write_text(json.dumps({**manifest, "format": version}))
    with pytest.raises(EmotionCircuitsError, match=f"format {version}"):
        command("compare", runs / "a", tmp_path / "other")


# -- clean -------------------------------------------------------------------------------------------------------------


def littered(runs, folder):
    """A run with everything that can be left over, beside things that are the person's own."""
    shutil.copytree(runs / "b", folder)
    (folder / "steering" / ".sweep.parquet.abcd_123.tmp").write_bytes(b"x" * 1000)
    (folder / "steering" / "test" / "parts").mkdir()
    (folder / "steering" / "test" / "parts" / "part-00000.parquet").write_bytes(b"x" * 500)
    (folder / "capture" / "shard-0123456789ab-00000.safetensors").write_bytes(b"x" * 2000)
    (folder / "notes.txt").write_text("mine")
    (folder / "capture" / "notes.tmp").write_text("mine too")
    (next((folder / "superseded").iterdir()) / "thesis.txt").write_text("mine as well")
    return folder


def listing(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_only_what_is_listed_goes_and_nothing_without_being_asked(runs, tmp_path):
    run = littered(runs, tmp_path / "run")
    before = listing(run)
    found = json.loads(command("clean", run, "--json"))
    assert listing(run) == before
    assert found["removed"] is False
    assert found["bytes"] == sum(f["bytes"] for f in found["files"]) > 3500
    done = json.loads(command("clean", run, "--yes", "--json"))
    assert [f["path"] for f in done["files"]] == [f["path"] for f in found["files"]]
    assert done["bytes"] == found["bytes"]
    gone = before - listing(run)
    spare = [f["path"].removeprefix(f"{run}/") for f in found["files"]]
    assert all(any(name == s or name.startswith(f"{s}/") for s in spare) for name in gone)
    assert {"notes.txt", "capture/notes.tmp"} <= listing(run)
    assert [name.rpartition("/")[2] for name in listing(run) if name.startswith("superseded/")] == ["thesis.txt"]
    assert artefacts(run) == artefacts(runs / "b")
    config = json.loads((run / "study.json").read_text())
    assert [r.status for r in run_study(small(config["model"], **{"trace.top": 1, "seed": 1}), run).stages] == [
        "reused"
    ] * 5
    assert spare_files(run) == []


def test_states_go_only_when_asked_for_and_come_back_when_needed(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "a", run)
    tiny = json.loads((run / "study.json").read_text())["model"]
    shards = sorted(p.name for p in (run / "capture").glob("shard-*"))
    assert not [s for s in spare_files(run) if s.path.name in shards]
    done = clean_run(run, captures=True)
    assert sorted(s.path.name for s in done) == shards
    assert all(s.removed for s in done)
    assert [r.status for r in run_study(small(tiny), run).stages] == ["reused"] * 5
    changed = small(tiny, **{"trace.top": 2})
    # No pair fits the tiny model, so its parts are asked what they carry on the sentences that are traced.
    assert [r.status for r in run_study(changed, run).stages] == ["ran", "reused", "ran", "reused", "ran"]
    assert {k: v for k, v in artefacts(run).items() if k.startswith("capture/")} == {
        k: v for k, v in artefacts(runs / "a").items() if k.startswith("capture/")
    }


def test_refused_folders(runs, tmp_path):
    (tmp_path / "superseded").mkdir()
    (tmp_path / "superseded" / "thesis.txt").write_text("precious")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(EmotionCircuitsError, match="not the folder of a run"):
        command("clean", tmp_path, "--yes")
    assert (tmp_path / "superseded" / "thesis.txt").read_text() == "precious"
    run = littered(runs, tmp_path / "run")
    before = listing(run)
    held, release = threading.Event(), threading.Event()

    def hold():
        with FileLock(run / ".lock"):
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    try:
        with pytest.raises(EmotionCircuitsError, match="another run is working here"):
            command("clean", run, "--yes")
    finally:
        release.set()
        holder.join()
    assert listing(run) == before


def test_a_link_is_removed_and_not_what_it_leads_to(runs, tmp_path):
    run = littered(runs, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data.txt").write_text("precious")
    (run / "superseded" / "capture-9").symlink_to(tmp_path / "elsewhere")
    clean_run(run)
    assert (tmp_path / "elsewhere" / "data.txt").read_text() == "precious"
