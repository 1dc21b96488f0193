"""The verdict among directions of nothing, the first token's part in an effect, and both put to the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from emotion_circuits.activations import capture
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling
from emotion_circuits.page.telling import tell
from emotion_circuits.prompts import Prompt, load_attribute
from emotion_circuits.stations.registry import kinds
from emotion_circuits.stations.steering.calibrating import (
    choose_in_turn,
    claims_in_turn,
    plant,
    posing,
)
from emotion_circuits.stations.steering.claims import steering_claims, token_claims
from emotion_circuits.statistics import corrected, supported_shares
from emotion_circuits.steering import (
    BUDGET,
    NONE,
    Condition,
    SteeringVectors,
    effects,
    interventions_for,
    shuffled_directions,
    shuffled_labels,
    sweep,
    taken_apart,
    token_effects,
    vectors_from_store,
)
from families import tiny_model

EMOTIONS = ("gratitude", "anger", "apology")
LABELS = (*EMOTIONS, "neutral")
SIDES = load_attribute("emotion-en").metrics


def texts(
    arms: dict[str, tuple[str, str, float]], *, n: int = 36, null_n: int = 12, seed: int = 0, split: str = "test"
) -> pd.DataFrame:
    """Condition → (kind, emotion, share of its texts that become its emotion); nulls on every third opening only.

    Every arm of nothing also has a small effect of its own on every opening, as real random directions do.
    """
    rng = np.random.default_rng(seed)
    rows = []
    every = np.arange(n)
    for name, (kind, emotion, share) in arms.items():
        own = rng.normal(0, 0.3, 4)
        for i in every[:: n // null_n][:null_n] if kind == "random" else every:
            logits = rng.normal(0, 1, 4) + own + np.array([0, 0, 0, 2.0])
            if emotion and rng.random() < share:
                logits[LABELS.index(emotion)] += 6
            p = np.exp(logits) / np.exp(logits).sum()
            rows.append(
                dict(
                    condition=name, kind=kind, emotion=emotion if kind == "emotion" else "", alpha=0.1 * (kind != "none"),
                    layers="16", how="h" if kind != "none" else "", prompt_id=f"p{i:03d}", split=split, sample=0, text="a",
                    n_tokens=2, **{f"p_{x}": v for x, v in zip(LABELS, p, strict=True)},
                    emotion_label=LABELS[int(p.argmax())], vader=float(np.clip(rng.normal(0, 0.4), -1, 1)),
                    nats=2.0 + rng.normal(0, 0.05), repetition=0.05,
                )
            )  # fmt: skip
    return pd.DataFrame(rows)


def nothing(count: int = 30, randoms: int = 99) -> dict[str, tuple[str, str, float]]:
    arms = {"none": ("none", "", 0.0)}
    arms |= {f"random {i}": ("random", "", 0.0) for i in range(randoms)}
    return arms | {f"shuffled {i}": ("shuffled", "", 0.0) for i in range(count)}


def test_a_condition_is_ranked_on_the_openings_its_null_was_written_on() -> None:
    scored = texts({**nothing(0), "own": ("emotion", "gratitude", 0.6)})
    found = effects(scored, {"gratitude": "own"}, sides=SIDES, resamples=500).table.set_index("metric")
    row = found.loc["probability"]
    assert (row["n"], row["null_n"], row["n_random"]) == (36, 12, 99)
    written = set(scored.loc[scored["kind"] == "random", "prompt_id"])
    means = scored[scored["prompt_id"].isin(written)].groupby("condition")["p_gratitude"].mean()
    changes = means.drop(["none", "own"]) - means["none"]
    assert row["p_random"] == pytest.approx((1 + (changes >= means["own"] - means["none"]).sum()) / 100)
    assert (row["null_low"], row["null_high"]) == pytest.approx((changes.min(), changes.max()))
    assert row["p_claim"] == max(row["p"], row["p_random"])
    claims = corrected(
        steering_claims(effects(scored, {"gratitude": "own"}, sides=SIDES, resamples=500), budget=BUDGET)
    )
    assert {c.figures.q for c in claims if c.about.metric in found.index} == set(found["q"])


def test_beyond_the_far_end_of_the_null_is_not_the_rule_but_its_rank_is() -> None:
    # One of 99 random directions does as much as the real one: the best is not beaten, and the rank is still 2 of 100.
    scored = texts({**nothing(0, 98), "random 98": ("random", "gratitude", 1.0), "own": ("emotion", "gratitude", 0.7)})
    found = effects(scored, {"gratitude": "own"}, sides={}, resamples=2000)
    row = found.table.set_index("metric").loc["probability"]
    assert row["beats_high"] < 0.2
    assert row["null_high"] > row["low"]
    assert row["p_random"] == 0.02
    verdicts = {c.about.metric: c.verdict for c in corrected(steering_claims(found, budget=BUDGET))}
    assert verdicts["probability"] == "supported"


def test_what_shuffled_labels_do_as_well_is_not_supported() -> None:
    # Far beyond random directions, but any direction of the corpus's sentences does it.
    like = {f"shuffled {i}": ("shuffled", "gratitude", 0.6) for i in range(99)}
    scored = texts({**nothing(0), **like, "own": ("emotion", "gratitude", 0.6)})
    found = effects(scored, {"gratitude": "own"}, sides={}, resamples=500)
    row = found.table.set_index("metric").loc["probability"]
    assert row["p_random"] == 0.01
    assert row["p_claim"] == row["p_shuffled"] > 0.05
    assert all(c.verdict != "supported" for c in corrected(steering_claims(found, budget=BUDGET))[:-1])
    told = tell(corrected(steering_claims(found, budget=BUDGET)), kinds())
    assert any("shuffled within groups" in one.notes for one in told)


def test_nulls_written_on_no_common_opening_are_refused() -> None:
    scored = texts({**nothing(0, 2), "own": ("emotion", "gratitude", 0.6)})
    apart = scored[~((scored["condition"] == "random 0") & (scored["prompt_id"] > "p010"))]
    apart = apart[~((apart["condition"] == "random 1") & (apart["prompt_id"] < "p011"))]
    with pytest.raises(EmotionCircuitsError, match="not all written on a common prompt"):
        effects(apart, {"gratitude": "own"}, sides=SIDES)


def test_labels_change_places_within_groups_and_between_groups_of_one_label() -> None:
    rng = np.random.default_rng(0)
    labels, groups = [*"abcd"] * 6, [g for g in range(6) for _ in range(4)]
    drawn = shuffled_labels(labels, groups, rng)
    assert all(sorted(drawn[4 * g : 4 * g + 4]) == [*"abcd"] for g in range(6))
    assert any(drawn[4 * g : 4 * g + 4].tolist() != [*"abcd"] for g in range(6))
    pure = shuffled_labels([*"aaabbb"], [0, 0, 0, 1, 1, 1], np.random.default_rng(1))
    swapped = {tuple(shuffled_labels([*"aaabbb"], [0, 0, 0, 1, 1, 1], np.random.default_rng(s))) for s in range(9)}
    assert swapped == {tuple("aaabbb"), tuple("bbbaaa")}
    assert tuple(pure) in swapped


def sentences() -> list[Prompt]:
    frames = {
        "gratitude": "Thanks for the {}",
        "anger": "I hate the {}",
        "apology": "Sorry for the {}",
        "neutral": "See the {}",
    }
    return [
        Prompt(id=f"{e}-{x}", text=t.format(x), label=e, group=x, split="train", language="en", set="t")
        for x in ("bus", "hat", "cake", "door", "tree", "lamp")
        for e, t in frames.items()
    ]


def test_shuffled_directions_go_through_the_contrast_of_the_real_ones(tmp_path: Path) -> None:
    store = capture(tiny_model("gpt2"), sentences(), kinds=("resid_post",), pooling=("last",), folder=tmp_path)
    found = shuffled_directions(store, count=2, seed=5, contrast="rest")
    labels, groups = store.rows["label"].tolist(), store.rows["group"].tolist()
    drawn = shuffled_labels(labels, groups, np.random.default_rng(5))
    states = store.pooled("resid_post", "last", 1).double()
    own = states[torch.tensor(drawn == "gratitude")].mean(0)
    rest = torch.stack(
        [states[torch.tensor(drawn == other)].mean(0) for other in ("anger", "apology", "neutral")]
    ).mean(0)
    assert torch.allclose(found["shuffled 0"][1], own - rest, atol=1e-9)
    v = vectors_from_store(store).against_rest(EMOTIONS)
    more = v.with_directions(found)
    assert abs(float(more.direction("shuffled 0", 1) @ more.direction("gratitude", 1))) < 0.999


def test_the_first_token_is_pushed_in_residual_norms() -> None:
    unit = torch.nn.functional.one_hot(torch.zeros(3, dtype=torch.long), 8).float()
    v = SteeringVectors({"anger": unit}, torch.tensor([2.0, 4.0, 8.0])).with_first(1000 * unit)
    both = Condition(name="a", emotion="anger", layers=(1,), alpha=0.5, positions="rest", first=6.0)
    assert [edit.alpha for edit in interventions_for([both], v)] == [2.0, 24.0]
    halves = taken_apart(both)
    assert [[e.alpha for e in interventions_for([half], v)] for half in halves.values()] == [[2.0], [24.0]]
    assert {half.how == both.how for half in halves.values()} == {True, False}
    assert taken_apart(Condition(name="b", emotion="anger", layers=(1,), alpha=0.5)) == {}


def test_the_arms_of_tokens_say_which_push_makes_the_effect() -> None:
    both = Condition(name="own", emotion="gratitude", layers=(16,), alpha=0.1, positions="rest", first=6.0)
    arms = {"none": ("none", "", 0.0), "own": ("emotion", "gratitude", 0.7)}
    arms |= {"own | rest only": ("emotion", "gratitude", 0.7), "own | first token only": ("emotion", "gratitude", 0.0)}
    scored = texts({**arms, **nothing(0)})
    table = token_effects(scored, {"gratitude": both}, sides=SIDES, resamples=1000)
    assert set(table["tokens"]) == {"both", "rest only", "first token only"}
    main = steering_claims(effects(scored, {"gratitude": "own"}, sides=SIDES, resamples=1000), budget=BUDGET)
    found = {c.about.arm: c for c in corrected([*main, *token_claims(table)]) if c.kind == "steering.tokens"}
    assert found["rest"].verdict == "supported"  # without it nothing is left
    assert found["first"].verdict != "supported"  # without it the effect is what it was
    assert found["rest"].figures.tests == 2
    told = tell(list(found.values()), kinds())
    assert any("all tokens but the first adds" in one.statement for one in told)
    # Where the direction does nothing at all, no push takes part in anything.
    weak = [d for d in main if d.id != "steering.gratitude.probability"]
    none = effects(
        texts({**nothing(0), "own": ("emotion", "gratitude", 0.0)}), {"gratitude": "own"}, sides={}, resamples=500
    )
    weak += [d for d in steering_claims(none, budget=BUDGET) if d.id == "steering.gratitude.probability"]
    assert all(
        c.verdict != "supported" for c in corrected([*weak, *token_claims(table)]) if c.kind == "steering.tokens"
    )
    assert token_claims(pd.DataFrame()) == []


def posed(turn: int, count: int) -> dict[str, Condition]:
    """Shuffled directions in the place of the emotions' own, each in that of every emotion once."""
    return {
        emotion: Condition(
            name=f"shuffled {(turn + place) % count}", kind="shuffled", direction="d", layers=(16,), alpha=0.1
        )
        for place, emotion in enumerate(EMOTIONS)
    }


