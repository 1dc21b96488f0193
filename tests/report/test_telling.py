import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import speaking
from emotion_circuits.page.numerals import estimate, fixed, number
from emotion_circuits.page.telling import beside, claim_json, tell
from emotion_circuits.stations.steering.words import place_words
from emotion_circuits.statistics import VERDICTS, About, Claim, corrected, draft
from emotion_circuits.steering import grid
from told import CLAIMS, KINDS, changed

# How each reason is told, in both languages.
REASONS = {
    "uncomputed": ("No interval or no test was computed", "区間"),
    "few": ("Only ", "しかなく"),
    "above": ("The interval lies above the reference", "上"),
    "below": ("The interval lies below the reference", "下"),
    "level": ("The interval lies beyond the reference, but", "補正後"),
    "given": ("but what it rests on is not supported", "前提"),
    "size": ("but the figure is smaller than what matters", "小さい"),
    "opposite": ("The whole interval lies on the other side", "反対側"),
    "smallest": ("interval rules out the smallest effect", "最小の効果"),
    "disagree": ("q is low enough", "十分に低い"),
    "both": ("The interval allows both", "両立"),
}


def test_every_kind_of_claim_is_told():
    assert {claim.kind for claim in CLAIMS} == set(KINDS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_a_claim_is_told_whole_in_both_languages(claim):
    for language in ("en", "ja"):
        with speaking(language) as spoken:
            (told,) = tell([claim], KINDS)
        assert spoken.missing == set()
        for text in (told.statement, told.unit, told.counted, told.notes):
            assert text
            assert "None" not in text
            assert "{" not in text
        assert bool(told.null) >= bool(claim.figures.null), "a range without a word for what it is of"
        if language == "ja":
            assert re.search(r"[ぁ-んァ-ヶ一-龠]", told.statement)
            assert not re.search(r"(?:\b[a-z]{3,}\b ){3}", told.notes), "English left over"


def test_a_claim_of_an_unknown_kind_is_refused():
    with pytest.raises(EmotionCircuitsError, match=r"kind 'humour\.some', which no station declares"):
        tell([changed(CLAIMS[0], kind="humour.some")], KINDS)


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.figures.beside], ids=lambda c: c.id)
def test_a_claim_that_lacks_a_figure_is_refused_or_told_without_it(claim):
    for name in claim.figures.beside:
        rest = {k: v for k, v in claim.figures.beside.items() if k != name}
        said = ""
        try:
            (found,) = tell([changed(claim, figures={"beside": rest})], KINDS)
        except EmotionCircuitsError as error:
            said = str(error)
        assert f"claim {claim.id!r}: lacks the figure {name!r}" in said or (not said and found.statement)


def test_ids_and_what_they_are_about_tell_claims_apart():
    assert max(Counter(claim.id for claim in CLAIMS).values()) == 1
    heads = [claim for claim in CLAIMS if claim.about.part]
    assert heads
    assert not [claim.id for claim in heads if claim.about.part in claim.id]


@st.composite
def figures(draw):
    """What a draft and its family make of random numbers: an interval comes with p, q and family."""
    number = st.floats(-1, 1)
    low = draw(number)
    ends = draw(st.none() | st.just((low, low + draw(st.floats(0, 0.5)))))
    p = draw(st.floats(0, 0.06) | st.floats(0, 1)) if ends else None
    made = draft(
        "t", "trace.readers", About(value="anger", part="L1H1", rank=1, layer=1), family="trace.readers",
        estimate=low + draw(st.floats(0, 1)) * (ends[1] - low) if ends else low,
        interval=ends,
        chance=draw(st.none() | st.floats(-0.5, 0.5)),
        null=draw(st.none() | st.tuples(number, number).map(lambda pair: tuple(sorted(pair)))),
        p=p,
        n=draw(st.integers(4, 30)),
        side=draw(st.sampled_from(["greater", "less", "different"])),
        smallest=draw(st.none() | st.floats(0.01, 0.5)),
        reach=draw(st.booleans()),
        given=draw(st.none() | st.sampled_from(_RESTED_ON)),
    )  # fmt: skip
    return made, draw(st.integers(0, 5))


