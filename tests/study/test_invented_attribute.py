"""A study of something nobody has studied: an invented attribute of two values goes through every station."""

import json
import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from attribute_cases import write_colours
from emotion_circuits.cli.app import app
from emotion_circuits.directions import DirectionSet
from emotion_circuits.page.telling import tell
from emotion_circuits.record.reading import read_claims
from emotion_circuits.report.study_page import render_report
from emotion_circuits.stations.registry import kinds
from emotion_circuits.study import load_config, run_study, studied_in
from study_cases import SMALL, save_tiny

CIRCUITS = {
    "circuits.train_pairs": 36, "circuits.validation_pairs": 12, "circuits.test_pairs": 18, "circuits.exact": 4,
    "circuits.sizes": 3, "circuits.samples": 4, "circuits.emotion_heads": 2, "circuits.generation_prompts": 4,
    "circuits.max_new_tokens": 4, "circuits.carried": "always",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("colours")
    settings = {key: value for key, value in SMALL.items() if key != "prompts"}
    about = {"model": str(save_tiny(root / "tiny")), "attribute": str(write_colours(root))}
    config = load_config("quick", overrides={**settings, **CIRCUITS, "steering.shuffled_directions": 1, **about})
    result = run_study(config, root / "run")
    assert [r.status for r in result.stages] == ["ran"] * 5
    # A report needs the run's folder alone.
    for path in root.glob("*.*l"):
        path.unlink()
    return root / "run"


def test_every_table_is_of_its_values(run):
    for name in ("trace/writers", "trace/readers", "trace/attention", "steering/grid", "steering/effects"):
        assert set(pd.read_parquet(run / f"{name}.parquet")["emotion"]) - {""} == {"warm", "cold"}, name
    assert set(pd.read_parquet(run / "directions" / "cosines.parquet")["pair"]) == {"warm – cold"}
    matrix = pd.read_parquet(run / "steering" / "matrix.parquet")
    assert set(matrix["label"]) == {"warm", "cold", "plain"}
    assert set(pd.read_parquet(run / "circuits" / "dissociation.parquet")["task"]) == {"warm", "cold"}
    assert not (run / "circuits" / "skipped.json").exists()


def test_pairs_and_projections_are_compared(run):
    table = pd.read_parquet(run / "circuits" / "agreement.parquet")
    assert set(table["emotion"]) == {"warm", "cold"}
    assert (table["low"] <= table["rank"]).all()
    claims = [c for c in read_claims(run) if c.kind == "circuits.agreement"]
    assert {c.about.value for c in claims} == {"warm", "cold"}
    assert all(c.figures.q is not None and c.figures.null is not None for c in claims)
    page = render_report(run).path.read_text(encoding="utf-8")
    assert "carrier-agreement-figure" in page
    assert "order heads and MLPs alike" in page


def test_directions_start_from_its_reference(run):
    found = DirectionSet.load(run / "directions" / "mean_difference.resid_post.mean.json")
    assert (found.labels, found.reference) == (("warm", "cold"), "plain")
    assert found.names == ("warm", "cold", "plain")


def test_it_is_judged_by_its_own_classifier_and_its_own_words(run):
    test = pd.read_parquet(run / "steering" / "test.parquet")
    assert {"p_warm", "p_cold", "p_plain", "colours_label", "n_warm", "n_cold"} <= set(test.columns)
    assert set(test["colours_label"]) <= {"warm", "cold", "plain"}
    assert not {"vader", "emotion_label"} & set(test.columns)
    assert set(pd.read_parquet(run / "steering" / "effects.parquet")["metric"]) == {"share", "probability", "words"}
    asked = test[test["kind"] == "prompting"]
    assert {"Go on, in warm colours.", "Go on, in cold colours."} == {
        c.split(" Like")[0].split("\n")[0] for c in asked["context"]
    }
    judged = {e["evaluator"]: e for e in json.loads((run / "steering" / "evaluators.json").read_text())["rows"]}
    assert set(judged) == {"colours", "keywords"}
    assert judged["colours"]["accuracy"] > 0.8  # the test sentences name their colour
    patched = pd.read_parquet(run / "circuits" / "patched.parquet")
    # The judge by which steering is chosen does not judge these: the words do.
    assert {"own_warm", "own_cold"} <= set(patched.columns)
    assert set(patched["emotion"]) == {"", "warm", "cold"}


def test_its_claims_are_of_its_values_and_none_is_supported_in_a_random_model(run):
    claims = read_claims(run)
    ids = [c.id for c in claims]
    assert {"steering.warm.share", "steering.cold.words", "directions.cosine.warm.cold"} <= set(ids)
    assert not [c.id for c in claims if c.kind == "steering.effect" and c.verdict == "supported"]
    told = json.dumps([told.statement for told in tell(claims, kinds())])
    assert not re.search("gratitude|anger|apology", told)


def test_its_page_is_written_in_its_words_and_colours(run):
    pages = {code: render_report(run, language=code).path.read_text(encoding="utf-8") for code in ("en", "ja")}
    for html in pages.values():
        assert html.count('class="claim ') == len(read_claims(run))
        assert {"#AB3311", "#1133AB"} <= set(re.findall("#[0-9A-F]{6}", html))
        assert not re.search(r"\b(gratitude|anger|apology)\b|感謝|怒り|謝罪", html)
    assert "warm" in pages["en"]
    assert {"暖色", "寒色", "無彩色"} <= set(re.findall("暖色|寒色|無彩色", pages["ja"]))


def test_the_manifest_holds_what_was_studied(run):
    about = studied_in(json.loads((run / "manifest.json").read_text(encoding="utf-8")))
    assert about.values == ("warm", "cold")
    assert about.attribute.name == "colours"
    assert [name.rsplit("/", 1)[-1] for name in (*about.fit, about.choose)] == [
        "colours.jsonl", "openings.jsonl",
    ]  # fmt: skip


def test_texts_are_steered_with_its_directions(run):
    arguments = ["--quiet", "steer", "--run", str(run), "--emotion", "cold", "--json", "At the market, she"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(done.stdout)["condition"]["emotion"] == "cold"
