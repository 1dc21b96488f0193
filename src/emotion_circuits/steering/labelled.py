"""Shares of steered texts, corrected by what a person says of a blind sample of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from emotion_circuits.evaluation.blind import BlindKey
from emotion_circuits.evaluation.ppi import MINIMUM_LABELS, corrected_share

__all__ = ["labelled_shares"]


def labelled_shares(
    scored: pd.DataFrame, key: BlindKey, labels: Mapping[str, str], values: list[str], *, judge: str = "emotion"
) -> pd.DataFrame:
    """One row per arm and emotion: the judge's share, and the share corrected by the labels.

    The unit is the opening: several texts on one are averaged, and it counts as labelled where all of them are. Unsteered text
    has a row for every emotion, another arm for its own. Arms with too few labels are left out.

    Args:
        scored: the scored sweep that the sample was drawn from.
        key: of the sample.
        labels: by id, of :func:`emotion_circuits.evaluation.read_labels`.
        values: the emotions.
        judge: the evaluator whose labels are corrected.

    Returns:
        Columns ``condition kind emotion raw share low high n labelled weight``.
    """
    given = {(r.condition, r.prompt_id, r.sample): labels[i] for i, r in key.rows.items() if i in labels}
    rows = []
    for condition in dict.fromkeys(row.condition for row in key.rows.values()):
        arm = scored[scored["condition"] == condition]
        places = zip(arm["condition"], arm["prompt_id"], arm["sample"], strict=True)
        said = pd.Series([given.get((c, p, int(s))) for c, p, s in places], index=arm.index, dtype=object)
        own = str(arm["emotion"].iloc[0])
        for emotion in [own] if own in values else values:
            # A text without a label makes the mean of its opening unknown.
            known = said.map(lambda label, e=emotion: np.nan if label is None else float(label == e)).astype(float)
            judged = (arm[f"{judge}_label"] == emotion).astype(float)
            by = arm["prompt_id"]
            units = judged.groupby(by).mean(), known.groupby(by).agg(lambda x: x.mean(skipna=False))
            if units[1].notna().sum() < MINIMUM_LABELS:
                continue
            found = corrected_share(*units)
            rows.append(
                {
                    "condition": condition, "kind": str(arm["kind"].iloc[0]), "emotion": emotion, "raw": found.raw,
                    "share": found.estimate, "low": found.low, "high": found.high, "n": found.n,
                    "labelled": found.labelled, "weight": found.weight,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
