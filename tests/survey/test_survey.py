"""A grid of studies and what they share: kept, resumed, extended, shown; chance where models are random."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from attribute_cases import write_colours
from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.engines.processes import Processes
from emotion_circuits.record.reading import read_claims
from emotion_circuits.stations.scaling.folder import ScalingFolder
from emotion_circuits.stations.sharing.folder import SharingFolder
from emotion_circuits.stations.transfer.folder import TransferFolder
from emotion_circuits.statistics import VERDICTS
from emotion_circuits.survey import gatherings, load_survey, points_of, presets, run_survey
from emotion_circuits.survey.page import survey_claims, survey_left_out, write_survey_page
from families import tiny_model
from study_cases import SMALL

QUICK = {k: v for k, v in SMALL.items() if k not in ("prompts", "directions.extractors", "capture.poolings")} | {
    "capture.poolings": ["last", "mean"], "directions.poolings": ["last", "mean"], "directions.extractors": ["mean_difference"],
    "circuits.carried": "always", "trace.null_draws": 2,
}  # fmt: skip


def save(root, name, family):
    model = tiny_model(family, max_position_embeddings=1024)
    model.hf.save_pretrained(root / name)
    model.tokenizer.save_pretrained(root / name)


def write(root, **changes):
    """Two attributes of the same values in other words: what is read of one says nothing of the other."""
    write_colours(root, openings=None, pairs=None)
    other = (root / "colours.jsonl").read_text(encoding="utf-8")
    for old, new in (("colours", "shades"), ("amber", "tulip"), ("coral", "maple"), ("peach", "cedar"), ("ochre", "birch"),
                     ("azure", "brick"), ("slate", "glass"), ("steel", "paper"), ("frost", "cloth")):  # fmt: skip
        other = other.replace(old, new)
    (root / "shades.jsonl").write_text(other, encoding="utf-8")
    about = yaml.safe_load((root / "colours.yaml").read_text(encoding="utf-8"))
    about |= {
        "name": "shades",
        "corpora": {"fit": ["shades.jsonl"], "trace": "shades.jsonl"},
        "judges": ["shades", "keywords"],
    }
    (root / "shades.yaml").write_text(yaml.safe_dump(about, allow_unicode=True), encoding="utf-8")
    survey = {
        "name": "tiny", "models": ["a"], "attributes": ["colours.yaml", "shades.yaml"],
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in QUICK.items()},
        "gather": {"scaling": {"resamples": 100}, "alignment": {"draws": 20, "depths": [0.5]}, "transfer": {"draws": 39},
                   "sharing": {"draws": 199, "resamples": 100, "halvings": 10}},
        **changes,
    }  # fmt: skip
    path = root / "survey.yaml"
    path.write_text(yaml.safe_dump(survey), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    root = tmp_path_factory.mktemp("survey")
    for name, family in (("a", "llama"), ("b", "gpt_neox")):
        save(root, name, family)
    first = run_survey(load_survey(write(root)), root / "out")
    second = run_survey(load_survey(write(root, models=["a", "b"])), root / "out")
    return root, first, second


def test_points_are_run_once_and_a_model_added_costs_that_model(survey):
    _, first, second = survey
    assert [d.status for d in first.points] == ["ran", "ran"]
    assert {d.what: d.status for d in first.gathered} == {"transfer": "ran", "sharing": "ran"}
    assert [d.status for d in second.points] == ["reused", "reused", "ran", "ran"]
    status = {(d.what, d.name): d.status for d in second.gathered}
    assert status["transfer", "a--s0"] == status["sharing", "a--s0"] == "reused"
    assert {what for (what, _), state in status.items() if state == "ran"} == {
        "transfer", "sharing", "scaling", "alignment",
    }  # fmt: skip


def test_random_models_share_nothing(survey):
    root, _, second = survey
    claims = survey_claims(root / "out")
    assert {c.kind for c in claims} >= {"transfer.reading", "transfer.words", "scaling.difference", "alignment.reading"}
    # Two random models do share what a map of neutral sentences carries over, which words there are, and nothing beyond.
    assert not [c.id for c in claims if c.verdict == "supported"]
    assert len({c.id for c in claims}) == len(claims)
    families = {c.figures.family: c.figures.tests for c in claims}
    assert families["transfer.reading"] == 4  # two models, both ways
    scaling = next(d for d in second.gathered if d.what == "scaling")
    models = ScalingFolder(root / "out" / "gathered" / "scaling" / scaling.name / "scaling").models.read()
    assert {Path(name).name for name in models["model"]} == {"a", "b"}
    assert models["parameters"].gt(0).all()
    transfers = TransferFolder(root / "out" / "gathered" / "transfer" / "a--s0" / "transfer").transfers.read()
    assert len(transfers) == 4
    assert read_claims(root / "out" / "gathered" / "transfer" / "a--s0")
    # What random heads carry to directions of other words is compared, and is nothing in common.
    shared = SharingFolder(root / "out" / "gathered" / "sharing" / "a--s0" / "sharing").shared.read()
    assert shared["task"].tolist() == ["carried"]
    assert shared["values"].tolist() == ["warm, cold"]
    # Where no figure is given, it is told whose heads do nothing that repeats.
    for row in survey_left_out(root / "out"):
        assert row["what"] == "sharing"
        assert row["why"]
    silent = {row["name"] for row in survey_left_out(root / "out") if row["part"] == "what heads share"}
    assert ("a--s0" in silent) == bool(shared["correlation"].isna().any())


def test_the_page_shows_every_gathering_and_leads_to_every_study(survey):
    root, _, _ = survey
    for language in ("en", "ja"):
        html = write_survey_page(root / "out", language=language).read_text(encoding="utf-8")
        assert html.count("runs/") >= 4
        assert "transfer-matrix" in html
        assert "scaling-separation" in html


def test_the_command_says_what_is_done_and_goes_on(survey):
    root, _, _ = survey
    asked = ["survey", str(root / "survey.yaml"), "--out", str(root / "out"), "--json"]
    dry = json.loads(CliRunner().invoke(app, [*asked, "--dry-run"], catch_exceptions=False).stdout)
    assert {p["status"] for p in dry["points"]} == {"reused"}
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert {p["status"] for p in (*found["points"], *found["gathered"])} == {"reused"}
    assert found["claims"]
    # Neither attribute has minimal pairs, so there are no circuits to run on one another's.
    assert {(row["what"], row["part"]) for row in found["left_out"]} >= {("sharing", "a shared circuit")}
    assert any("colours has no minimal pairs" in row["why"] for row in found["left_out"])


def test_a_study_that_fails_is_said_and_the_others_go_on(survey, tmp_path):
    root, _, _ = survey
    write(root)
    (tmp_path / "nothing").mkdir()
    config = load_survey(root / "survey.yaml", {"models": (str(root / "a"), str(tmp_path / "nothing")),
                                               "attributes": (str(root / "colours.yaml"),)})  # fmt: skip
    config = config.model_copy(update={"runs": (), "gather": {"scaling": {}}})
    result = run_survey(config, root / "out")
    assert [d.status for d in result.points] == ["reused", "failed"]
    assert "nothing" in result.points[1].why
    assert [d.status for d in result.gathered] == ["waiting"]
    assert result.failed == (result.points[1],)
    assert repr(result) == f"SurveyResult({root / 'out'}: 2 studies, 1 comparisons, 1 failed)"
    assert "<td>failed</td>" in result._repr_html_()
    claims = read_claims(root / "out" / result.points[0].folder)
    bars = {bar.name: list(bar.x) for bar in result.plot().data}
    assert {name: count[0] for name, count in bars.items()} == {
        v: sum(c.verdict == v for c in claims) for v in VERDICTS
    }


def test_finished_runs_are_points_too(survey):
    root, _, second = survey
    runs = tuple(d.folder for d in second.points)
    config = load_survey(root / "survey.yaml", {"models": (), "runs": runs})
    points = points_of(config, root / "other")
    assert [p.config for p in points] == [None] * 4
    assert {g.station for g in gatherings(config, points)} == {"scaling", "alignment", "transfer", "sharing"}


def test_methods_are_compared_study_by_study_where_a_survey_asks_for_it(tmp_path):
    config = load_survey("attributes", {"gather": {"tuning": {"examples": 64}}})
    points = points_of(config, tmp_path)
    found = gatherings(config, points)
    assert {g.station for g in found} == {"tuning"}
    assert [g.points for g in found] == [(point,) for point in points if point.config.leave_out != ("steering",)]
    assert "tuning" not in {g.station for g in gatherings(load_survey("attributes"), points)}


@pytest.mark.parametrize("name", presets())
def test_presets_are_whole(name, tmp_path):
    config = load_survey(name)
    points = points_of(config, tmp_path)
    assert len(points) == len(config.models) * len(config.attributes)
    assert gatherings(config, points)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [a]\nattributes: [a, a]\n", "a is named twice"),
        ("models: [smollm2-135m]\ngather: {nothing: {}}\n", "nothing is gathered by the name 'nothing'"),
        ("models: [smollm2-135m]\ngather: {transfer: {draws: 1}}\n", "draws"),
        ("attributes: [emotion-en]\n", "names no models and no runs"),
        ("- a\n", "holds keys and values"),
        ("nodels: [a]\n", "nodels"),
    ],
)
def test_bad_input(tmp_path, text, message):
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match=message):
        load_survey(tmp_path / "s.yaml")
    with pytest.raises(EmotionCircuitsError, match="neither a file nor one of"):
        load_survey("no-such-survey")


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_engine(survey, tmp_path):
    """Two worker processes, one of them killed in the middle of its first study, leave what one process leaves."""
    import os
    import signal
    import threading
    import time

    import psutil

    root, _, _ = survey
    config = load_survey(write(root, models=["a", "b"]))

    def kill():
        runs = tmp_path / "out" / "runs"
        while not (runs.is_dir() and len(list(runs.glob("*/capture/*.safetensors"))) >= 2):
            time.sleep(0.05)
        workers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
        os.kill(workers[0].pid, signal.SIGKILL)
        killed.append(workers[0].pid)

    killed: list[int] = []
    threading.Thread(target=kill, daemon=True).start()
    with Processes(2) as engine:
        result = run_survey(config, tmp_path / "out", engine=engine)
    assert killed
    assert not result.failed
    for place in ("runs/a--colours", "runs/b--shades", "gathered/transfer/a--s0"):
        notes = sorted((root / "out" / place).glob("*/stage.json"))
        assert notes
        for note in notes:
            other = tmp_path / "out" / note.relative_to(root / "out")
            assert json.loads(note.read_text())["files"] == json.loads(other.read_text())["files"], note
