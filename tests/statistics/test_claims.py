from __future__ import annotations

import json

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import (
    VERDICTS,
    About,
    Claim,
    Draft,
    PairedDifference,
    cohens_dz,
    corrected,
    draft,
    fdr,
    paired_difference,
    paired_differences,
    power,
    required_n,
    smallest_effect,
    verdict_power,
    wrong_way_share,
)
from emotion_circuits.statistics.claims import Side


def claim(*, given: Claim | None = None, reach: bool = False, **figures: object) -> Claim:
    """A claim in a family of one: q is p."""
    base: dict[str, object] = dict(estimate=0.3, interval=(0.1, 0.5), n=40, p=0.01, family="test.moves", tests=1)
    made = {**base, **figures}
    return Claim.judged("t", "test.moves", About(), given=given, reach=reach, **{"q": made["p"], **made})


def test_rules_one_by_one() -> None:
    assert claim().verdict == "supported"
    assert claim(n=5).verdict == "inconclusive"
    assert (claim(interval=None, p=None).verdict, claim(interval=None, p=None).reason) == ("inconclusive", "uncomputed")
    assert claim(p=0.001, q=0.2).verdict == "inconclusive"
    assert claim(p=0.03, q=0.04).verdict == "supported"
    assert claim(p=0.2).verdict == "inconclusive"
    assert (claim(chance=0.25, p=0.2).verdict, claim(chance=0.25, p=0.2).reason) == ("inconclusive", "both")
    assert (claim(chance=0.25).verdict, claim(chance=0.25).reason) == ("inconclusive", "disagree")
    assert claim(chance=0.6, p=0.9).verdict == "not supported"
    assert claim(estimate=0.0, interval=(-0.02, 0.03), p=0.9, smallest=0.05).verdict == "not supported"
    assert claim(estimate=0.0, interval=(-0.2, 0.3), p=0.9, smallest=0.05).verdict == "inconclusive"
    assert claim(estimate=0.0, interval=(-0.2, 0.3), p=0.9).verdict == "inconclusive"
    assert claim(estimate=-0.3, interval=(-0.5, -0.1), p=0.9).verdict == "not supported"
    assert claim(estimate=-0.3, interval=(-0.5, -0.1), side="less").verdict == "supported"
    assert claim(estimate=-0.3, interval=(-0.5, -0.1), side="different").verdict == "supported"
    assert (
        claim(estimate=0.01, interval=(-0.02, 0.03), p=0.9, side="different", smallest=0.05).verdict == "not supported"
    )


def test_a_null_result_needs_a_declared_smallest_effect() -> None:
    # However narrow: an interval that holds chance, inside what a null gives, says nothing against an effect of its size.
    narrow: dict[str, object] = dict(estimate=0.001, interval=(-0.004, 0.006), p=0.6)
    assert claim(**narrow, null=(-0.1, 0.2)).reason == "both"  # type: ignore[arg-type]
    assert claim(**narrow, smallest=0.01).reason == "smallest"  # type: ignore[arg-type]
    assert claim(**narrow, smallest=0.005).reason == "both"  # type: ignore[arg-type]
    # An interval without any width speaks for neither side.
    assert claim(estimate=0.0, interval=(0.0, 0.0), p=1.0).reason == "both"


def test_the_null_speaks_through_p_not_through_its_range() -> None:
    assert claim(null=(-0.1, 0.2)).verdict == "supported"
    assert claim(null=(-0.1, 0.05), p=0.2).verdict == "inconclusive"


def test_what_rests_on_another_claim_falls_with_it() -> None:
    assert claim(given=claim()).verdict == "supported"
    for other in (claim(n=5), claim(chance=0.6, p=0.9)):
        assert (claim(given=other).verdict, claim(given=other).reason) == (other.verdict, "given")
        # What is not supported by itself keeps its own reason.
        assert claim(n=5, given=other).reason == "few"


def test_an_effect_that_must_reach_a_size_is_not_supported_below_it() -> None:
    assert claim(smallest=0.4).verdict == "supported"
    assert claim(smallest=0.2, reach=True).verdict == "supported"
    assert (claim(smallest=0.4, reach=True).verdict, claim(smallest=0.4, reach=True).reason) == ("inconclusive", "size")
    assert (claim(smallest=0.6, reach=True).verdict, claim(smallest=0.6, reach=True).reason) == (
        "not supported", "smallest",
    )  # fmt: skip
    assert claim(reach=True).verdict == "inconclusive"


def test_a_claim_is_complete_or_refused() -> None:
    with pytest.raises(EmotionCircuitsError, match="interval"):
        claim(interval=None, p=0.01)
    for lacking in ("p", "q", "family", "tests"):
        with pytest.raises(EmotionCircuitsError, match=lacking):
            claim(**{"q": None, lacking: None})
    with pytest.raises(EmotionCircuitsError, match="claimed side"):
        claim(estimate=-0.3, interval=(-0.5, -0.1))
    with pytest.raises(EmotionCircuitsError, match="smallest"):
        claim(smallest=0.0)
    with pytest.raises(EmotionCircuitsError, match="lower and an upper"):
        claim(interval=(0.5, 0.1))
    with pytest.raises(EmotionCircuitsError, match="estimate"):
        claim(estimate=float("nan"))
    with pytest.raises(EmotionCircuitsError, match="side"):
        claim(side="up")


