"""Two unrelated tiny models compared from the command line: everything works, and nothing is claimed."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from emotion_circuits.activations import ActivationStore, capture
from emotion_circuits.cli.app import app
from emotion_circuits.directions import compare_models
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import load_model
from emotion_circuits.page.telling import tell
from emotion_circuits.prompts import load_attribute, load_prompts
from emotion_circuits.report.runs_page import write_alignment_page
from emotion_circuits.stations.alignment.claims import alignment_claims
from emotion_circuits.stations.alignment.settings import AlignmentSettings
from emotion_circuits.stations.alignment.steering import steer_with_mapped
from emotion_circuits.stations.registry import kinds
from emotion_circuits.statistics import corrected
from families import tiny_model


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    root = tmp_path_factory.mktemp("align")
    rows = load_prompts("implicit")
    for name, family in (("a", "llama"), ("b", "gpt_neox")):
        tiny, folder = tiny_model(family, max_position_embeddings=512), root / f"model-{name}"
        tiny.hf.save_pretrained(folder)
        tiny.tokenizer.save_pretrained(folder)
        capture(load_model(folder), rows, root / name, kinds=("resid_post",), pooling="mean")
    return root


def test_the_command_writes_tables_claims_and_a_page(captures, tmp_path):
    done = CliRunner().invoke(
        app, ["align", str(captures / "a"), str(captures / "b"), "--depths", "0.5", "--draws", "20", "--out", str(tmp_path),
              "--json"], catch_exceptions=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert {r["control"] for r in found["alignment"]} == {"paired", "shuffled", "random map"}
    assert len(found["subspaces"]) > 0  # both are 32 wide
    assert [c["id"] for c in found["claims"]] == ["alignment.reading", "alignment.geometry"]
    table = pd.read_parquet(tmp_path / "alignment" / "alignment.parquet")
    assert len(table) == len(found["alignment"])
    words = pd.read_parquet(tmp_path / "alignment" / "words.parquet")
    assert words["features"].tolist()[2:] == [str(captures / "model-a"), str(captures / "model-b")]
    reading = found["claims"][0]
    # Random models let words through; that is no finding.
    assert reading["verdict"] != "supported"
    assert reading["figures"]["estimate"] == pytest.approx(
        reading["figures"]["beside"]["auroc"] - words["auroc"].max(), abs=1e-6
    )
    html = (tmp_path / "align.html").read_text(encoding="utf-8")
    assert html.count('class="claim ') == 2
    assert (tmp_path / "alignment" / "mapped.resid_post.mean.json").exists()


def test_without_a_model_its_words_are_not_known_and_the_claim_stays_open(captures, tmp_path):
    shutil.copytree(captures / "a", tmp_path / "a")
    manifest = tmp_path / "a" / "manifest.json"
    about = json.loads(manifest.read_text(encoding="utf-8"))
    about["model"]["name"] = str(tmp_path / "gone")
    manifest.write_text(json.dumps(about), encoding="utf-8")
    done = CliRunner().invoke(
        app, ["align", str(tmp_path / "a"), str(captures / "b"), "--depths", "0.5", "--draws", "20",
              "--out", str(tmp_path / "out"), "--json"], catch_exceptions=False,
    )  # fmt: skip
    reading = json.loads(done.stdout)["claims"][0]
    assert (reading["verdict"], reading["figures"]["interval"]) == ("inconclusive", None)
    html = (tmp_path / "out" / "align.html").read_text(encoding="utf-8")
    assert "whether states carry over more than static embeddings do was not measured" in html
    assert str(tmp_path / "gone") in html
    assert len(json.loads(done.stdout)["left_out"]) == 1
    write_alignment_page(tmp_path / "out", language="ja")
    japanese = (tmp_path / "out" / "align.html").read_text(encoding="utf-8")
    assert "静的埋め込みより多くを状態が移すかは測られなかった" in japanese


def test_a_model_that_is_there_since_is_measured(captures, tmp_path):
    """What a page advises to install changes what is known, so the comparison is made anew."""
    shutil.copytree(captures / "a", tmp_path / "a")
    manifest = tmp_path / "a" / "manifest.json"
    about = json.loads(manifest.read_text(encoding="utf-8"))
    there = about["model"]["name"]
    about["model"]["name"] = str(tmp_path / "gone")
    manifest.write_text(json.dumps(about), encoding="utf-8")

    def align():
        done = CliRunner().invoke(
            app, ["align", str(tmp_path / "a"), str(captures / "b"), "--depths", "0.5", "--draws", "20",
                  "--out", str(tmp_path / "out"), "--json"], catch_exceptions=False,
        )  # fmt: skip
        return json.loads(done.stdout)

    assert align()["left_out"]
    shutil.copytree(there, tmp_path / "gone")
    again = align()
    assert (again["left_out"], again["claims"][0]["figures"]["interval"] is None) == ([], False)


def test_a_comparison_is_kept_resumed_and_made_anew_when_a_run_changes(captures, tmp_path):
    def align(*more):
        arguments = [
            str(captures / "a"),
            str(captures / "b"),
            "--depths",
            "0.5",
            "--draws",
            "20",
            "--out",
            str(tmp_path),
        ]
        return CliRunner().invoke(app, ["align", *arguments, *more, "--json"], catch_exceptions=False)

    assert json.loads(align("--dry-run").stdout)["status"] == "would run"
    align()
    before = {p.name: p.read_bytes() for p in (tmp_path / "alignment").iterdir()}
    assert json.loads(align("--dry-run").stdout)["status"] == "reused"
    align()
    assert {p.name: p.read_bytes() for p in (tmp_path / "alignment").iterdir()} == before
    assert json.loads(align("--dry-run", "--seed", "1").stdout)["status"] == "would run anew"
    assert json.loads((tmp_path / "manifest.json").read_text())["runs"] == [str(captures / n) for n in "ab"]
    damaged = tmp_path / "alignment" / "alignment.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(EmotionCircuitsError, match="was changed after it was written"):
        align()


def test_steering_with_mapped_directions_of_an_unrelated_model(captures, tmp_path):
    a, b = (ActivationStore.open(captures / name) for name in "ab")
    found = compare_models(a, b, pooling="mean", depths=(0.5,), draws=20, methods=("ridge",))
    model = tiny_model("gpt_neox", max_position_embeddings=512)
    openings = load_prompts("continuations", split="test")[:8]
    asked = AlignmentSettings(random_directions=4, max_new_tokens=5)
    steered = steer_with_mapped(model, found, openings, load_attribute("emotion-en"), tmp_path, asked)
    arms = set(steered.scored["condition"])
    assert {"none", "anger mapped", "anger own"} <= arms
    assert not [c.id for c in corrected(steered.claims) if c.verdict == "supported"]
    assert all(c.id.startswith(("alignment.mapped.", "alignment.own.")) for c in corrected(steered.claims))
    texts = steered.scored.pivot(index="prompt", columns="condition", values="text")
    assert (texts["anger mapped"] != texts["none"]).any()


def test_claims_name_the_layers_chosen_on_validation(captures):
    a, b = (ActivationStore.open(captures / name) for name in "ab")
    found = compare_models(a, b, pooling="mean", depths=(0.0, 1.0), draws=20, methods=("ridge",))
    row = found.chosen()
    for told in tell(corrected(alignment_claims(found)), kinds()):
        assert f"layer {row.layer_a} → {row.layer_b}" in told.statement
    beside = alignment_claims(found)[0].figures["beside"]
    assert (beside["shuffled_low"], beside["shuffled_high"]) == (row.auroc_shuffled_low, row.auroc_shuffled_high)


def test_bad_input(captures, tmp_path):
    with pytest.raises(EmotionCircuitsError, match="neither a run"):
        CliRunner().invoke(app, ["align", str(tmp_path), str(captures / "b")], catch_exceptions=False)
    with pytest.raises(EmotionCircuitsError, match="between 0 and 1"):
        CliRunner().invoke(
            app, ["align", str(captures / "a"), str(captures / "b"), "--depths", "3"], catch_exceptions=False
        )
    with pytest.raises(EmotionCircuitsError, match="no alignment method 'cca'"):
        CliRunner().invoke(
            app, ["align", str(captures / "a"), str(captures / "b"), "--methods", "cca"], catch_exceptions=False
        )