def test_shuffled_directions_in_the_place_of_the_real_ones_are_not_claimed() -> None:
    scored = texts(nothing(48), seed=3)
    found = supported_shares(
        claims_in_turn(scored, posed(turn, 48), sides=SIDES, resamples=200, seed=turn) for turn in range(48)
    )
    assert set(found) == {"steering.effect"}  # no cost in fluency, and no condition that acts on two kinds of tokens
    assert found["steering.effect"].n == 48 * 9  # three emotions by share, probability and VADER
    assert found["steering.effect"].rate <= 0.05
    assert found["steering.effect"].high <= 0.08


def test_planted_effects_are_claimed_and_grow_with_their_size() -> None:
    steered = {f"steered {e}": ("emotion", e, 0.6) for e in EMOTIONS}  # what texts of an emotion look like
    scored = texts({**nothing(40), **steered}, seed=4)
    power = {}
    for shift in (0.05, 0.5):
        hits = []
        for k in range(3):
            turn = posed(k, 40)
            names = {emotion: arm.name for emotion, arm in turn.items()}
            planted = plant(scored, names, shift=shift, sides=SIDES, openings=96, seed=k)
            assert planted["prompt_id"].nunique() == 96
            claims = claims_in_turn(planted, turn, sides=SIDES, resamples=300)
            hits += [c.verdict == "supported" for c in claims if c.about.metric == "probability"]
        power[shift] = np.mean(hits)
    assert power[0.5] > 0.8
    assert power[0.05] < 0.3