def test_a_claim_survives_json() -> None:
    c = claim(p=0.01, q=0.02, tests=4, null=(-0.1, 0.05), beside={"excluded": 2})
    again = Claim.model_validate(json.loads(c.model_dump_json()))
    assert again == c
    assert again.figures.beside == {"excluded": 2.0}
    assert again.verdict in VERDICTS


def drafted(found: PairedDifference, id: str = "t", *, family: str = "test.moves", side: Side = "greater") -> Draft:
    return draft(
        id, "test.moves", About(), family=family, estimate=found.estimate, interval=(found.low, found.high),
        p=found.p, n=found.n, side=side,
    )  # fmt: skip


@pytest.mark.parametrize("shape", ["normal", "binary", "skewed"])
def test_false_claims_on_600_simulated_nulls(shape: str) -> None:
    rng = np.random.default_rng(20)
    supported = 0
    for start in range(0, 600, 100):
        n = 31
        if shape == "normal":
            a, b = rng.normal(size=(2, n, 100))
        elif shape == "binary":
            a, b = rng.binomial(3, 0.2, size=(2, n, 100)) / 3
        else:
            a, b = rng.exponential(size=(2, n, 100)) ** 2
        for d in paired_differences(a, b, resamples=2000, seed=start):
            supported += corrected([drafted(d)])[0].verdict == "supported"
    # One-sided statements judged by a two-sided test: at most half of 5 % is expected.
    assert supported / 600 <= 0.05


def test_false_claims_in_a_family_of_twenty_nulls() -> None:
    rng = np.random.default_rng(21)
    any_claim = 0
    for run in range(500):
        a, b = rng.normal(size=(2, 24, 20))
        ds = paired_differences(a, b, resamples=1000, seed=run)
        verdicts = [c.verdict for c in corrected([drafted(d, str(i), side="different") for i, d in enumerate(ds)])]
        any_claim += "supported" in verdicts
    assert any_claim / 500 <= 0.05


@pytest.mark.parametrize(("d", "n"), [(0.5, 34), (0.35, 50), (0.8, 12)])
def test_power_is_as_predicted(d: float, n: int) -> None:
    rng = np.random.default_rng(22)
    differences = rng.normal(d, 1, size=(n, 1500))
    found = paired_differences(differences, np.zeros(n), resamples=1500)
    supported = sum(corrected([drafted(f)])[0].verdict == "supported" for f in found)
    assert supported / 1500 == pytest.approx(verdict_power(d, n).rate, abs=0.05)
    assert supported / 1500 <= power(d, n) + 0.03  # a verdict asks for more than its test


def test_required_n_is_the_smallest_that_suffices() -> None:
    for d in (0.2, 0.5, 1.0):
        n = required_n(d)
        assert power(d, n) >= 0.8 > power(d, n - 1)
    assert required_n(0.5) == 34  # Cohen's tables / G*Power: 34 pairs
    assert required_n(-0.5) == 34
    assert required_n(0.5, tests=10) > 34
    assert required_n(0.5, alternative="greater") < 34
    assert required_n(20.0) <= 4


def test_smallest_effect_inverts_required_n() -> None:
    assert power(smallest_effect(40), 40) == pytest.approx(0.8, abs=1e-6)
    assert smallest_effect(40, alternative="less") < 0


@pytest.mark.parametrize("bad", [dict(d=0.0), dict(d=float("inf")), dict(d=-1.0, alternative="greater")])
def test_impossible_plans_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(EmotionCircuitsError):
        required_n(**bad)  # type: ignore[arg-type]


def test_fdr_is_one_named_family() -> None:
    ps = [0.001, 0.01, 0.03, 0.8]
    family = fdr(ps, family="steering, test split")
    np.testing.assert_allclose(list(family.q.values()), multipletests(ps, method="fdr_bh")[1])
    with pytest.raises(EmotionCircuitsError, match="name the family"):
        fdr(ps, family=" ")
    with pytest.raises(EmotionCircuitsError, match="p-value of 'x'"):
        fdr({"x": float("nan")}, family="f")


def test_effect_sizes() -> None:
    assert cohens_dz([1.0, 3.0]) == pytest.approx(2 / np.sqrt(2))
    assert cohens_dz([0.0, 0.0]) == 0
    assert cohens_dz([-2.0, -2.0]) == -np.inf
    assert wrong_way_share([1, -1, 0, 2]) == 0.25
    assert wrong_way_share([1, -1, 0, 2], direction=-1) == 0.5


def test_paired_difference_of_identical_arms_supports_nothing() -> None:
    d = paired_difference(np.ones(30), np.ones(30))
    assert corrected([drafted(d)])[0].verdict != "supported"
