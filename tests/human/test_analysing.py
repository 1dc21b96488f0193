"""The analysis as it was declared, from raters' files to a page."""

import json
import re
import shutil

import numpy as np
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.analysing import analyse, confusion
from emotion_circuits.human.designing import Wanted, design_study
from emotion_circuits.human.hypotheses import claims_of, declared
from emotion_circuits.human.page import write_human_page
from emotion_circuits.human.powering import power_of
from emotion_circuits.human.reading import read_answers
from emotion_circuits.human.records import Assumed, open_study
from emotion_circuits.human.simulating import layout_of, simulated, truths
from emotion_circuits.human.words import KINDS
from emotion_circuits.language import speaking
from emotion_circuits.page.telling import tell
from emotion_circuits.sealing import read_sealed
from human_cases import HOSTILE, VALUES, answered, reader, text_rows, written_run

ARMS = ("unsteered", "steered", "random", "prompted")


def random_answers(rng):
    """Somebody who reads nothing."""

    def choose(secret, item):
        if item.kind == "pair":
            return {"choice": str(rng.choice(["left", "tie", "right"]))}
        emotion = str(rng.choice([*VALUES, "none"]))
        return {"emotion": emotion, "intensity": int(rng.integers(0, 7)), "naturalness": int(rng.integers(1, 8))}

    return choose


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    root = tmp_path_factory.mktemp("rated")
    run = written_run(root, text_rows(16))
    folder = root / "study"
    study = design_study(run, folder, Wanted(raters=16, singles=16, pairs=16, studies=2, seed=1))
    for n, rater in enumerate(study.design.forms):
        rng = np.random.default_rng([8, n])
        choose = random_answers(rng) if n in (3, 7) else reader(rng, study.key)
        answered(folder, rater, choose, language="ja" if n % 2 else "en", seconds=1.0 if n == 9 else 6.0)
    return folder, analyse(folder)


def test_what_people_feel_is_supported_and_what_they_do_not_is_not(rated):
    _, found = rated
    verdicts = {c.id: c.verdict for c in found.claims}
    for value in VALUES:
        for against in ("unsteered", "random"):
            for kind in ("transmitted", "intense", "stronger"):
                assert verdicts[f"human.{kind}.{value}.{against}"] == "supported"
        assert verdicts[f"human.natural.{value}.unsteered"] != "supported"
        assert verdicts[f"human.transmitted.{value}.prompted"] != "supported"
    assert {c.figures.family for c in found.claims} == {"human.study"}


def test_careless_raters_are_left_out_by_the_declared_rules_and_shown(rated):
    _, found = rated
    out = {one.rater: one.reasons for one in found.excluded}
    assert set(out) == {"r04", "r08", "r10"}
    assert out["r10"] == ("seconds",)
    assert "attention" in out["r04"]
    both = {c.id: c.figures.estimate for c in found.claims}
    everybody = {c.id: c.figures.estimate for c in found.claims_of_all}
    assert both.keys() == everybody.keys()
    assert both != everybody


def test_what_was_meant_stands_against_what_was_named(rated):
    _, found = rated
    rows = {(r["arm"], r["meant"]): r for r in confusion(found)}
    assert set(rows) == {("unsteered", ""), *((arm, v) for arm in ARMS[1:] for v in VALUES)}
    for row in rows.values():
        assert sum(row[name] for name in (*VALUES, "none")) == pytest.approx(1)
    assert rows["steered", "anger"]["anger"] > 0.6
    assert rows["random", "anger"]["none"] == 1


def test_agreement_strengths_and_judges_are_there(rated):
    _, found = rated
    assert [a.scale for a in found.agreement] == ["emotion", "intensity", "naturalness"]
    emotion = found.agreement[0]
    assert 0.4 < emotion.by_text[0] < emotion.alpha < emotion.by_text[1] <= 1
    assert abs(found.agreement[2].alpha) < 0.2
    strong = {(s.value, s.arm): s for s in found.strengths}
    assert strong["anger", "unsteered"].strength == 0
    assert strong["anger", "steered"].interval[0] > 0
    assert strong["anger", "random"].interval[0] < 0 < strong["anger", "random"].interval[1]
    (judge,) = {j.judge for j in found.judges}
    assert judge == "emotion"
    of_anger = next(j for j in found.judges if j.value == "anger")
    assert of_anger.icc > 0.5
    assert [b.people for b in of_anger.curve] == sorted(b.people for b in of_anger.curve)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_tells_it_in_both_languages(rated, language):
    folder, found = rated
    study = open_study(folder)
    path = write_human_page(folder, study, found, language=language)
    html = path.read_text()
    assert HOSTILE not in html
    with speaking(language, study.design.labels[language]) as spoken:
        told = tell(found.claims, KINDS)
    assert not spoken.missing
    assert {c.claim.kind for c in told} == set(KINDS)
    for one in told:
        assert one.statement
        assert "None" not in one.statement + one.notes
        assert (re.search(r"[ぁ-ん]", one.statement) is not None) == (language == "ja")


