"""Agreement of two labellings, against the definition and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa, to_table

from emotion_circuits.curation import agreement, agreement_of_set, labelled_twice
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_prompts


def drawn(texts: int, error: float, seed: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(["anger", "gratitude", "neutral"], size=texts, p=[0.2, 0.2, 0.6])
    other = rng.choice(["anger", "gratitude", "neutral"], size=texts)
    return truth.tolist(), np.where(rng.random(texts) < error, other, truth).tolist()


@pytest.mark.parametrize("error", [0.0, 0.2, 1.0])
def test_kappa_is_the_published_one(error):
    first, second = drawn(300, error, 1)
    found = agreement(first, second, [str(i) for i in range(300)])
    codes = {label: i for i, label in enumerate(sorted({*first, *second}))}
    table, _ = to_table(np.array([[codes[a], codes[b]] for a, b in zip(first, second, strict=True)]))
    known = cohens_kappa(table)
    assert found.kappa == pytest.approx(known.kappa)
    assert found.same == sum(a == b for a, b in zip(first, second, strict=True))
    if error:
        assert found.interval == pytest.approx((known.kappa_low, known.kappa_upp), abs=0.03)
    else:
        assert found.interval == (1.0, 1.0)


def test_texts_that_belong_together_are_resampled_together():
    first, second = drawn(300, 0.3, 2)
    order = np.argsort([a == b for a, b in zip(first, second, strict=True)], kind="stable")
    first, second = [first[i] for i in order], [second[i] for i in order]  # agreement goes with the group
    alone = agreement(first, second, [str(i) for i in range(300)])
    together = agreement(first, second, [str(i // 10) for i in range(300)])
    assert together.kappa == alone.kappa
    assert together.interval[1] - together.interval[0] > 1.5 * (alone.interval[1] - alone.interval[0])


def test_labels_are_counted_per_person_and_bad_input_is_refused():
    found = agreement(["anger", "anger", "mixed"], ["anger", "neutral", "neutral"], ["a", "b", "c"])
    assert found.each == {"anger": (2, 1, 1), "mixed": (1, 0, 0), "neutral": (0, 2, 0)}
    with pytest.raises(EmotionCircuitsError, match="2 and 1 labels of 2 texts"):
        agreement(["a", "b"], ["a"], ["1", "2"])
    with pytest.raises(EmotionCircuitsError, match="core was not labelled twice"):
        agreement_of_set("core")


@pytest.mark.parametrize("name", labelled_twice())
def test_a_set_that_was_labelled_twice_keeps_what_both_agree_on(name):
    found, rows = agreement_of_set(name), load_prompts(name)
    assert found.texts == len(rows)
    for label, (_, _, both) in found.each.items():
        if label != "mixed":
            assert sum(r.label == label for r in rows) == both
    agreed = found.each.get("mixed", (0, 0, 0))[2]
    assert sum(r.label == "mixed" for r in rows) == found.texts - found.same + agreed