def test_posing_directions_go_through_the_choice_on_a_tiny_model(tmp_path: Path) -> None:
    model = tiny_model("llama")
    store = capture(model, sentences(), kinds=("resid_post",), pooling=("last",), folder=tmp_path / "states")
    shuffled = shuffled_directions(store, count=4, contrast="rest")
    v = vectors_from_store(store).against_rest(EMOTIONS).with_directions(shuffled)
    real = [
        Condition(name=f"{e} {a}", emotion=e, layers=(1,), alpha=a, positions="rest")
        for e in EMOTIONS
        for a in (0.1, 0.2)
    ]
    arms = posing([NONE, *real], list(shuffled))
    assert len(arms) == 1 + 4 * 2
    openings = [
        Prompt(id=f"o{i}", text=t, label="neutral", group=f"g{i}", split="validation", language="en", set="t")
        for i, t in enumerate(("The bus", "A red door", "In the tree"))
    ]
    table = sweep(model, openings, arms, v, folder=tmp_path / "v", sampling=Sampling(max_new_tokens=4))
    assert set(table["kind"]) == {"none", "shuffled"}
    rng = np.random.default_rng(0)
    table = table.assign(
        **{f"p_{e}": rng.random(len(table)) for e in LABELS},
        emotion_label="neutral",
        nats=1.0 + 0.01 * rng.random(len(table)),
        repetition=0.0,
    )
    turn = dict(zip(EMOTIONS, list(shuffled)[1:], strict=True))
    chosen = choose_in_turn(table, turn)
    assert {e: name.partition(" | ")[2] for e, name in chosen.items()} == turn
    assert len({name.partition(" | ")[0] for name in chosen.values()}) == 1  # one shared place
    places = list(dict.fromkeys(name.partition(" | ")[0] for name in table["condition"] if " | " in name))
    assert len(places) == 2
    table.loc[table["condition"].str.startswith(f"{places[1]} |"), "nats"] = 3.0
    assert {name.partition(" | ")[0] for name in choose_in_turn(table, turn).values()} == {places[0]}
