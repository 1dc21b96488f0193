"""Scoring, choosing and reporting, on made-up sweeps whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from emotion_circuits.activations import capture
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Fluency, KeywordCounts, VaderSentiment
from emotion_circuits.page.telling import tell
from emotion_circuits.prompts import Prompt, load_attribute
from emotion_circuits.stations.registry import kinds
from emotion_circuits.stations.steering.claims import bound_claims, steering_claims
from emotion_circuits.statistics import corrected
from emotion_circuits.steering import (
    BUDGET,
    Condition,
    SteeringVectors,
    choose_condition,
    choose_together,
    condition_table,
    dose_response,
    effect_matrix,
    effects,
    pareto,
    plain_loss,
    random_direction,
    score_sweep,
    shuffled_directions,
    vectors_from_store,
)
from emotion_circuits.steering.scoring import regime
from families import tiny_model
from tokenizer_cases import model_of_kind

LABELS = ("gratitude", "anger", "apology", "neutral")
SIDES = load_attribute("emotion-en").metrics


def made_up(
    effect: dict[str, tuple[float, float]], split: str = "validation", n: int = 40, seed: int = 0
) -> pd.DataFrame:
    """Condition → (rise of the target's logit, rise of the nats); conditions are named "emotion …" or "none"."""
    rng = np.random.default_rng(seed)
    fixed = any("random" in name for name in effect)
    prompt_level = rng.normal(0, 0.5, n)
    rows = []
    for name, (rise, nats) in effect.items():
        emotion = "" if name == "none" else name.split()[0]
        kind = "none" if name == "none" else "random" if "random" in name else "emotion"
        for i in range(n):
            logits = rng.normal(0, 0.5, 4) + np.array([0, 0, 0, 2.0])
            if emotion:
                logits[LABELS.index(emotion)] += rise + prompt_level[i]
            p = np.exp(logits) / np.exp(logits).sum()
            rows.append(
                dict(
                    condition=name, kind=kind, emotion=emotion, alpha=0.2 if fixed else rise, layers="12",
                    prompt_id=f"p{i:03d}", split=split, sample=0, text="a text", n_tokens=2,
                    **{f"p_{x}": v for x, v in zip(LABELS, p, strict=True)},
                    emotion_label=LABELS[int(p.argmax())], vader=float(np.tanh(rise / 4 + rng.normal(0, 0.2))),
                    nats=2.0 + nats + rng.normal(0, 0.05), repetition=0.05,
                )
            )  # fmt: skip
    return pd.DataFrame(rows)


GRID = {"none": (0, 0), "gratitude a": (1.5, 0.1), "gratitude b": (3.0, 0.3), "gratitude c": (6.0, 0.9)}


def test_the_choice_is_the_strongest_within_the_budget() -> None:
    scored = made_up(GRID)
    choice = choose_condition(scored, "gratitude")
    assert choice.condition == "gratitude b"  # c is stronger, at a ratio of exp(0.9) = 2.5
    assert choice.table["condition"].tolist() == ["gratitude b", "gratitude a", "gratitude c"]
    assert "1.5" in choice.objective
    assert choose_condition(scored, "gratitude", budget=3).condition == "gratitude c"
    assert choose_condition(scored, "gratitude", budget=1.0).condition is None


def test_choosing_on_reported_rows_is_refused_and_the_other_way_round() -> None:
    with pytest.raises(EmotionCircuitsError, match="holds rows of: test"):
        choose_condition(made_up(GRID, split="test"), "gratitude")
    assert choose_condition(made_up(GRID, split="train"), "gratitude").condition == "gratitude b"
    with pytest.raises(EmotionCircuitsError, match="test split"):
        effects(made_up(GRID), {"gratitude": "gratitude b"}, sides=SIDES)
    with pytest.raises(EmotionCircuitsError, match="towards 'anger'"):
        choose_condition(made_up(GRID), "anger")


def test_a_repetitive_condition_is_not_chosen() -> None:
    scored = made_up(GRID)
    scored.loc[scored["condition"] == "gratitude b", "repetition"] = 0.3
    assert choose_condition(scored, "gratitude").condition == "gratitude a"


def test_condition_table_and_regimes() -> None:
    table = condition_table(made_up(GRID)).set_index("condition")
    assert table.loc["gratitude b", "ratio"] == pytest.approx(np.exp(0.3), rel=0.03)
    assert table.loc["gratitude b", "ratio_low"] < np.exp(0.3) < table.loc["gratitude b", "ratio_high"]
    assert table.loc["gratitude b", "regime"] == "clean"
    assert table.loc["gratitude c", "regime"] == "costly"
    assert (
        table.loc["gratitude c", "share"] > table.loc["gratitude a", "share"] > table.loc["gratitude a", "base_share"]
    )
    assert regime(ratio=1.0, repetition_gain=0, change=(-0.1, 0.1)) == "no effect"
    assert regime(ratio=1.0, repetition_gain=0.2, change=(0.1, 0.2)) == "repetitive"
    assert regime(ratio=3.5, repetition_gain=0, change=(0.1, 0.2)) == "collapsed"
    assert regime(ratio=1.0, repetition_gain=0.6, change=(0.1, 0.2)) == "collapsed"


def test_pareto_keeps_what_nothing_beats() -> None:
    table = pd.DataFrame(dict(condition=list("abcd"), share=[0.1, 0.5, 0.4, 0.9], ratio=[1.0, 1.2, 1.3, 2.0]))
    assert pareto(table)["condition"].tolist() == ["a", "b", "d"]


def test_effects_beat_random_directions_where_they_do() -> None:
    randoms = {f"gratitude random {i}": (0.0, 0.0) for i in range(20)}
    scored = made_up({"none": (0, 0), "gratitude b": (3.0, 0.3), **randoms}, split="test")
    found = effects(scored, {"gratitude": "gratitude b"}, sides=SIDES, resamples=2000)
    row = found.table.set_index("metric").loc["share"]
    assert row["n_random"] == 20
    assert row["beats_low"] > 0
    assert row["null_low"] <= row["best_random_change"] == row["null_high"]
    assert row["ratio"] == pytest.approx(np.exp(0.3), rel=0.03)
    *moved, cost = corrected(steering_claims(found, budget=BUDGET))
    assert {c.verdict for c in moved} == {"supported"}
    assert all("20 random directions" in told.null for told in tell(moved, kinds()))
    assert cost.id == "steering.gratitude.fluency"
    assert cost.verdict == "supported"
    assert corrected(steering_claims(found, budget=1.2))[-1].verdict == "not supported"
    nothing = effects(scored, {"gratitude": "gratitude random 3"}, sides=SIDES, resamples=2000)
    assert all(c.verdict != "supported" for c in corrected(steering_claims(nothing, budget=BUDGET))[:-1])


def test_an_effect_no_larger_than_random_ones_is_not_supported() -> None:
    randoms = {f"gratitude random {i}": (2.0, 0.0) for i in range(20)}
    scored = made_up({"none": (0, 0), "gratitude b": (2.0, 0.3), **randoms}, split="test")
    found = effects(scored, {"gratitude": "gratitude b"}, sides=SIDES, resamples=2000)
    claims = corrected(steering_claims(found, budget=BUDGET))
    assert all(c.verdict != "supported" for c in claims if c.kind == "steering.effect")


def test_an_effect_must_stand_out_among_random_directions_not_only_against_no_steering() -> None:
    # Far above unsteered text, but so are some of the random directions, which differ.
    randoms = {f"gratitude random {i}": (0.15 * i, 0.0) for i in range(20)}
    scored = made_up({"none": (0, 0), "gratitude b": (2.2, 0.0), **randoms}, split="test", n=20)
    row = (
        effects(scored, {"gratitude": "gratitude b"}, sides=SIDES, resamples=2000)
        .table.set_index("metric")
        .loc["probability"]
    )
    assert row["p"] < 0.01
    assert row["q"] >= row["p_random"] > 0.05


def test_random_and_shuffled_directions_without_an_emotion_are_shared_where_place_and_strength_agree() -> None:
    arms = {"none": (0, 0), "gratitude b": (3.0, 0.3), "anger b": (3.0, 0.3)}
    arms |= {f"x random {i}": (0.0, 0.0) for i in range(5)}
    scored = made_up({k: v for k, v in arms.items() if not k.startswith("x ")}, split="test")
    donor = scored[scored["condition"] == "none"]
    shared = [donor.assign(condition=f"r{i}", kind="random", emotion="", alpha=3.0) for i in range(5)]
    shared += [donor.assign(condition=f"s{i}", kind="shuffled", emotion="", alpha=3.0) for i in range(3)]
    elsewhere = [donor.assign(condition="far", kind="random", emotion="", alpha=9.0)]
    table = effects(
        pd.concat([scored, *shared, *elsewhere]),
        {"gratitude": "gratitude b", "anger": "anger b"},
        sides=SIDES,
        resamples=500,
    ).table
    assert set(table["n_random"]) == {5}
    assert set(table["n_shuffled"]) == {3}
    assert (table[table["metric"] == "share"]["shuffled_beats_low"] > 0).all()


def test_a_cost_that_is_uncertain_must_keep_its_distance_from_the_budget() -> None:
    rng = np.random.default_rng(3)
    scored = made_up({"none": (0, 0), "gratitude a": (1.0, 0.1), "gratitude b": (3.0, np.log(1.45))}, n=12)
    assert choose_condition(scored, "gratitude").condition == "gratitude b"
    noisy = scored["condition"] == "gratitude b"
    scored.loc[noisy, "nats"] += rng.permutation(np.linspace(-0.6, 0.6, 12))
    table = condition_table(scored).set_index("condition")
    assert table.loc["gratitude b", "ratio"] < 1.5 < table.loc["gratitude b", "ratio_high"]
    assert choose_condition(scored, "gratitude").condition == "gratitude a"


def test_emotions_share_a_place_where_the_figures_cannot_tell_it_from_their_best() -> None:
    rows = {
        "none": (0, 0), "gratitude a": (3.0, 0.1), "gratitude b": (3.02, 0.1),
        "anger a": (3.0, 0.1), "anger b": (3.0, 0.9), "apology a": (0.5, 0.1), "apology b": (3.0, 0.1),
    }  # fmt: skip
    scored = made_up(rows)
    scored["alpha"] = scored["condition"].map(lambda n: {"a": 0.1, "b": 0.2}.get(n[-1], 0.0))
    a = scored.loc[scored["condition"] == "gratitude a", "p_gratitude"].to_numpy()
    scored.loc[scored["condition"] == "gratitude b", "p_gratitude"] = a + 0.001  # better, but not tellably so
    found = {c.emotion: c.condition for c in choose_together(scored, ["gratitude", "anger", "apology"])}
    # anger must go to a (b is over the budget), apology to b (a is far weaker); gratitude joins one of them.
    assert found["anger"] == "anger a"
    assert found["apology"] == "apology b"
    assert found["gratitude"] in ("gratitude a", "gratitude b")
    two = {c.emotion: c.condition for c in choose_together(scored, ["gratitude", "anger"])}
    assert two == {"gratitude": "gratitude a", "anger": "anger a"}
    assert choose_condition(scored, "gratitude").condition == "gratitude b"
    always = choose_together(scored, ["gratitude", "anger", "apology"], slack=float("inf"))
    assert [c.condition for c in always] == ["gratitude a", "anger a", "apology a"]
    hopeless = scored[~scored["condition"].isin(["anger a"])]
    assert [c.condition for c in choose_together(hopeless, ["anger", "apology"])] == [None, "apology b"]


def test_an_emotion_without_a_condition_within_the_bound_is_claimed_on_all_the_same() -> None:
    scored = made_up({"none": (0, 0), "anger a": (3.0, 0.9), "anger b": (3.0, 1.2)})
    table = condition_table(scored)
    assert choose_condition(scored, "anger").condition is None
    (claim,) = corrected(bound_claims(table, ["anger"], budget=BUDGET))
    assert claim.verdict == "not supported"
    assert claim.figures.estimate == pytest.approx(np.exp(0.9), rel=0.1)
    (told,) = tell([claim], kinds())
    assert "A condition tried for anger stays fluent" in told.statement
    assert "anger a" in told.notes
    with pytest.raises(EmotionCircuitsError, match="'apology'"):
        bound_claims(table, ["apology"], budget=BUDGET)


def test_effect_matrix_and_dose_response() -> None:
    scored = made_up({"none": (0, 0), "gratitude b": (3.0, 0.3), "anger b": (3.0, 0.3)})
    matrix = effect_matrix(scored, {"gratitude": "gratitude b", "anger": "anger b"}, LABELS).set_index(
        ["direction", "label"]
    )
    assert matrix.loc[("gratitude", "gratitude"), "low"] > 0
    assert matrix.loc[("gratitude", "neutral"), "high"] < 0
    assert matrix.loc[("anger", "anger"), "low"] > 0
    dose = dose_response(made_up(GRID), "gratitude", "p_gratitude")
    assert dose["alpha"].tolist() == [0, 1.5, 3.0, 6.0]
    assert dose["mean"].is_monotonic_increasing


def test_the_tokens_that_were_written_are_scored_and_others_are_said(caplog: pytest.LogCaptureFixture) -> None:
    model = model_of_kind("byte level")
    cuts = [model.tokenizer.convert_tokens_to_ids(row) for row in (["Ġthe"], ["Ġ", "t", "h", "e"], ["Ġ", "the"])]
    rows = pd.DataFrame(
        dict(condition="none", prompt_id="a", prompt="She", text=" the", ids=[" ".join(map(str, row)) for row in cuts])
    )
    scored = score_sweep(rows, [], Fluency(model))
    for cut, nats in zip(cuts, scored["nats"], strict=True):
        whole = [*model.encode(["She"]).ids[0], *cut]
        chance = torch.log_softmax(model.hf(input_ids=torch.tensor([whole])).logits[0].float(), -1)
        costs = [-float(chance[i - 1, whole[i]]) for i in range(len(whole) - len(cut), len(whole))]
        assert nats == pytest.approx(np.mean(costs), abs=1e-4)
    assert not caplog.records
    plain = score_sweep(rows.drop(columns="ids"), [], Fluency(model))
    assert plain["nats"].tolist() == pytest.approx([scored["nats"][2]] * 3, abs=1e-4), "as the tokenizer cuts it"
    assert "no column 'ids'" in caplog.text
    with pytest.raises(EmotionCircuitsError, match="1 prompts for 2 rows of token ids"):
        Fluency(model).score(["She"], [" the"], ids=[[1], [2]])


def test_only_the_continuation_is_scored() -> None:
    rows = pd.DataFrame(
        dict(condition=["none", "x"], prompt_id=["a", "a"], prompt=["I love it."] * 2, text=[" a table", " I hate it"])
    )
    scored = score_sweep(rows, [VaderSentiment(), KeywordCounts()], Fluency(tiny_model("gpt2")))
    assert scored["vader"].tolist()[0] == 0
    assert scored["vader"].tolist()[1] < 0
    assert scored["vader_label"].tolist() == ["neutral", "negative"]
    assert scored["keywords_label"].tolist() == ["neutral", "anger"]
    assert (scored["nats"] > 0).all()
    with pytest.raises(EmotionCircuitsError, match="there already"):
        score_sweep(scored, [VaderSentiment()])


def test_plain_loss_is_the_models_own_and_rises_under_a_strong_push() -> None:
    model = tiny_model("llama")
    raw = {"anger": torch.randn(3, 32, generator=torch.Generator().manual_seed(1))}
    v = SteeringVectors.from_raw(raw, torch.full((3,), 5.0))
    texts = ["The cat sat on the mat", "Hi there you"]
    arms = [
        Condition(name="off", emotion="anger", layers=(1,), alpha=0.0),
        Condition(name="on", emotion="anger", layers=(1,), alpha=5.0),
    ]
    table = plain_loss(model, texts, arms, v).set_index("condition")
    expected = [
        float(model.hf(input_ids=ids, labels=ids).loss) for ids in (model.tokenize([t]).input_ids for t in texts)
    ]
    assert table.loc["off", "loss"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert table.loc["off", "change"] == 0
    assert abs(table.loc["on", "change"]) > 1e-3


def strips() -> list[Prompt]:
    words = {
        "gratitude": "Thanks for the {}",
        "anger": "I hate the {}",
        "apology": "Sorry for the {}",
        "neutral": "See the {}",
    }
    return [
        Prompt(
            id=f"{label}-{thing}",
            text=text.format(thing),
            label=label,
            group=thing,
            split="train",
            language="en",
            set="t",
        )
        for thing in ("bus", "hat", "cake", "door")
        for label, text in words.items()
    ]


def test_directions_from_a_store_are_differences_of_means(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    store = capture(model, strips(), kinds=("resid_post",), pooling=("last",), folder=tmp_path)
    v = vectors_from_store(store)
    states = store.pooled("resid_post", "last", 1).double()
    label = store.rows["label"].to_numpy()
    raw = states[torch.tensor(label == "anger")].mean(0) - states[torch.tensor(label == "neutral")].mean(0)
    assert torch.allclose(v.unit["anger"][1].double(), raw / raw.norm(), atol=1e-5)
    assert float(v.lengths["anger"][1]) == pytest.approx(float(raw.norm()), rel=1e-4)
    shuffled = shuffled_directions(store, "anger", count=3)
    assert list(shuffled) == ["shuffled anger 0", "shuffled anger 1", "shuffled anger 2"]
    more = v.with_directions(shuffled)
    assert more.direction("shuffled anger 1", 2).norm() == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(more.unit["shuffled anger 0"], more.unit["anger"])
    assert more.sha256() != v.sha256()
    with pytest.raises(EmotionCircuitsError, match="no rows labelled"):
        shuffled_directions(store, "joy")


def test_random_directions_are_unit_reproducible_and_nearly_orthogonal() -> None:
    a = torch.stack([random_direction(576, s) for s in range(20)])
    assert torch.allclose(a.norm(dim=1), torch.ones(20), atol=1e-5)
    assert torch.equal(a[3], random_direction(576, 3))
    off = (a @ a.T - torch.eye(20)).abs().max()
    assert off < 0.2


def test_steering_vectors_refuse_what_cannot_be_a_direction() -> None:
    with pytest.raises(EmotionCircuitsError, match="length 0 in layer 1"):
        SteeringVectors.from_raw({"a": torch.tensor([[1.0, 0], [0, 0]])}, torch.ones(2))
    with pytest.raises(EmotionCircuitsError, match="norm must be positive"):
        SteeringVectors({}, torch.zeros(2))
    with pytest.raises(EmotionCircuitsError, match="unit length"):
        SteeringVectors({"a": torch.ones(2, 3)}, torch.ones(2))
    with pytest.raises(EmotionCircuitsError, match="expected \\[3"):
        SteeringVectors({"a": torch.ones(2, 3)}, torch.ones(3))


@pytest.mark.slow
def test_a_direction_that_does_nothing_supports_no_claim_more_often_than_one_in_twenty() -> None:
    """The whole way from scored texts to verdicts, on 200 sweeps (600 claims) in which no direction does anything."""
    supported, claims = 0, 0
    for run in range(200):
        arms = {
            "none": (0.0, 0.0),
            "gratitude b": (0.0, 0.0),
            **{f"gratitude random {i}": (0.0, 0.0) for i in range(20)},
        }
        found = effects(
            made_up(arms, split="test", n=31, seed=run),
            {"gratitude": "gratitude b"},
            sides=SIDES,
            resamples=400,
            seed=run,
        )
        verdicts = [c.verdict for c in corrected(steering_claims(found, budget=BUDGET)) if c.kind == "steering.effect"]
        supported += verdicts.count("supported")
        claims += len(verdicts)
    assert claims >= 600
    assert supported / claims <= 0.05
