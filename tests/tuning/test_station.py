"""All methods on a tiny random model with an invented attribute: the station, its page, its command."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("trl", reason="extra 'hybrid'")

from attribute_cases import write_colours
from emotion_circuits.cli.tune import _settings
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange import read_vector
from emotion_circuits.model import load_model
from emotion_circuits.prompts import load_prompts
from emotion_circuits.prompts.picking import evenly
from emotion_circuits.report.runs_page import write_tuning_page
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.tuning import TUNING
from emotion_circuits.stations.tuning.claims import tuning_claims
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.settings import TuningSettings
from emotion_circuits.study import run_study
from emotion_circuits.study.over_runs import run_over
from fuzz_cases import call_here
from study_cases import resummed, save_tiny, small

SMALL = {
    "examples": 8, "own_samples": 1, "longest": 8, "rank": 2, "sft_steps": 2, "dpo_steps": 2, "rows": 2, "vector_steps": 4,
    "neutral_texts": 8, "draws": 19, "text_draws": 19, "strengths": (0.5, 1.0), "shots": (0, 2), "value": "warm",
    "openings": "report", "less": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("tuned")
    tiny = save_tiny(root / "tiny")
    colours = write_colours(root, pairs=None)
    # The invented openings of the report are those of the choice, which trained methods learn on.
    fresh = colours.with_name("fresh.jsonl")
    fresh.write_text(fresh.read_text(encoding="utf-8").replace('"text": "', '"text": "In spring '), encoding="utf-8")
    changes = {
        "attribute": str(colours),
        "prompts": None,
        "leave_out": ["trace", "circuits"],
        "steering.test_prompts": 9,
    }
    run_study(small(tiny, **changes), root / "run")
    return root, colours


def tuned(places, name, **changes):
    root, colours = places
    return run_over(TUNING, [root / "run"], root / name, TuningSettings(**{**SMALL, **changes}), attribute=str(colours))


@pytest.fixture(scope="module")
def done(places):
    report = tuned(places, "all")
    assert report.status == "ran"
    return places[0], TuningFolder.of(places[0] / "all")


def test_every_method_is_written_and_measured_alike(done):
    _, folder = done
    arms = folder.arms.read()
    single = [m for m in arms["method"].unique() if "+" not in m]
    assert single == ["prompting", "steering", "sft", "dpo", "preference", "baked"]
    assert set(arms["method"]) - set(single) == {"dpo+steering", "dpo+preference", "prompting+steering"}
    assert arms[["change", "low", "high", "ratio", "kl", "loss", "astray_change"]].notna().all().all()
    assert arms["n"].nunique() == 1
    plain = folder.texts.read().query("method == 'none'")
    assert len(plain) == arms["n"].iloc[0]
    # The baked vector acts at all tokens, the run's steering on all but the first besides.
    assert (arms.loc[arms["method"] == "baked", "kl"] > 0).all()
    needs = folder.methods.read().set_index("method")
    assert needs.loc["prompting", "parameters"] == 0
    assert needs.loc["dpo", "parameters"] > needs.loc["preference", "parameters"] > 0
    assert (needs.loc[["sft", "dpo", "preference"], "seconds"] > 0).all()
    assert len(folder.equal.read()) == 6
    assert len(folder.additive.read()) == 3
    taking = {f"less by {way}" for way in folder.less.read()["method"]}
    harm = folder.harm.read().set_index("method")
    assert set(harm.index) == set(arms["method"]) | taking - {"less by prompting"}, (
        "nothing is done to the model by saying nothing"
    )
    alone = {"steering", "preference", "less by steering", "less by gated", "less by ablation"}
    assert set(harm.index[harm["random_low"].notna()]) == alone, (
        "beside random directions stand ways that push or hold one"
    )
    assert (harm.loc[sorted(alone), "random_low"] < harm.loc[sorted(alone), "random_high"]).all()


def test_nothing_is_learnt_from_what_is_reported_on(done, places):
    _, folder = done
    found, known = folder.examples.read(), load_prompts(str(places[1].with_name("colours.jsonl")))
    train = {p.text for p in known if p.split == "train"}
    from_corpora = found[found["source"] != "own"]
    assert len(found) == 8
    assert set(from_corpora["chosen"]) | set(from_corpora["rejected"]) <= train
    openings = set(folder.texts.read()["prompt"])
    assert not openings & set(found["prompt"])


def test_claims_are_of_declared_families_and_a_random_model_supports_none_of_effect(done):
    _, folder = done
    claims = folder.read_claims()
    kinds = {claim.kind for claim in claims}
    assert kinds == {
        f"tuning.{k}" for k in ("effect", "equal", "additive", "along", "removal", "after", "less", "harm")
    }
    assert all(claim.figures.family for claim in claims)
    assert not [
        c.id
        for c in claims
        if c.verdict == "supported" and c.kind in ("tuning.effect", "tuning.after", "tuning.removal")
    ]
    assert {
        c.figures.null is not None for c in claims if c.kind in ("tuning.along", "tuning.removal", "tuning.after")
    } == {True}


def test_the_shift_is_claimed_at_the_layer_that_the_run_steers(done, tmp_path):
    """Also of an attribute with one value, where no layer has more directions than another."""
    root, folder = done
    (chosen,) = {c.about.layer for c in folder.read_claims() if c.kind == "tuning.along"}
    assert (chosen,) == SteeringFolder.of(root / "run").choice.read().conditions()["warm"].layers
    alone = TuningFolder.of(shutil.copytree(root / "all", tmp_path / "all"))
    shift = folder.shift.read()
    alone.shift.write(shift[shift["value"] == "warm"])
    resummed(alone.path)
    drafts = tuning_claims(alone, value="warm", model="tiny", layer=chosen, trusted=None)
    (along,) = (d for d in drafts if d.kind == "tuning.along")
    assert along.about.layer == chosen > 0
    assert along.figures["estimate"] == shift.query("layer == @chosen and value == 'warm'")["share"].iloc[0]


def test_a_value_is_taken_away_from_texts_that_were_asked_for_it(done):
    _, folder = done
    table = folder.less.read()
    assert list(table["method"]) == ["steering", "gated", "ablation", "prompting", "dpo"]
    arms = folder.arms.read().query("method == 'prompting' and strength == 2")
    assert table["asked"].nunique() == 1
    assert table["asked"].iloc[0] == pytest.approx(arms["probability"].iloc[0]), "the same texts"
    assert (table["probability"] - table["asked"] - table["change"]).abs().max() < 1e-9
    changed = table.set_index("method")["kl"]
    assert changed["prompting"] == 0, "words do nothing where they do not stand"
    unsaid = table.set_index("method").loc["prompting"]
    assert unsaid["kl_low"] == unsaid["kl_high"] == 0
    assert np.isnan(unsaid["harm"])
    assert (changed[["steering", "ablation", "dpo"]] > 0).all()
    assert changed["gated"] <= changed["steering"]
    pushed, others = table.set_index("method").loc[["steering", "gated", "ablation"]], table.set_index("method")
    for kind in ("random", "shuffled"):
        assert (pushed[f"{kind}_low"] < pushed[f"{kind}_high"]).all()
        assert pushed[f"p_{kind}"].between(1 / 20, 1).all(), "nineteen directions of each kind"
    assert (pushed["harm_random_low"] < pushed["harm_random_high"]).all()
    assert set(pushed["n_ranked"]) == {8}
    assert (pushed["p"] >= pushed[["p_random", "p_shuffled"]].max(axis=1)).all()
    assert others.loc[["prompting", "dpo"], ["p_random", "harm_random_low"]].isna().all().all()
    nulls = {c.about.method: c.figures.null for c in folder.read_claims() if c.kind == "tuning.less"}
    assert {method for method, null in nulls.items() if null is not None} == set(pushed.index)
    for method, row in pushed.iterrows():
        assert nulls[method] == pytest.approx(
            (-max(row["random_high"], row["shuffled_high"]), -min(row["random_low"], row["shuffled_low"]))
        )
    texts = folder.less_texts.read()
    assert set(texts["method"]) == {"none", *table["method"]}
    some = evenly(list(dict.fromkeys(texts["prompt"])), 8)
    on_some = texts[texts["prompt"].isin(some)].groupby("method")["probability"].mean()
    for method, row in pushed.iterrows():
        told = "the change on the openings that directions of nothing wrote on"
        assert row["change_ranked"] == pytest.approx(on_some["none"] - on_some[method], abs=1e-6), told
    for row in table.to_dict("records"):
        own = texts[texts["method"] == row["method"]]
        assert own.groupby("prompt")["probability"].mean().mean() == pytest.approx(row["probability"], abs=1e-6)


def test_adapter_and_vector_are_files_that_others_take(done):
    root, folder = done
    model = load_model(root / "tiny", adapter=folder.adapter("dpo"), check=False)
    assert model.adapter == folder.adapter("dpo")
    vector = read_vector(folder.vector)
    vector.check_fits(model)
    assert vector.spares_first


@pytest.mark.parametrize("language", ["en", "ja"])
def test_its_page_shows_the_frontier(done, places, language):
    page = write_tuning_page(places[0] / "all", language=language).read_text(encoding="utf-8")
    for name in ("frontier", "frontier-kl", "tuning-shift", "tuning-heads"):
        assert f'id="{name}"' in page or name in page
    assert ("効果" if language == "ja" else "Effect over its cost") in page


def test_what_is_done_is_reused_and_what_was_cut_off_goes_on(done, places, monkeypatch):
    root, folder = done
    assert tuned(places, "all").status == "reused"
    from emotion_circuits.stations.tuning import station

    def cut(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(station, "write_comparison", cut)
    with pytest.raises(KeyboardInterrupt):
        tuned(places, "again", methods=("steering", "dpo"), combine=())
    kept = TuningFolder.of(root / "again")
    adapter = (kept.adapter("dpo") / "adapter_model.safetensors").stat().st_mtime_ns
    monkeypatch.undo()
    monkeypatch.setattr("emotion_circuits.tuning.lora._run", cut)  # it must not be trained again
    assert tuned(places, "again", methods=("steering", "dpo"), combine=()).status == "ran"
    assert (kept.adapter("dpo") / "adapter_model.safetensors").stat().st_mtime_ns == adapter
    own = kept.arms.read().set_index("condition")
    other = folder.arms.read().set_index("condition").loc[own.index]
    assert own["change"].equals(other["change"]), "an arm does not depend on what stands beside it"


def test_the_command_tells_the_same(done, places):
    root, _ = done
    outcome = call_here(["--quiet", "tune", str(root / "run"), "--out", str(root / "all"), "--dry-run", "--json"])
    assert json.loads(outcome.text)["station"] == "tuning"
    own = [f"--set={k}={list(v) if isinstance(v, tuple) else v}" for k, v in SMALL.items() if k != "value"]
    outcome = call_here(
        ["--quiet", "tune", str(root / "run"), "--out", str(root / "all"), "--emotion", "warm", *own, "--json"]
    )
    assert outcome.code == 0, outcome.text
    told = json.loads(outcome.text)
    assert {"methods", "arms", "equal", "additive", "harm", "shift", "inside", "heads", "claims", "page"} <= set(told)
    assert (root / "all" / "tune.html").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--profile", "swift"], "--profile: no 'swift'; there are full, quick"),
        (["--emotion", "purple"], "no place and strength for 'purple'"), (["--methods", "magic"], "methods"),
        (["--set", "combine=[steering+dpo]"], "combine"), (["--set", "strengths=[0.5]"], "1 must be among them"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_a_line(options, said, places):
    root, _ = places
    outcome = call_here(["tune", str(root / "run"), "--out", str(root / "wrong"), *options])
    assert outcome.code == 1
    assert said in outcome.text
    assert "Traceback" not in outcome.text


def test_a_profile_is_a_set_of_settings_that_options_change_further():
    quick = _settings("quick", "warm", None, [])
    assert (quick.examples, quick.strengths, quick.value) == (64, (0.5, 1.0, 2.0), "warm")
    assert _settings("quick", "warm", "steering,dpo", ["examples=16"]).examples == 16
    assert _settings("full", None, None, []) == TuningSettings()


def test_a_run_that_is_given_as_its_own_folder_is_refused(places):
    root, _ = places
    with pytest.raises(EmotionCircuitsError, match="one run"):
        run_over(TUNING, [root / "run", root / "run"], root / "two", TuningSettings(**SMALL))
    assert call_here(["tune", str(root / "run"), "--out", str(root / "run")]).code == 1
