"""A whole study on a tiny random model: nothing is there to be found, and everything has to work all the same."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.directions import DirectionSet, save_reader
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import load_model
from emotion_circuits.record.reading import read_claims
from emotion_circuits.report.study_page import summary_table, write_report
from emotion_circuits.study import load_config, run_study
from study_cases import artefacts, resummed, save_tiny, small


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    tiny = save_tiny(root / "tiny")
    run_study(small(tiny), root / "run")
    write_report(root / "run")
    return root


def test_every_stage_is_reused(finished):
    result = run_study(small(finished / "tiny"), finished / "run")
    assert [r.status for r in result.stages] == ["reused"] * 5


def test_every_fitted_set_steers_at_the_chosen_places_with_the_same_strength(finished):
    steering = finished / "run" / "steering"
    table = pd.read_parquet(steering / "comparison.parquet")
    chosen = json.loads((steering / "choice.json").read_text())["chosen"]
    fitted = small(finished / "tiny").directions.pairs()
    assert len(chosen) > 0
    assert sorted(zip(table["extractor"], table["pooling"], table["emotion"], strict=True)) == sorted(
        (extractor, pooling, emotion) for extractor, pooling in fitted for emotion in chosen
    )
    for emotion, condition in chosen.items():
        rows = table[table["emotion"] == emotion]
        assert set(rows["alpha"]) == {condition["alpha"]}
        assert set(rows["layers"]) == {" ".join(map(str, condition["layers"]))}
    assert set(table["n"]) == {4}


def test_choosing_may_take_fewer_texts_than_the_report_of_the_choice(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    more = small(finished / "tiny", **{"steering.samples": 2, "steering.validation_samples": 1})
    run_study(more, tmp_path / "run")
    folder = tmp_path / "run" / "steering"
    texts = {part: pd.read_parquet(folder / f"{part}.parquet")["sample"].nunique() for part in ("validation", "test")}
    assert texts == {"validation": 1, "test": 2}
    assert set(pd.read_parquet(folder / "comparison.parquet")["n"]) == {4}


def test_the_manifest_says_what_was_run(finished):
    manifest = json.loads((finished / "run" / "manifest.json").read_text())
    assert manifest["model"]["family"] == "Llama"
    assert len(manifest["model"]["weights_sha256"]) == 64
    assert manifest["data"]["prompts"]["rows"] == 680
    judges = manifest["data"]["judges"]
    assert list(judges) == ["emotion", "keywords", "vader"]
    assert "judge-en" in judges["emotion"]["sets"]
    assert (judges["emotion"]["shared_sentences"], judges["keywords"]["sets"]) == (0, [])
    assert manifest["environment"]["packages"]["torch"]
    assert manifest["seed"] == 0
    assert "emotion-circuits run --config" in manifest["command"]


def test_a_random_model_supports_no_steering_claim(finished):
    claims = [c for c in read_claims(finished / "run") if c.station == "steering"]
    # That a text stays within a (here huge) bound of fluency is true of a random model too.
    # So is that the judge of texts knows its labels.
    claims = [c for c in claims if c.about.metric != "fluency" and c.kind != "steering.judge"]
    assert claims
    assert not [c.id for c in claims if c.verdict == "supported"]
    # What one push adds to the other is held against none.
    assert all(c.figures.null for c in claims if c.kind != "steering.tokens")
    assert len(summary_table(finished / "run")) >= len(claims)


def test_a_random_model_supports_no_claim_of_who_reads(finished):
    claims = [c for c in read_claims(finished / "run") if c.kind == "trace.readers"]
    assert len(claims) == 9
    assert not [c.id for c in claims if c.verdict == "supported"]


def test_every_extractor_is_recorded_with_its_nulls(finished):
    table = pd.read_parquet(finished / "run" / "directions" / "extractors.parquet")
    assert set(table.extractor) == {"mean_difference", "token", "logistic"}
    assert set(table[table.extractor == "token"].pooling) == {"emotion"}
    assert table[["shuffled_high", "random_high", "stability", "relative_norm", "words_alone"]].notna().all().all()
    cosines = pd.read_parquet(finished / "run" / "directions" / "cosines_by_extractor.parquet")
    assert {"mean_difference", "token", "logistic"} <= set(cosines.extractor)


def test_the_report_holds_every_claim(finished):
    html = (finished / "run" / "report.html").read_text(encoding="utf-8")
    assert html.count('class="claim ') == len(read_claims(finished / "run"))
    assert len(html) < 15_000_000


def test_the_command_of_the_manifest_makes_the_same_bytes(finished):
    config = load_config("quick", file=finished / "run" / "study.json")
    assert config == small(finished / "tiny")
    run_study(config, finished / "again")
    assert artefacts(finished / "again") == artefacts(finished / "run")


def test_read_reports_accuracy_beside_bag_of_words(finished, tmp_path):
    file = tmp_path / "texts.jsonl"
    rows = [{"text": "I am so grateful for this.", "label": "gratitude"}, {"text": "The bus left.", "label": "neutral"}]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    done = CliRunner().invoke(app, ["--quiet", "read", "--run", str(finished / "run"), str(file), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["n"] == 2
    assert 0 <= result["accuracy"] <= 1
    assert 0 <= result["words_accuracy"] <= 1
    assert [row["text"] for row in result["rows"]] == [r["text"] for r in rows]


def test_a_text_of_one_token_is_not_labelled_where_the_reader_averages(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    directions = DirectionSet.load(run / "directions" / "mean_difference.resid_post.mean.json")
    save_reader(run / "directions", [(directions, 1)])
    resummed(run / "directions")
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "I", "label": "anger"}\n{"text": "The bus left."}\n', encoding="utf-8")
    arguments = ["--quiet", "read", "--run", str(run), str(file)]
    result = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert [row["prediction"] is None for row in result["rows"]] == [True, False]
    assert set(result["rows"][0]["scores"].values()) == {None}
    assert (result["n_unread"], result["n_labelled"], result["accuracy"]) == (1, 0, None)
    assert "a single token" in CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


def test_steer_prints_both_texts(finished):
    arguments = ["--quiet", "steer", "--run", str(finished / "run"), "--emotion", "anger", "--json", "Once upon a time"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert {"prompt", "base", "steered"} <= set(json.loads(done.stdout)["rows"][0])


def test_an_impossible_layer_is_named(finished, tmp_path):
    with pytest.raises(EmotionCircuitsError, match=r"steering\.layers: 7 is not a layer of this model"):
        run_study(small(finished / "tiny", **{"steering.layers": [7]}), tmp_path / "run")


def test_a_loaded_model_can_be_passed(finished, tmp_path):
    model = load_model(finished / "tiny")
    result = run_study(small(finished / "tiny"), tmp_path / "run", model=model, dry=True)
    assert [r.status for r in result.stages] == ["would run"] * 5