def test_the_analysis_is_the_same_every_time_and_sealed(rated):
    folder, found = rated
    before = (folder / "analysis.json").read_bytes()
    assert analyse(folder) == found
    assert (folder / "analysis.json").read_bytes() == before
    assert read_sealed(folder / "analysis.json", "")["study"] == found.study


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A study that nobody has rated."""
    root = tmp_path_factory.mktemp("bare")
    design_study(written_run(root), root / "s", Wanted(raters=2, singles=8, pairs=8, studies=2))
    return root / "s"


def changed(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(study="s1"), "study: is 's1', not"),
        (lambda f: f.update(rater="r99"), "rater: the study has no 'r99'"),
        (lambda f: f.update(consent=""), "consent"),
        (lambda f: f.update(extra=1), "extra"),
        (lambda f: f["answers"][0].update(item="i0"), r"answers\.0\.item: 'i0' is not of the form of r1"),
        (lambda f: f["answers"].append(f["answers"][0]), "is answered twice"),
        (lambda f: f["answers"][0]["answer"].update(emotion="joy"), r"answers\.0\.answer: emotion: 'joy' is none of"),
        (lambda f: f["answers"][0]["answer"].update(naturalness=8), "naturalness: '8' is none of"),
        (lambda f: f["answers"][0]["answer"].update(naturalness=True), "naturalness: 'True' is none of"),
        (lambda f: f["answers"][0]["answer"].pop("intensity"), "needs emotion, intensity, naturalness"),
        (lambda f: f["answers"][-1]["answer"].update(choice="both"), "choice: 'both' is none of left, tie, right"),
        (lambda f: f["answers"][0].update(seconds=-1), "seconds"),
    ],
)
def test_an_answer_that_the_study_does_not_have_is_refused_with_its_place(bare, tmp_path, change, message):
    folder = tmp_path / "s"
    shutil.copytree(bare, folder)
    study = open_study(folder)
    path = answered(folder, "r1", random_answers(np.random.default_rng(0)))
    assert len(read_answers(folder, study.design)) == 1
    changed(path, change)
    with pytest.raises(EmotionCircuitsError, match=message) as error:
        read_answers(folder, study.design)
    assert "r1.json" in str(error.value)


def test_no_ratings_and_a_rater_twice_are_said(bare, tmp_path):
    folder = tmp_path / "s"
    shutil.copytree(bare, folder)
    study = open_study(folder)
    with pytest.raises(EmotionCircuitsError, match="no ratings; put raters' files into"):
        analyse(folder)
    path = answered(folder, "r1", random_answers(np.random.default_rng(0)))
    (folder / "ratings" / "again.json").write_bytes(path.read_bytes())
    with pytest.raises(EmotionCircuitsError, match=r"rater r1 is in .* too; keep the one that is right"):
        read_answers(folder, study.design)


def test_one_rater_alone_gives_figures_without_verdicts(bare, tmp_path):
    folder = tmp_path / "s"
    shutil.copytree(bare, folder)
    answered(folder, "r1", random_answers(np.random.default_rng(0)))
    found = analyse(folder)
    assert {c.verdict for c in found.claims} == {"inconclusive"}
    write_human_page(folder, open_study(folder), found)


# -- simulated raters ------------------------------------------------------------------------------------------------------


def shares(assumed, studies, *, raters=24, openings=36, singles=30, pairs=18, seed=0):
    """Over simulated studies: how often intervals hold the truth, and hypotheses are supported; and any of a study."""
    layout = layout_of(("a", "b"), ARMS, raters=raters, openings=openings, singles=singles, pairs=pairs, seed=seed)
    hypotheses, truth = declared(("a", "b"), ARMS), truths(assumed)
    held, supported, some = {}, {}, []
    for n in range(studies):
        ratings, _ = simulated(layout, assumed, np.random.default_rng([seed, 99, n]))
        claims = claims_of(hypotheses, ratings, ("a", "b"), layout.slots)
        some.append(any(c.verdict == "supported" for c in claims))
        for c in claims:
            key = (c.kind, c.about.arm)
            supported.setdefault(key, []).append(c.verdict == "supported")
            if key in truth:
                low, high = c.figures.interval
                held.setdefault(key, []).append(low <= truth[key] <= high)
    return {k: np.mean(v) for k, v in held.items()}, {k: np.mean(v) for k, v in supported.items()}, np.mean(some)


NOTHING = Assumed(effect=0, prompted=0, preference=0.5)


def test_a_few_simulated_studies_hold_the_truth_and_claim_nothing_where_there_is_nothing():
    held, _, some = shares(NOTHING, 25, raters=16, openings=16, singles=16, pairs=16)
    assert 0.9 <= np.mean(list(held.values())) <= 0.99
    assert some <= 0.1
    held, supported, _ = shares(Assumed(), 12)
    assert 0.9 <= np.mean(list(held.values())) <= 0.99
    assert supported["human.transmitted", "random"] >= 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("raters", "openings"), [(24, 36), (48, 24)])
def test_intervals_hold_the_truth_in_93_to_97_percent_and_no_effect_studies_claim_at_most_5(raters, openings):
    size = {"raters": raters, "openings": openings, "singles": 24, "pairs": 18}
    held, _, _ = shares(Assumed(cost=0.5), 600, **size)
    assert all(0.93 <= share <= 0.97 for share in held.values()), held
    held, _, some = shares(NOTHING, 600, seed=1, **size)
    assert all(0.93 <= share <= 0.97 for share in held.values()), held
    assert some <= 0.05


@pytest.mark.slow
def test_planned_power_holds():
    plan = power_of(("a", "b"), ARMS, Assumed(), raters=24, openings=36, singles=30, pairs=18, studies=300, seed=5)
    _, supported, _ = shares(Assumed(), 500, seed=11)
    for kind, power in plan.power.items():
        seen = np.mean([share for (k, arm), share in supported.items() if k == kind and arm in ("unsteered", "random")])
        assert abs(seen - power) < 0.08, kind
