"""Figures of methods, on made-up texts whose effects are known, and on models changed in known ways."""

import numpy as np
import pandas as pd
import pytest
import torch

from emotion_circuits.activations.sinks import measure_sinks
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Add, Site
from emotion_circuits.model.replicas import replica
from emotion_circuits.statistics import About, corrected, draft
from emotion_circuits.steering import random_direction
from emotion_circuits.tuning.frontier import added, arm_rows, at_cost, compared_at_cost, interpolated
from emotion_circuits.tuning.harm import harm_margins, harm_requests
from emotion_circuits.tuning.neutral import neutral_cost, next_tokens
from emotion_circuits.tuning.shift import along, head_changes, mean_states
from tuning_cases import OPENINGS, model_of


def made(effects, costs, n=30, seed=0, noise=0.02):
    """Texts on ``n`` openings under arms of known effects on ``joy`` and costs in nats."""
    rng, rows = np.random.default_rng(seed), []
    base = rng.uniform(0.1, 0.3, n)
    for name, effect in {"none": 0.0, **effects}.items():
        for i in range(n):
            p = float(np.clip(base[i] + (effect + rng.normal(0, noise) if name != "none" else 0), 0, 1))
            rows.append(
                {
                    "condition": name, "prompt_id": f"o{i:02}", "split": "test", "p_joy": p, "p_anger": 0.1,
                    "emotion_label": "joy" if p > 0.5 else "plain",
                    "nats": 2.0 + costs.get(name, 0.0), "repetition": 0.0, "n_joy": int(p > 0.5),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_arms_are_measured_against_unsteered_text():
    scored = made({"a x 1": 0.4, "a x 2": 0.6}, {"a x 1": np.log(1.2), "a x 2": np.log(2.0)})
    arms = {name: {"method": "a", "strength": float(name[-1])} for name in ("a x 1", "a x 2")}
    rows = arm_rows(scored, arms, "joy", judge="emotion").set_index("condition")
    for name, effect, ratio in (("a x 1", 0.4, 1.2), ("a x 2", 0.6, 2.0)):
        assert rows.loc[name, "change"] == pytest.approx(effect, abs=0.02)
        assert rows.loc[name, "low"] < effect < rows.loc[name, "high"] + 0.02
        assert rows.loc[name, "ratio"] == pytest.approx(ratio)
        assert rows.loc[name, "astray_change"] == 0
    # What joy gains, the reference loses: that is nothing beside it.
    judged = scored.assign(p_plain=1 - scored["p_joy"])
    with_it = arm_rows(judged, arms, "joy", judge="emotion").set_index("condition")
    without = arm_rows(judged, arms, "joy", judge="emotion", reference="plain").set_index("condition")
    assert set(with_it["astray"]) == {"plain"}
    assert set(without["astray"]) == {"anger"}
    alone = judged.drop(columns="p_anger")
    assert set(arm_rows(alone, arms, "joy", judge="emotion", reference="plain")["astray"]) == {"plain"}


def test_equal_cost_is_read_off_the_line_through_a_methods_strengths():
    effects = {"a x 1": 0.2, "a x 2": 0.6, "b x 1": 0.1, "b x 2": 0.3, "c x 1": 0.5}
    costs = {"a x 1": 0.1, "a x 2": 0.3, "b x 1": 0.1, "b x 2": 0.3, "c x 1": 0.05}
    scored = made(effects, costs)
    methods = {"a": ["a x 1", "a x 2"], "b": ["b x 1", "b x 2"], "c": ["c x 1"]}
    found = at_cost(scored, methods, "joy", ratio=float(np.exp(0.2)))
    assert found["a"][0].effect == pytest.approx(0.4, abs=0.02)
    assert found["b"][0].effect == pytest.approx(0.2, abs=0.02)
    assert found["a"][0].reached
    assert not found["c"][0].reached
    assert found["c"][0].effect == pytest.approx(0.5, abs=0.02)
    estimate, low, high, p = compared_at_cost(found, "a", "b", 30)
    assert estimate == pytest.approx(0.2, abs=0.02)
    assert low > 0.15
    assert p < 0.001
    assert low <= estimate <= high
    with pytest.raises(EmotionCircuitsError, match="above 1"):
        at_cost(scored, methods, "joy", ratio=1.0)


def test_an_opening_without_a_text_has_no_cost_and_an_effect():
    scored = made({"a x 1": 0.4}, {"a x 1": 0.2})
    scored.loc[(scored["condition"] == "a x 1") & (scored["prompt_id"] == "o00"), "nats"] = np.nan
    scored.loc[(scored["condition"] == "none") & (scored["prompt_id"] == "o01"), "nats"] = np.nan
    found, _ = at_cost(scored, {"a": ["a x 1"]}, "joy", ratio=float(np.exp(0.1)))["a"]
    assert found.effect == pytest.approx(0.2, abs=0.02)
    assert found.reached


def test_a_method_that_costs_less_than_nothing_at_first_is_read_where_it_reaches_the_cost():
    effect, reached = interpolated(np.array([[0.2], [0.6]]), np.array([[-0.1], [0.3]]), 0.1)
    assert (float(effect[0]), float(reached[0])) == (pytest.approx(0.4), 1.0)


@pytest.mark.parametrize(("both", "supported"), [(0.5, False), (0.15, True)])
def test_whether_effects_add_up(both, supported):
    found = added(made({"a": 0.2, "b": 0.3, "ab": both}, {}), "ab", "a", "b", "joy")
    assert found["difference"] == pytest.approx(both - 0.5, abs=0.03)
    (claim,) = corrected(
        [
            draft(
                "x", "tuning.additive", About(), family="x", estimate=found["difference"], interval=(found["low"], found["high"]),
                chance=0.0, p=found["p"], n=int(found["n"]), side="different", smallest=0.1,
            )
        ]
    )  # fmt: skip
    assert (claim.verdict == "supported") == supported


def shifted(model, vector, layer=1):
    """The model with a vector in the bias behind a block's MLP: what an adapter that moves states along it would do."""
    changed = replica(model, own=True)
    block = changed.blocks[layer]
    block.mlp.down_proj.bias = torch.nn.Parameter(vector.to(torch.float32), requires_grad=False)
    return changed


def test_a_shift_along_the_direction_is_found_and_others_are_not():
    """A bias of the direction itself, and biases of random vectors of the same length."""
    model = model_of()
    direction = random_direction(model.d_model, 5)
    rows = model.encode([f"{o} {i}" for o in OPENINGS for i in range(4)]).ids
    sinks = measure_sinks(model, [f"{o} {i}" for o in OPENINGS for i in range(4)])
    plain, kept = mean_states(model, rows, sinks)
    nulls = {"random": torch.stack([random_direction(model.d_model, 100 + i) for i in range(99)])}

    def asked(vector):
        shift = mean_states(shifted(model, 3 * vector), rows, sinks, kept)[0] - plain
        assert float(shift[:, 0].abs().max()) == 0, "nothing moves before the bias"
        found = along(shift[:, 1], direction, nulls, seed=0)
        assert found["share"] == pytest.approx(float(direction @ vector) ** 2, abs=1e-5)
        (claim,) = corrected(
            [
                draft(
                    "x", "tuning.along", About(), family="x", estimate=found["share"], interval=(found["low"], found["high"]),
                    chance=found["chance"], p=found["p"], n=len(rows), side="greater",
                )
            ]
        )  # fmt: skip
        return claim

    own = asked(direction)
    assert (own.verdict, own.figures.p) == ("supported", 0.01)
    others = [asked(random_direction(model.d_model, 300 + i)).verdict for i in range(40)]
    assert others.count("supported") <= 5, "40 draws at a level of 5 %"


def test_heads_behind_a_change_change_and_those_before_it_do_not():
    model = model_of()
    changed = replica(model, own=True)
    with torch.no_grad():
        changed.out_projection(1)  # the same layout
        changed.blocks[1].self_attn.o_proj.weight[:, : model.d_head] *= 1.5
    table = head_changes(model, changed, model.encode(list(OPENINGS)).ids).set_index(["layer", "head"])["change"]
    assert len(table) == model.n_layers * model.n_heads
    assert (table.loc[0] == 0).all()
    assert table.loc[1, 0] == pytest.approx(0.5, abs=1e-4)
    assert (table.loc[1].drop(0).abs() < 1e-6).all()
    assert (table.loc[2] > 0).all()


def test_what_a_push_does_to_plain_text():
    model = model_of()
    rows = model.continuing(["The bridge was closed on Monday.", "Ten boxes stood there.", "It was late."])
    plain = next_tokens(model, rows)
    same = neutral_cost(plain, next_tokens(model, rows), rows)
    assert (same.kl == 0).all()
    push = [Add(site=Site("resid_post", 1), vector=random_direction(model.d_model, 1), alpha=5.0)]
    moved = neutral_cost(plain, next_tokens(model, rows, interventions=push), rows)
    assert (moved.kl > 0).all()
    logits = model.logits(model.collate([rows[0]]))[0, :-1].float()
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(rows[0][1:]))
    assert same.loss[0] == pytest.approx(float(expected), abs=1e-4)
    before = next_tokens(model, rows, before=model.encode(["Words come first. "]).ids[0])
    assert [len(b) for b in before] == [len(row) for row in rows]


def test_requests_are_many_and_margins_are_those_of_the_answers():
    known, model = harm_requests(), model_of()
    assert len(set(known["requests"])) >= 40
    margins = harm_margins(model)
    assert len(margins) == len(known["requests"])
    head = model.encode([known["plain"].format(request=known["requests"][0])]).ids[0]
    nats = {}
    for kind in ("comply", "decline"):
        each = []
        for answer in known[kind]:
            tail = model.continuing([f" {answer}"])[0]
            logits = model.logits(model.collate([[*head, *tail]]))[0, len(head) - 1 : -1].float()
            each.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(tail))))
        nats[kind] = np.mean(each)
    assert margins[0] == pytest.approx(nats["decline"] - nats["comply"], abs=1e-4)