_RESTED_ON = [c for verdict in VERDICTS for c in [next(c for c in CLAIMS if c.verdict == verdict)]]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(figures())
def test_what_is_told_is_true_of_the_figures(found):
    """The sentence for a verdict says what its figures say, in both languages, whichever side was claimed."""
    made, others = found
    more = (
        [replace(made, id=str(i), figures={**made.figures, "p": 0.9}) for i in range(others)]
        if made.figures["p"]
        else []
    )
    claim, *_ = corrected([made, *more])
    verdict, reason, found = claim.verdict, claim.reason, claim.figures
    spoken = []
    for language, place in (("en", 0), ("ja", 1)):
        with speaking(language):
            (told,) = tell([claim], KINDS)
        assert REASONS[reason][place] in told.notes
        spoken.append(told.notes)
    if found.interval is None:
        assert reason == "uncomputed"
        return
    low, high = found.interval
    above = low > found.zero and found.side != "less"
    below = high < found.zero and found.side != "greater"
    clear = found.q <= 0.05
    short = (
        found.smallest is not None
        and (found.side == "less" or high < found.zero + found.smallest)
        and (found.side == "greater" or low > found.zero - found.smallest)
    )
    assert {
        "few": found.n < 8,
        "above": above and clear,
        "below": below and clear,
        "level": (above or below) and not clear,
        "given": made.given is not None and clear and made.given.verdict == verdict != "supported",
        "size": made.reach and clear and not abs(found.estimate - found.zero) >= (found.smallest or 2),
        "opposite": high <= found.zero if found.side == "greater" else low >= found.zero,
        "smallest": short,
        "disagree": clear and not (above or below),
        "both": not clear and not (above or below),
    }[reason]
    assert (verdict == "supported") == (reason in ("above", "below"))
    # A null result beside a low q says so, and why all the same.
    if verdict == "not supported" and clear:
        assert reason in ("smallest", "given")
        told = "q < 0.001" if found.q < 0.001 else f"q = {number(found.q)}"
        assert all(told in notes for notes in spoken)
        assert ("Something is there" in spoken[0]) == (reason == "smallest")
        assert ("何らかの効果はある" in spoken[1]) == (reason == "smallest")


@pytest.mark.parametrize("family", [1, 7])
def test_the_family_is_named(family):
    made = [
        draft(
            f"t{i}", "trace.readers", About(value="anger", part="L1H1", rank=1, layer=1), family="trace.readers",
            estimate=0.2, interval=(0.1, 0.3), p=0.01, n=20,
        )
        for i in range(family)
    ]  # fmt: skip
    for language, one, seven in (
        ("en", "A family of one test", "One of 7 tests"),
        ("ja", "検定ひとつだけ", "7個の検定"),
    ):
        with speaking(language):
            told = tell(corrected(made), KINDS)
        assert all("trace.readers" in t.notes and (one if family == 1 else seven) in t.notes for t in told)


def test_figures_have_the_decimals_that_their_interval_allows():
    assert estimate(0.11765, (0.0515, 0.184)) == "0.12 [0.05, 0.18]"
    assert estimate(2.202, (1.03, 3.47)) == "2.2 [1.0, 3.5]"
    assert estimate(0.5, None) == "0.5"
    assert fixed(-0.001, 2) == "0.00"


def test_a_bound_is_not_called_chance():
    claim = next(c for c in CLAIMS if c.kind == "steering.fluency")
    (told,) = tell([claim], KINDS)
    assert beside(told) == "bound = 1.5"


def test_programs_get_data_and_words():
    (told,) = tell(CLAIMS[:1], KINDS)
    found = claim_json(told)
    assert Claim.model_validate({k: v for k, v in found.items() if k != "words"}) == CLAIMS[0]
    assert found["words"]["statement"] == told.statement


def test_a_place_is_told_in_words_and_what_is_named_otherwise_stays_as_it_is():
    at = [
        grid(["joy"], [layers], [0.25], prefix=prefix)[1].name for layers, prefix in ((3, ""), ((3, 4, 5), "sink 4 "))
    ]
    assert [place_words(name) for name in at] == [
        "layer 3, 0.25 residual norms", "layers 3-5, 4 residual norms at the first token and 0.25 at the others",
    ]  # fmt: skip
    for name in ("joy mapped", grid(["joy"], [3], [2], prefix="raw ", units="raw")[1].name):
        assert place_words(name) == name
    with speaking("ja"):
        assert place_words(at[1]) == "層3-5、先頭トークンに残差ノルム4、ほかに0.25"
