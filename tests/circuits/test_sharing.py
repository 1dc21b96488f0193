"""Heads that two points share are found shared, heads of their own are not, and nothing is made of noise."""

import numpy as np
import pandas as pd
import pytest

from emotion_circuits.circuits import arena, attribute
from emotion_circuits.circuits.crossing import crossed_circuit
from emotion_circuits.circuits.sharing import HeadEffects, does_repeat, shared_effects
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, pair_task
from emotion_circuits.planted import PlantedSpec, plant
from emotion_circuits.stations.circuits.effects import pair_effects

HEADS = tuple(Node("head", layer, head) for layer in range(6) for head in range(8))
QUICK = {"draws": 199, "halvings": 20, "resamples": 100}


def effects(name, signals, rng, *, groups=24, noise=3.0, scenes=None):
    """A point whose values have these true effects; heavy tails, as heads have."""
    by_value = {}
    for value, signal in signals.items():
        named = tuple(f"{scenes or name}-{value}-{g}" for g in range(groups))
        by_value[value] = (named, signal + noise * rng.normal(size=(groups, len(HEADS))))
    return HeadEffects(name, HEADS, by_value)


def signal(rng, *, by_layer=0.0):
    drawn = rng.normal(size=len(HEADS))
    return np.sign(drawn) * drawn**2 + by_layer * np.array([h.layer for h in HEADS])


def row(points, seed=0, **changes):
    return shared_effects(points, seed=seed, **{**QUICK, **changes}).table.iloc[0]


def test_what_is_shared_is_found_whatever_the_noise():
    """Divided by reliability, the correlation of the same effects is 1 in noise that halves the raw one."""
    rng = np.random.default_rng(0)
    true = {"warm": signal(rng), "cold": signal(rng)}
    found = row([effects("i", true, rng, noise=8.0), effects("j", true, rng, noise=4.0)])
    assert found["raw"] < 0.8
    assert found["correlation"] == pytest.approx(1, abs=0.15)
    assert found["low"] < 1 < found["high"]
    assert found["p"] == 1 / 200
    assert found["low"] > found["null_high"]
    # The other value's effects were drawn apart.
    assert abs(found["others"]) < 0.4
    assert np.isnan(found["wrong"])


def test_heads_of_their_own_are_not_shared_and_depth_alone_is_nothing():
    rng = np.random.default_rng(1)
    own = [
        effects(name, {v: signal(rng, by_layer=1.5) for v in ("warm", "cold")}, rng, noise=1.0) for name in ("i", "j")
    ]
    found = row(own)
    assert found["correlation"] > 0.4  # what depth explains
    assert found["null_low"] < found["correlation"] < found["null_high"]
    assert found["p"] > 0.05
    assert found["chance"] == pytest.approx((found["null_low"] + found["null_high"]) / 2, abs=0.1)


def test_generic_heads_are_told_by_an_unrelated_point():
    """Heads that do the same in any task are shared, but with the unrelated point as well."""
    rng = np.random.default_rng(2)
    generic, special = signal(rng), signal(rng)

    def points(shared):
        true = {"warm": shared, "cold": shared}
        return [
            effects("i", true, rng, noise=1.0),
            effects("j", true, rng, noise=1.0),
            effects("u", {"polite": generic}, rng, noise=1.0),
        ]

    table = shared_effects(points(generic), **QUICK).table
    assert len(table) == 1  # the unrelated one shares no value: it is a control, no pair
    assert table["p"].iloc[0] <= 0.05
    assert table["unrelated"].iloc[0] == "u"
    assert table["specific_low"].iloc[0] <= 0
    apart = row(points(special))
    assert apart["specific_low"] > 0.2
    assert apart["specific"] == pytest.approx(apart["correlation"] - apart["wrong"])


def test_noise_has_nothing_to_compare():
    """Signs that mean nothing (labels shuffled within groups): effects do not repeat, so no figure is given."""
    given = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = signal(rng)
        points = []
        for name in "ij":
            groups = tuple(f"{name}{g}" for g in range(24))
            shuffled = (true + rng.normal(size=(24, len(HEADS)))) * rng.choice([-1, 1], size=(24, 1))
            points.append(HeadEffects(name, HEADS, {"warm": (groups, shuffled)}))
        found = row(points, seed, resamples=40, halvings=10)
        firm = [does_repeat(found[f"repeats_{side}"], found[f"least_{side}"]) for side in ("source", "target")]
        assert np.isfinite(found["correlation"]) == all(firm)
        given += all(firm)
    assert given <= 1


def test_false_findings_are_as_rare_as_they_ought_to_be():
    ps, beyond = [], 0
    for seed in range(40):
        rng = np.random.default_rng(100 + seed)
        points = [effects(name, {"warm": signal(rng, by_layer=0.5)}, rng, noise=1.0) for name in "ij"]
        found = row(points, seed, resamples=40, halvings=10)
        ps.append(found["p"])
        beyond += found["p"] <= 0.05 and found["low"] > found["chance"]
    assert np.mean(np.array(ps) <= 0.05) <= 0.15
    assert 0.35 < np.mean(ps) < 0.65
    assert beyond <= 5


@pytest.mark.slow
def test_intervals_hold_the_truth():
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(200 + seed)
        one, other = signal(rng), signal(rng)
        mixed = 0.6 * one + 0.8 * other
        truth = np.corrcoef(one, mixed)[0, 1]
        found = row([effects("i", {"warm": one}, rng), effects("j", {"warm": mixed}, rng)], seed, resamples=200)
        hits += found["low"] <= truth <= found["high"]
    assert 89 <= hits <= 100


