"""Whether the judge that decides can tell the values apart at all: every claim on what it finds rests on that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from emotion_circuits.evaluation import judge_of, labelled_text
from emotion_circuits.evaluation.validating import WRITTEN
from emotion_circuits.prompts import Prompt, load_prompts
from emotion_circuits.record.studied import Studied
from emotion_circuits.statistics import About, Draft, draft, interval_p, resample_counts

__all__ = ["BAR", "JUDGE", "agreement_beyond_chance", "judge_draft"]

BAR = 0.4
"""Agreement beyond chance (kappa of recalls) that a judge must surpass: what Landis & Koch (1977) call moderate."""
JUDGE = "steering.judge"
"""Id and kind of the claim."""
_DRAWS = 2000


def judge_draft(about: Studied) -> Draft:
    """That the deciding judge agrees with labels of held-out text beyond chance, by more than :data:`BAR`.

    Where models' own continuations are labelled, these are what it is held to: they are what it judges.

    Args:
        about: what is studied; its values and reference are the labels, of all that the judge knows.
    """
    a = about.attribute
    judge, found = judge_of(a, about.judge), labelled_text(a.axis, a)
    rows: list[Prompt] = []
    names: Mapping[str, str] = {}
    if found is not None and judge.axis == a.axis:
        names = found.labels
        written = [name for name in found.sets if name in WRITTEN]
        rows = [p for p in load_prompts(written or found.sets, split="test") if names.get(p.label) in about.labels]
    n = len({p.group for p in rows})
    shared: dict[str, Any] = {
        "family": JUDGE, "chance": BAR, "side": "greater", "n": n,
    }  # fmt: skip
    of = About(method=judge.name)
    if n < 2:
        return draft(JUDGE, JUDGE, of, estimate=float("nan"), interval=None, p=None, **shared)
    called = judge.decide(judge.score([p.text for p in rows]))
    estimate, low, high = agreement_beyond_chance([names[p.label] for p in rows], called, [p.group for p in rows])
    return draft(
        JUDGE, JUDGE, of, estimate=estimate, interval=(low, high),
        p=interval_p(estimate, (low, high), zero=BAR, n=n), beside={"texts": len(rows)}, **shared,
    )  # fmt: skip


def agreement_beyond_chance(
    truth: Sequence[str], called: Sequence[str], groups: Sequence[str], *, seed: int = 0
) -> tuple[float, float, float]:
    """Mean recall of the labels, from 0 (chance) to 1, with its 95 % interval by resampling groups.

    Args:
        truth: label of each text.
        called: what the judge calls it.
        groups: texts of one group are drawn together.
        seed: of the draws.

    Example:
        >>> agreement_beyond_chance(["a", "b"] * 4, ["a", "b"] * 4, list("01234567"))
        (1.0, 1.0, 1.0)
    """
    labels, ids = sorted(set(truth)), {g: i for i, g in enumerate(dict.fromkeys(groups))}
    counts = np.zeros((2, len(ids), len(labels)))
    for true, judged, group in zip(truth, called, groups, strict=True):
        counts[0, ids[group], labels.index(true)] += 1
        counts[1, ids[group], labels.index(true)] += true == judged
    weights = resample_counts(len(ids), _DRAWS, seed)
    drawn = np.array([_kappa(weight @ counts[1], weight @ counts[0]) for weight in weights])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return _kappa(counts[1].sum(0), counts[0].sum(0)), float(low), float(high)


def _kappa(right: Float[np.ndarray, " label"], texts: Float[np.ndarray, " label"]) -> float:
    if not texts.all():
        return float("nan")
    chance = 1 / len(texts)
    return float(((right / texts).mean() - chance) / (1 - chance))
