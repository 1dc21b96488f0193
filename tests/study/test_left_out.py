"""What an attribute lacks is said, and the rest is studied."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from attribute_cases import COLOURS, sentences, write_colours
from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import read_claims
from emotion_circuits.report.study_page import render_report
from emotion_circuits.study import load_config, run_study
from study_cases import SMALL, save_tiny

BARE = {
    "openings": None, "pairs": None, "lexicon": None, "judges": None, "prompting": None, "words": None, "colours": None,
}  # fmt: skip


def bare(root, **changes):
    """The colours with nothing but sentences, in which no word is marked."""
    path = write_colours(root, **BARE, **changes)
    for row in (rows := sentences()):
        row["spans"] = []
    (root / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def settings(root, attribute, **more):
    own = {key: value for key, value in SMALL.items() if key != "prompts"}
    return load_config(
        "quick", overrides={**own, "model": str(save_tiny(root / "tiny")), "attribute": str(attribute), **more}
    )


@pytest.fixture(scope="module", params=["two values", "one value"])
def run(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("bare")
    one = request.param == "one value"
    path = bare(root, **({"values": ["warm"]} if one else {}))
    result = run_study(settings(root, path), root / "run")
    return root / "run", result, ["warm"] if one else ["warm", "cold"]


def test_what_is_missing_is_named_and_the_rest_runs(run):
    folder, result, _ = run
    found = {r.name: (r.status, r.why) for r in result.stages}
    assert {name: status for name, (status, _) in found.items()} == {
        "capture": "ran", "directions": "ran", "trace": "ran", "steering": "left out", "circuits": "ran",
    }  # fmt: skip
    assert found["steering"][1] == "colours names no openings of texts"
    assert json.loads((folder / "steering" / "claims.json").read_text()) == []


def test_the_page_says_so_in_both_languages(run):
    folder, _, _ = run
    english = render_report(folder).path.read_text(encoding="utf-8")
    assert "Not measured: colours names no openings of texts." in english
    assert "minimal pairs was not measured: colours names no minimal pairs." in english
    assert "attention was not measured" in english
    report = render_report(folder, language="ja")
    assert not report.missing
    assert "colours" in report.path.read_text(encoding="utf-8")


def test_parts_are_asked_what_they_carry_in_the_place_of_pairs(run):
    folder, _, values = run
    table = pd.read_parquet(folder / "circuits" / "carriers.parquet")
    assert list(dict.fromkeys(table["emotion"])) == values
    assert table["log_odds"].notna().all()
    claims = [c for c in read_claims(folder) if c.kind == "circuits.carrier"]
    assert len(claims) == 3 * len(values)
    assert not [c.id for c in claims if c.verdict == "supported"]  # the model is random


def test_a_finished_one_is_reused_and_what_is_missing_said_again(run):
    folder, _, _ = run
    config = load_config("quick", file=folder / "study.json")
    again = {r.name: r.status for r in run_study(config, folder).stages}
    assert set(again.values()) == {"reused", "left out"}
    planned = {r.name: r.status for r in run_study(config, folder, dry=True).stages}
    assert planned == again


def test_json_names_what_was_left_out(run):
    folder, _, _ = run
    done = CliRunner().invoke(
        app, ["--quiet", "run", "--config", str(folder / "study.json"), "--out", str(folder), "--json", "--no-track"]
    )
    stages = {s["name"]: s for s in json.loads(done.stdout)["stages"]}
    assert stages["steering"]["status"] == "left out"
    assert "openings" in stages["steering"]["why"]


def test_a_corpus_without_a_test_split_is_refused_before_the_capture(tmp_path):
    path = bare(tmp_path)
    rows = [row for row in sentences() if row["split"] != "test"]
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match=r"corpora.fit: no test sentence is labelled warm, cold, plain"):
        run_study(settings(tmp_path, path), tmp_path / "run")
    assert not (tmp_path / "run" / "capture").exists()


def test_judges_of_another_language_are_refused(tmp_path):
    rows = [{**row, "language": "ja"} for row in sentences()]
    path = write_colours(tmp_path, language="ja", judges=["colours", "vader"], metrics={"vader": {"warm": 1}})
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(EmotionCircuitsError) as found:
        run_study(settings(tmp_path, path), tmp_path / "run")
    assert "the sentence embedding reads English, the texts are 'ja'" in str(found.value)
    assert "'vader' judges en, the texts are 'ja'" in str(found.value)


def test_texts_of_another_language_than_the_attributes_are_refused(tmp_path):
    with pytest.raises(EmotionCircuitsError, match="are 'ja', the attribute's are 'en'"):
        run_study(
            settings(tmp_path, "emotion-en", prompts=["languages/ja/core"]), tmp_path / "run",
        )  # fmt: skip


def test_the_colours_are_what_they_were():
    assert set(BARE) < set(COLOURS)