def test_scenes_of_one_name_are_on_one_side():
    """Translations share what is odd about a scene: halves that did not know of it would call that a shared effect."""
    high = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        odd = 6.0 * rng.normal(size=(24, len(HEADS)))
        groups = tuple(f"scene-{g}" for g in range(24))
        points = [
            HeadEffects(name, HEADS, {"warm": (groups, signal(rng) + odd + rng.normal(size=odd.shape))})
            for name in "ij"
        ]
        high.append(row(points, seed, halvings=10)["raw"])
    assert np.mean(high) < 0.1


def test_the_strongest_heads_have_a_null_of_their_own():
    rng = np.random.default_rng(5)
    true = {"warm": signal(rng)}
    same = shared_effects([effects("i", true, rng), effects("j", true, rng)], ks=(5, 10, 48), **QUICK).top
    assert same["k"].tolist() == [5, 10]
    assert (same["jaccard"] > same["null_high"]).all()
    assert (same["p"] <= 0.05).all()
    assert (same["within"] > 0.4).all()
    other = shared_effects(
        [effects("i", {"warm": signal(rng)}, rng), effects("j", {"warm": signal(rng)}, rng)], ks=(5, 10), **QUICK
    ).top
    assert (other["jaccard"] <= other["null_high"] + 0.05).all()


def test_the_same_seed_gives_the_same_figures():
    rng = np.random.default_rng(6)
    points = [effects(name, {"warm": signal(rng)}, rng) for name in "ij"]
    first, second = (shared_effects(points, seed=3, **QUICK) for _ in range(2))
    pd.testing.assert_frame_equal(first.table, second.table)
    pd.testing.assert_frame_equal(first.top, second.top)


def test_bad_input():
    rng = np.random.default_rng(7)
    one = effects("i", {"warm": signal(rng)}, rng)
    with pytest.raises(EmotionCircuitsError, match="two or more points"):
        shared_effects([one, one])
    elsewhere = HeadEffects("j", tuple(Node("head", 9, h) for h in range(48)), one.by_value)
    with pytest.raises(EmotionCircuitsError, match="all points have measured"):
        shared_effects([one, elsewhere])


# -- models whose circuit is planted ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    """One model that two languages meet in, one whose heads are elsewhere, and one with some heads in the same places."""
    both = plant(PlantedSpec(seed=12, architecture="llama", languages=2, n_pairs=72))
    elsewhere, partly = (plant(PlantedSpec(seed=seed, architecture="llama", n_pairs=48)) for seed in (32, 33))
    assert not set(both.roles) & set(elsewhere.roles)
    assert len(set(both.roles) & set(partly.roles)) == 3
    return both, elsewhere, partly


def scored(name, found, pairs, rename=None):
    task = pair_task(found.model, pairs)
    table = pair_effects(attribute(found.model, task, steps=2), task, found.spec.values)
    return HeadEffects.of(name, table if rename is None else table.replace({"value": rename}))


def test_languages_that_share_planted_heads_share_them(planted):
    both, elsewhere, partly = planted
    en, fr = (scored(code, both, [p for p in both.pairs if p.language == code]) for code in ("en", "fr"))
    names = {value: f"other {value}" for value in both.spec.values}
    found = row([en, fr, scored("u", elsewhere, elsewhere.pairs, rename=names)])
    assert found["p"] <= 0.05
    assert found["low"] > max(0.3, found["null_high"])
    assert found["reliability_source"] > 0.8
    assert found["specific_low"] > 0.3
    # Each language has a detector of its own: what is shared is not everything.
    assert found["high"] < 0.9
    # An unrelated task that works with some of the same heads takes that away.
    assert row([en, fr, scored("u", partly, partly.pairs, rename=names)])["specific_low"] <= 0


def test_planted_heads_that_lie_elsewhere_are_not_shared(planted):
    both, other, _ = planted
    found = row([scored("a", both, both.pairs), scored("b", other, other.pairs)])
    assert found["reliability_source"] > 0.8
    assert found["reliability_target"] > 0.8
    assert found["p"] > 0.05
    assert not found["low"] > found["null_high"]


def test_a_circuit_does_the_work_of_pairs_that_it_was_not_found_on(planted):
    """The true heads keep the answers; as many that lie elsewhere do not, and are not better than random ones."""
    _, model, _ = planted
    ring = arena(model.model, pair_task(model.model, [p for p in model.pairs if p.split == "test"]))
    truth = [*model.roles, *model.mlps]
    wrong = [*model.decoys, *model.mlps]
    found = crossed_circuit(model.model, ring, truth, truth, {"u": wrong}, samples=39, seed=1)
    assert found.against.faithfulness == pytest.approx(found.own)
    assert found.against.faithfulness > 0.8
    assert found.against.random.p <= 0.05
    assert found.against.same_mlps.p <= 0.05
    assert found.unrelated == "u"
    assert found.apart[1] > 0.3
    assert found.apart[0] == pytest.approx(found.against.faithfulness - found.wrong)
    # The true MLP alone does something: beyond random circuits perhaps, but next to nothing of the gap.
    foreign = crossed_circuit(model.model, ring, wrong, truth, {}, samples=9, seed=1)
    assert foreign.against.faithfulness < 0.1
    assert foreign.unrelated == ""
    assert np.isnan(foreign.wrong)
