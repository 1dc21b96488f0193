"""Careless raters are found by the declared rules, and careful ones are kept."""

from pathlib import Path

import numpy as np
import pytest

from emotion_circuits.human.designing import Wanted, design_study
from emotion_circuits.human.excluding import watched
from emotion_circuits.human.reading import Answered, Given
from emotion_circuits.human.records import Rules
from human_cases import VALUES, text_rows, written_run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("excluded")
    return design_study(
        written_run(root, text_rows(16)), root / "s", Wanted(raters=100, singles=16, pairs=8, studies=2)
    )


def answers(study, rater, rng, *, slips, seconds=6.0, same=False):
    """Somebody who reads, but for ``slips``, or gives the same answer to all; the second rating of a text differs by a point."""
    found, natural = {}, {}
    for item in study.design.forms[rater].items:
        secret, slip = study.key.items[item], rng.random() < slips
        if study.design.items[item].kind == "pair":
            answer = {"choice": str(rng.choice(["left", "tie", "right"]))}
        elif same:
            answer = {"emotion": "none", "intensity": 0, "naturalness": 4}
        else:
            answer = {
                "emotion": str(rng.choice([*VALUES, "none"])), "intensity": int(rng.integers(0, 7)),
                "naturalness": int(rng.integers(1, 8)),
            }  # fmt: skip
            if not slip:
                again = natural.get(secret.again)
                moved = answer["naturalness"] if again is None else int(np.clip(again + rng.integers(-1, 2), 1, 7))
                answer |= {"naturalness": moved} | secret.expected
        natural[item] = answer.get("naturalness")
        found[item] = Given(item=item, answer=answer, seconds=seconds * rng.uniform(0.5, 1.5), at="")
    return Answered(rater, "en", found, Path())


def shares_left_out(study, **how):
    rng = np.random.default_rng(1)
    return np.mean(
        [bool(one.reasons) for one in watched(study, [answers(study, r, rng, **how) for r in study.design.forms])]
    )


def test_those_who_read_are_kept_and_those_who_do_not_are_found(study):
    assert shares_left_out(study, slips=0.0) == 0
    assert shares_left_out(study, slips=0.05) <= 0.05
    assert shares_left_out(study, slips=1.0) >= 0.98
    assert shares_left_out(study, slips=0.7) >= 0.7
    assert shares_left_out(study, slips=0.0, seconds=1.0) == 1
    assert shares_left_out(study, slips=0.0, same=True) == 1


def test_each_rule_has_its_own_reason(study):
    rng = np.random.default_rng(2)
    rater = next(iter(study.design.forms))
    (same,) = watched(study, [answers(study, rater, rng, slips=0, same=True)])
    assert {"attention", "gold", "same"} <= set(same.reasons)
    whole = answers(study, rater, rng, slips=0)
    few = Answered(rater, "en", dict(list(whole.answers.items())[:5]), Path())
    assert watched(study, [few])[0].reasons == ("answered",)
    assert watched(study, [whole])[0].reasons == ()


def test_a_rule_that_nobody_could_break_is_none(tmp_path):
    found = design_study(
        written_run(tmp_path), tmp_path / "s", Wanted(raters=2, singles=8, pairs=8, attention=1, studies=2)
    )
    assert found.design.rules == Rules(attention=0)
