"""A study is frozen from what a run wrote, evenly, and tells no condition."""

import json
from collections import Counter

import numpy as np
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.allocating import pairs_for, singles_for
from emotion_circuits.human.choosing import Tuned
from emotion_circuits.human.designing import Wanted, design_study
from emotion_circuits.human.records import Assumed, open_study, read_design
from emotion_circuits.sealing import read_sealed, write_sealed
from human_cases import VALUES, conditions, text_rows, tuned_folder, written_run

SMALL = Wanted(raters=8, singles=12, pairs=12, studies=2, seed=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return written_run(tmp_path_factory.mktemp("designed"))


@pytest.fixture(scope="module")
def study(run, tmp_path_factory):
    return design_study(run, tmp_path_factory.mktemp("study") / "s", SMALL)


@pytest.mark.parametrize(
    ("raters", "each", "openings", "slots"), [(8, 12, 12, 7), (14, 6, 12, 7), (10, 30, 36, 10), (9, 8, 8, 4)]
)
def test_every_rater_reads_every_slot_about_equally_often_and_no_opening_twice(raters, each, openings, slots):
    found = singles_for(raters, each, openings, slots, np.random.default_rng(1))
    for rows in found:
        assert len({r.opening for r in rows}) == each
        counts = Counter(r.slot for r in rows)
        assert max(counts.values()) - min(counts[s] for s in range(slots)) <= 2
    texts = Counter((r.opening, r.slot) for rows in found for r in rows)
    whole = raters * each // openings // slots
    assert max(texts.values()) <= whole + 1
    assert min(texts[o, s] for o in range(openings) for s in range(slots)) >= whole


@pytest.mark.parametrize(("raters", "each", "openings", "pairs"), [(8, 12, 12, 8), (20, 18, 36, 12), (7, 10, 11, 4)])
def test_sides_are_even_for_every_rater_and_every_pair(raters, each, openings, pairs):
    found = pairs_for(raters, each, openings, pairs, np.random.default_rng(1))
    sides = {}
    for rows in found:
        assert len({r.opening for r in rows}) == each
        for r in rows:
            sides.setdefault((r.opening, r.pair), Counter())[r.swapped] += 1
    assert all(abs(c[True] - c[False]) <= 1 for c in sides.values())
    swapped = [r.swapped for rows in found for r in rows]
    assert 0.4 <= np.mean(swapped) <= 0.6
    of_rater = [np.mean([r.swapped for r in rows]) for rows in found]
    assert 0.2 <= min(of_rater) <= max(of_rater) <= 0.8


def test_the_study_has_every_arm_and_every_kind_of_item(study):
    design, key = study.design, study.key
    assert design.arms == ("unsteered", "steered", "random", "prompted")
    assert design.missing == {}
    assert len(design.forms) == 8
    kinds = Counter(secret.kind for secret in key.items.values())
    assert set(kinds) == {"single", "pair", "gold", "attention", "repeat"}
    for form in design.forms.values():
        own = Counter(key.items[i].kind for i in form.singles)
        assert own == {"single": 12, "gold": 3, "attention": 2, "repeat": 3}
        assert [key.items[i].kind for i in form.pairs] == ["pair"] * 12
        at = {i: n for n, i in enumerate(form.singles)}
        assert all(at[key.items[i].again] < at[i] for i in form.singles if key.items[i].kind == "repeat")
    arms = {key.texts[t].arm for s in key.items.values() for t in s.texts}
    assert arms == set(design.arms)


def test_what_is_shown_is_what_the_run_wrote(study, run):
    rows = {(r["condition"], r["prompt_id"]): r for r in text_rows()}
    for name, secret in study.key.items.items():
        for text, shown in zip(secret.texts, study.design.items[name].texts, strict=False):
            source = study.key.texts[text]
            row = rows[source.condition, source.prompt_id]
            assert shown == {"": row["text"]}
            assert study.design.items[name].opening == row["prompt"]
            assert source.judges["emotion"] == {v: row[f"p_{v}"] for v in VALUES}


def test_a_pair_asks_for_the_value_that_one_of_its_texts_was_steered_or_prompted_to_or_drawn_for(study):
    for name, secret in study.key.items.items():
        if secret.kind == "pair":
            a, b = (study.key.texts[t] for t in secret.texts)
            assert a.prompt_id == b.prompt_id
            assert study.design.items[name].ask in {a.value, b.value}
            assert {a.value, b.value} <= {"", study.design.items[name].ask}


def test_the_design_tells_no_condition(study):
    told = json.dumps(study.design.model_dump(mode="json", include={"items", "forms"}))
    for word in ("steer", "random", "prompt", "instruction", "few_shot", "L1", "none", "gold", "attention"):
        assert word not in told.replace("On day", ""), word


def test_the_same_seed_gives_the_same_study_and_another_one_another(run, study, tmp_path):
    again = design_study(run, tmp_path / "a", SMALL)
    other = design_study(run, tmp_path / "b", Wanted(**{**SMALL.__dict__, "seed": 4}))
    assert again == study
    assert other.design.forms != study.design.forms


def test_both_files_are_sealed_and_belong_together(run, tmp_path):
    design_study(run, tmp_path / "a", SMALL)
    design_study(run, tmp_path / "b", Wanted(**{**SMALL.__dict__, "seed": 4}))
    assert (tmp_path / "a" / "key.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(EmotionCircuitsError, match=r"is there already, and ratings may belong to it"):
        design_study(run, tmp_path / "a", SMALL)
    path = tmp_path / "a" / "design.json"
    before = path.read_text()
    path.write_text(before.replace('"seed": 3', '"seed": 5'))
    with pytest.raises(EmotionCircuitsError, match=r"design\.json: was changed after it was written"):
        read_design(tmp_path / "a")
    path.write_text(before)
    (tmp_path / "a" / "key.json").write_bytes((tmp_path / "b" / "key.json").read_bytes())
    with pytest.raises(EmotionCircuitsError, match=r"key\.json: is not the key of"):
        open_study(tmp_path / "a")
    write_sealed(path, {**read_sealed(path, ""), "forms": {"r1": {"singles": ["nothing"], "pairs": []}}})
    with pytest.raises(EmotionCircuitsError, match=r"forms\.r1: 'nothing' is no item"):
        read_design(tmp_path / "a")


@pytest.mark.parametrize(
    ("arms", "missing"), [(("none", "emotion"), {"random", "prompted"}), (("none", "emotion", "prompting"), {"random"})]
)
def test_a_missing_arm_is_said_and_nothing_is_tested_against_it(tmp_path, arms, missing):
    run = written_run(tmp_path, text_rows(arms=arms))
    study = design_study(run, tmp_path / "s", SMALL)
    assert set(study.design.missing) == missing
    assert all("the run wrote no such texts" in why for why in study.design.missing.values())
    assert not {h.against for h in study.design.hypotheses} & missing


def test_openings_are_those_that_every_arm_was_written_on(tmp_path):
    run = written_run(tmp_path, text_rows(12, null=9))
    study = design_study(run, tmp_path / "s", SMALL)
    assert study.design.openings == 9
    assert {t.prompt_id for t in study.key.texts.values()} <= {f"p{o:02d}" for o in range(9)}


def test_several_samples_and_random_directions_are_drawn_from(tmp_path):
    run = written_run(tmp_path, text_rows(12, samples=3))
    study = design_study(run, tmp_path / "s", SMALL)
    random = [t for t in study.key.texts.values() if t.arm == "random"]
    assert {t.condition for t in random} == {f"L1 α=0.2 | random {i}" for i in range(3)}
    assert {t.sample for t in study.key.texts.values()} == {0, 1, 2}


@pytest.mark.parametrize(
    ("rows", "wanted", "message"),
    [
        (text_rows(5), SMALL, "unsteered texts: the run wrote on 5 openings, 8 are needed"),
        (text_rows(arms=("none",)), SMALL, "steered texts: the run wrote no such texts for"),
        (None, Wanted(values=("joy",)), "--value joy: the run chose no condition"),
        (None, Wanted(openings=40), "--openings 40: every arm was written on 12 openings only"),
    ],
)
def test_what_cannot_be_rated_is_said(tmp_path, rows, wanted, message):
    run = written_run(tmp_path, rows)
    with pytest.raises(EmotionCircuitsError, match=message):
        design_study(run, tmp_path / "s", wanted)


def test_a_run_that_chose_nothing_has_nothing_to_rate(tmp_path):
    run = written_run(tmp_path, chosen={})
    with pytest.raises(EmotionCircuitsError, match="chose no condition for any value"):
        design_study(run, tmp_path / "s", SMALL)
    assert conditions()


def test_texts_of_other_strengths_are_no_control(tmp_path):
    rows = [{**r, "alpha": 0.4} if r["kind"] == "random" else r for r in text_rows()]
    study = design_study(written_run(tmp_path, rows), tmp_path / "s", SMALL)
    assert "random" in study.design.missing


def test_texts_of_tuned_weights_are_an_arm_of_the_value_they_were_tuned_to(run, tmp_path):
    place = tuned_folder(tmp_path, run)
    study = design_study(
        run, tmp_path / "s", Wanted(raters=8, singles=12, pairs=12, studies=2, tuned=Tuned(place, "sft"))
    )
    assert study.design.values == ("anger",)
    assert study.design.arms == ("unsteered", "steered", "random", "prompted", "tuned")
    tuned = {name: s for name, s in study.key.texts.items() if s.arm == "tuned"}
    assert {s.prompt_id for s in tuned.values()} == {f"p{o:02d}" for o in range(12)}
    assert {s.judges["emotion"]["anger"] for s in tuned.values()} == {0.9}
    texts = {
        item.texts[0][""] for name, item in study.design.items.items() if set(study.key.items[name].texts) & set(tuned)
        and item.kind == "single"
    }  # fmt: skip
    assert all(text.startswith(" sft 1.0 wrote") for text in texts)
    held = {h.id: h.side for h in study.design.hypotheses if h.against == "tuned"}
    assert held == {f"human.{kind}.anger.tuned": "different" for kind in ("transmitted", "stronger", "natural")}
    assert "sft" not in json.dumps(study.design.model_dump(mode="json", exclude={"items"}))


def test_texts_of_a_method_that_learns_nothing_are_no_arm_of_tuned_weights(run, tmp_path):
    place = tuned_folder(tmp_path, run, method="steering")
    with pytest.raises(EmotionCircuitsError, match="--method steering: learns nothing"):
        design_study(run, tmp_path / "s", Wanted(raters=8, studies=2, tuned=Tuned(place, "steering")))


@pytest.mark.parametrize(
    ("change", "values", "message"),
    [
        ({"method": "dpo"}, None, r"--method sft: .* it has: dpo"),
        ({}, ("gratitude",), "--value gratitude: the weights were tuned to anger alone"),
        ({"of": "steered anew"}, None, "was not made of .* as it is now"),
        ({"prompts": ["Elsewhere"]}, None, "other openings .* tuning.openings=report"),
        (None, None, "holds no tuned texts"),
    ],
)
def test_tuned_texts_that_do_not_fit_are_refused(run, tmp_path, change, values, message):
    place = tmp_path / "tuned" if change is None else tuned_folder(tmp_path, run, **change)
    with pytest.raises(EmotionCircuitsError, match=message):
        design_study(run, tmp_path / "s", Wanted(raters=8, values=values, studies=2, tuned=Tuned(place, "sft")))


def test_an_effect_that_is_out_of_reach_gives_way_to_a_larger_one_and_is_refused_where_there_is_none(run, tmp_path):
    small = {**SMALL.__dict__, "raters": None, "studies": 4, "assumed": Assumed(base=0.1, effect=0.01, prompted=0.01)}
    with pytest.raises(EmotionCircuitsError, match=r"for an effect of 0\.01; plan for a larger --effect"):
        design_study(run, tmp_path / "refused", Wanted(**small))
    assert not (tmp_path / "refused").exists()
    design = design_study(run, tmp_path / "planned", Wanted(**{**small, "larger": (0.02, 0.85)})).design
    assert (design.assumed.effect, design.assumed.prompted) == (0.85, 0.85)
    assert max(plan.power["human.transmitted"] for plan in design.power) >= 0.8
