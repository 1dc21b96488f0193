"""Other sentences' directions on texts that are not theirs: planted effects are found, nothing is not."""

import numpy as np
import pandas as pd
import pytest

from emotion_circuits.steering import Condition
from emotion_circuits.steering.carrying import carried_arms, carried_effects, carried_name

OWN = {v: Condition(name=f"{v} L2", emotion=v, layers=(2,), alpha=0.2) for v in ("joy", "fear")}
OPENINGS = 30


def written(arm, chance, rng, openings=OPENINGS):
    """Texts of an arm: the judge's probability of joy is ``chance`` and a little noise, whatever the opening adds."""
    base = np.random.default_rng(0).uniform(0, 0.1, OPENINGS)[:openings]
    joy = np.clip(base + chance + rng.normal(0, 0.05, openings), 0, 1)
    return pd.DataFrame(
        {
            "condition": arm.name, "kind": arm.kind, "emotion": arm.emotion or "", "alpha": arm.alpha,
            "layers": " ".join(map(str, arm.layers)), "how": arm.how, "prompt_id": [f"o{i}" for i in range(openings)],
            "split": "test", "p_joy": joy, "p_fear": 0.05, "feelings_label": np.where(joy > 0.5, "joy", "fear"),
            "nats": 2.0 + 0.1 * (arm.kind != "none"),
        }
    )  # fmt: skip


def scored(*, carried=0.3, wrong=0.05, seed=0):
    rng = np.random.default_rng(seed)
    arms = carried_arms(OWN.values(), "ja", ["joy", "fear"], kind="emotion")
    null = carried_arms(OWN.values(), "ja", [f"shuffled {i}" for i in range(39)], kind="shuffled")
    strange = carried_arms(OWN.values(), "tone", ["polite"], kind="other")
    none = Condition(name="none", kind="none")
    tables = [written(none, 0.0, rng), written(OWN["joy"], 0.4, rng), written(OWN["fear"], 0.0, rng)]
    tables += [written(arm, carried if arm.emotion == "joy" else 0.0, rng) for arm in arms]
    tables += [written(arm, rng.normal(0, 0.03), rng, 12) for arm in null]
    tables += [written(arm, wrong, rng) for arm in strange]
    return pd.concat(tables, ignore_index=True)


def effects(table, **changes):
    given = {"sides": {}, "judge": "feelings", "others": ["tone"], **changes}
    return carried_effects(table, "ja", OWN, **given).set_index("value")


def test_arms_of_shuffled_directions_are_written_once_for_a_place():
    null = carried_arms(OWN.values(), "ja", ["shuffled 0", "shuffled 1"], kind="shuffled")
    assert len(null) == 2
    assert all(arm.emotion is None and (arm.layers, arm.alpha) == ((2,), 0.2) for arm in null)
    apart = [OWN["joy"], Condition(name="fear L1", emotion="fear", layers=(1,), alpha=0.2)]
    assert len(carried_arms(apart, "ja", ["shuffled 0"], kind="shuffled")) == 2
    assert [arm.direction for arm in carried_arms(apart, "ja", ["fear"], kind="emotion")] == [
        carried_name("ja", "fear")
    ]


def test_a_planted_effect_is_found_with_its_share_and_its_controls():
    joy = effects(scored()).loc["joy"]
    assert joy["low"] < 0.3 < joy["high"]
    assert joy["p"] == pytest.approx(1 / 40)
    assert joy["change"] > joy["null_high"]
    assert joy["share"] == pytest.approx(0.3 / 0.4, abs=0.1)
    assert joy["specific_low"] > 0
    assert abs(joy["astray"]) < 0.05
    assert joy["ratio"] == pytest.approx(np.exp(0.1))


def test_a_push_that_any_direction_gives_is_not_specific():
    joy = effects(scored(wrong=0.3)).loc["joy"]
    assert joy["specific_low"] < 0 < joy["specific_high"] + 0.05
    assert joy["wrong"] == pytest.approx(0.3, abs=0.05)


def test_nothing_is_rarely_called_something():
    found = [effects(scored(carried=0.0, wrong=0.0, seed=seed)).loc["joy"] for seed in range(20)]
    assert sum(row["p"] <= 0.05 and row["low"] > 0 for row in found) <= 3


def test_without_unrelated_values_nothing_is_said_of_them():
    table = scored()
    joy = effects(table[table["kind"] != "other"], others=[]).loc["joy"]
    assert np.isnan(joy["specific"])
    assert np.isfinite(joy["change"])
