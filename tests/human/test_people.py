"""A study's raters are a judge like the others: of what they read."""

import numpy as np
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Evaluator
from emotion_circuits.human.designing import Wanted, design_study
from emotion_circuits.human.people import People
from emotion_circuits.human.records import open_study
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.steering import score_sweep
from human_cases import VALUES, answered, reader, text_rows, written_run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    run = written_run(root, text_rows(16))
    design_study(run, root / "s", Wanted(raters=6, singles=16, pairs=4, studies=2))
    return root / "s", run


@pytest.fixture(scope="module")
def rated(study):
    folder, _ = study
    made, rng = open_study(folder), np.random.default_rng(3)
    raters = list(made.design.forms)
    for rater in raters[:-1]:
        answered(folder, rater, reader(rng, made.key, told=1.0))
    # Somebody who answers all alike, and at once.
    answered(folder, raters[-1], lambda secret, item: _same(item), seconds=0.5)
    return folder


def _same(item):
    return {"choice": "tie"} if item.kind == "pair" else {"emotion": "none", "intensity": 0, "naturalness": 4}


def test_a_probability_is_the_share_of_raters_who_named_it(rated, study):
    people = People.of(rated)
    assert isinstance(people, Evaluator)
    assert people.answers == (*VALUES, "none")
    assert people.raters == 5, "who the rules leave out does not judge"
    written = SteeringFolder.of(study[1]).test.read()
    known = written[[text.strip() in people.shares for text in written["text"]]].reset_index(drop=True)
    assert len(known) >= 16
    scored = score_sweep(known, [people])
    # These raters name what a text was steered or prompted to.
    meant = np.where(known["kind"].isin(["emotion", "prompting"]), known["emotion"], "none")
    assert scored["people_label"].tolist() == meant.tolist()
    assert scored[[f"people_p_{v}" for v in (*VALUES, "none")]].sum(axis=1).to_numpy() == pytest.approx(1)


def test_what_nobody_read_is_refused(rated):
    people = People.of(rated)
    text = next(iter(people.shares))
    assert len(people.score([f"  {text} "])) == 1
    with pytest.raises(
        EmotionCircuitsError, match="people: 1 of 2 texts were rated by nobody, the first is 'Never shown'"
    ):
        people.score([text, "Never shown"])


def test_no_ratings_are_no_judge(tmp_path):
    run = written_run(tmp_path, text_rows(16))
    design_study(run, tmp_path / "s", Wanted(raters=6, singles=16, pairs=4, studies=2))
    with pytest.raises(EmotionCircuitsError, match="no ratings; put raters' files"):
        People.of(tmp_path / "s")
