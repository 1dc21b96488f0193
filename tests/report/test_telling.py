import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import speaking
from emotion_circuits.page.numerals import estimate, fixed
from emotion_circuits.page.telling import beside, claim_json, tell
from emotion_circuits.statistics import Claim, judge
from emotion_circuits.statistics.claims import About, Figures
from report.told import CLAIMS, KINDS, changed

# How each reason is told, in both languages.
REASONS = {
    "uncomputed": ("No interval was computed", "区間"),
    "few": ("Only ", "しかなく"),
    "above": ("The interval lies above the reference", "上"),
    "below": ("The interval lies below the reference", "下"),
    "level": ("The interval lies beyond the reference, but", "補正後"),
    "given": ("What it rests on is not supported", "前提"),
    "size": ("The figure lies beyond the null, but is smaller", "小さい"),
    "opposite": ("The whole interval lies on the other side", "反対側"),
    "smallest": ("The interval rules out the smallest effect", "最小の効果"),
    "null": ("The interval lies wholly within what the null gives", "帰無分布"),
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


def test_ids_and_what_they_are_about_tell_claims_apart():
    assert max(Counter(claim.id for claim in CLAIMS).values()) == 1
    heads = [claim for claim in CLAIMS if claim.about.part]
    assert heads
    assert not [claim.id for claim in heads if claim.about.part in claim.id]


@st.composite
def figures(draw):
    number = st.floats(-1, 1)
    low = draw(number)
    ends = draw(st.none() | st.just((low, low + draw(st.floats(0, 0.5)))))
    p = draw(st.none() | st.floats(0, 1)) if ends else None
    null = draw(st.none() | st.tuples(number, number).map(lambda pair: tuple(sorted(pair))))
    return Figures(
        estimate=low,
        interval=ends,
        chance=draw(st.none() | st.floats(-0.5, 0.5)),
        null=null,
        p=p,
        n=draw(st.integers(4, 30)),
        side=draw(st.sampled_from(["greater", "less", "different"])),
        smallest=draw(st.none() | st.floats(0.01, 0.5)),
    )


@given(figures(), st.booleans())
def test_what_is_told_is_true_of_the_figures(found, reach):
    """The sentence for a verdict says what its figures say, in both languages, whichever side was claimed."""
    verdict, reason = judge(found, reach=reach)
    claim = Claim(
        id="t", kind="trace.readers", about=About(value="anger", part="L1H1", rank=1, layer=1), figures=found,
        verdict=verdict, reason=reason,
    )  # fmt: skip
    for language, place in (("en", 0), ("ja", 1)):
        with speaking(language):
            (told,) = tell([claim], KINDS)
        assert REASONS[reason][place] in told.notes
    if found.interval is None:
        assert reason == "uncomputed"
        return
    low, high = found.interval
    above = max(found.zero, found.null[1]) if found.null else found.zero
    below = min(found.zero, found.null[0]) if found.null else found.zero
    assert {
        "few": found.n < 8,
        "above": low > above and found.side != "less",
        "below": high < below and found.side != "greater",
        "level": low > above or high < below,
        "size": abs(found.estimate - found.zero) < (found.smallest or 2),
        "opposite": high <= found.zero if found.side == "greater" else low >= found.zero,
        "smallest": found.smallest is not None
        and (found.side == "less" or high < found.zero + found.smallest)
        and (found.side == "greater" or low > found.zero - found.smallest),
        "null": found.null is not None and found.null[0] <= low and high <= found.null[1],
        "both": verdict == "inconclusive",
    }[reason]
    assert (verdict == "supported") == (reason in ("above", "below"))


def test_a_two_sided_claim_within_the_null_is_not_told_as_beyond_chance():
    claim = Claim.judged(
        "t", "trace.writers", About(value="anger", part="L1H1", rank=1, layer=1), estimate=-0.1, interval=(-0.15, -0.05),
        null=(-0.3, 0.3), chance=0.0, n=20, side="different",
    )  # fmt: skip
    assert (claim.verdict, claim.reason) == ("not supported", "null")
    with speaking("ja"):
        (told,) = tell([claim], KINDS)
    assert REASONS["null"][1] in told.notes
    assert REASONS["opposite"][1] not in told.notes


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
