"""Blind samples and shares corrected by their labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import blind_sample, corrected_share, read_labels, write_sample
from emotion_circuits.steering import labelled_shares

LABELS = ("gratitude", "neutral")


def written(n: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for condition, kind, emotion, share in (("none", "none", "", 0.1), ("own", "emotion", "gratitude", 0.7)):
        for i in range(n):
            true = rng.random() < share
            judged = true if rng.random() < 0.8 else not true
            rows.append(
                dict(
                    condition=condition, kind=kind, emotion=emotion, prompt_id=f"p{i}", sample=0, prompt=f"opening {i}",
                    text=f"text {condition} {i}", true=LABELS[1 - true], emotion_label=LABELS[1 - judged],
                )
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_a_judge_that_is_wrong_is_put_right_and_one_at_chance_does_no_harm() -> None:
    rng = np.random.default_rng(1)
    true = rng.random(2000) < 0.3
    labels = np.where(np.arange(2000) < 400, true, np.nan)
    wrong = np.where(rng.random(2000) < 0.25, ~true, true)  # calls 40 % so
    found = corrected_share(wrong, labels)
    assert found.raw > 0.37
    assert found.low < 0.3 < found.high
    assert found.estimate == pytest.approx(0.3, abs=0.04)
    chance = corrected_share(rng.random(2000) < 0.5, labels)
    alone = corrected_share(np.zeros(2000), labels)
    assert chance.weight < 0.15
    assert alone.weight == 0
    assert chance.high - chance.low == pytest.approx(alone.high - alone.low, rel=0.05)
    right = corrected_share(true, labels)
    assert right.high - right.low < 0.6 * (alone.high - alone.low)
    assert corrected_share(true, true.astype(float)).estimate == true.mean()  # all labelled: the labels themselves


def test_the_estimate_is_that_of_ppi_py() -> None:
    # ppi_py 0.2.3: ppi_mean_pointestimate(y, f, u), power-tuned; the figures are recomputed here by its formulas.
    rng = np.random.default_rng(2)
    y = (rng.random(40) < 0.4).astype(float)
    f = np.where(rng.random(40) < 0.8, y, 1 - y)
    u = (rng.random(160) < 0.45).astype(float)
    centred = y - y.mean()
    gradients = np.concatenate([f, u])
    lam = (centred @ (f - f.mean()) / 40) / ((1 + 40 / 160) * np.cov(gradients))
    found = corrected_share(np.concatenate([f, u]), np.concatenate([y, np.full(160, np.nan)]))
    assert found.weight == pytest.approx(float(np.clip(lam, 0, 1)))
    assert found.estimate == pytest.approx(lam * u.mean() + (y - lam * f).mean())


@pytest.mark.oracle
def test_the_estimate_agrees_with_ppi_py_itself() -> None:
    from ppi_py import ppi_mean_pointestimate

    rng = np.random.default_rng(3)
    for _ in range(20):
        y = (rng.random(40) < 0.4).astype(float)
        f = np.where(rng.random(40) < 0.8, y, 1 - y)
        u = (rng.random(160) < 0.45).astype(float)
        found = corrected_share(np.concatenate([f, u]), np.concatenate([y, np.full(160, np.nan)]))
        assert found.estimate == pytest.approx(float(np.squeeze(ppi_mean_pointestimate(y, f, u))), abs=1e-9)


@pytest.mark.parametrize(("right", "rightly_not"), [(0.9, 0.95), (0.6, 0.9), (0.5, 0.5), (0.54, 0.98)])
def test_intervals_cover_at_forty_labels_of_two_hundred(right: float, rightly_not: float) -> None:
    rng, hits, runs = np.random.default_rng(4), 0, 900
    labels = np.full(200, np.nan)
    for _ in range(runs):
        true = rng.random(200) < 0.3
        judged = np.where(true, rng.random(200) < right, rng.random(200) > rightly_not)
        labels[:40] = true[:40]
        found = corrected_share(judged, labels)
        hits += found.low <= 0.3 <= found.high
    # 93 to 97 %, give or take two standard errors of 900 runs.
    assert 0.93 - 0.0145 <= hits / runs <= 0.97 + 0.0145


def test_shares_that_cannot_be_corrected_are_refused() -> None:
    with pytest.raises(EmotionCircuitsError, match="7 labelled texts"):
        corrected_share(np.zeros(20), np.where(np.arange(20) < 7, 0.0, np.nan))
    with pytest.raises(EmotionCircuitsError, match="one value per text"):
        corrected_share(np.zeros(20), np.zeros(19))
    with pytest.raises(EmotionCircuitsError, match="no share"):
        corrected_share(np.full(20, 2.0), np.zeros(20))


def test_a_sample_hides_the_arms_and_its_labels_find_back(tmp_path: Path) -> None:
    scored = written()
    rows, key = blind_sample(scored, ["none", "own"], LABELS, openings=20, seed=3)
    assert len(rows) == 40
    assert {*rows[0]} == {"id", "opening", "text", "label"}
    assert not any("own" in row["id"] or "none" in row["id"] for row in rows)
    arms = [key.rows[row["id"]].condition for row in rows]
    assert arms != sorted(arms)
    path = tmp_path / "sample.jsonl"
    write_sample(rows, path)
    with pytest.raises(EmotionCircuitsError, match="may hold labels"):
        write_sample(rows, path)
    true = scored.set_index("text")["true"]
    done = [{**row, "label": true[row["text"]]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in done), encoding="utf-8")
    table = labelled_shares(scored, key, read_labels(path, key), ["gratitude"]).set_index("condition")
    assert table["labelled"].tolist() == [20, 20]
    for name, part in scored.groupby("condition"):
        assert table.loc[name, "raw"] == pytest.approx((part["emotion_label"] == "gratitude").mean())
        assert table.loc[name, "low"] <= (part["true"] == "gratitude").mean() <= table.loc[name, "high"]


def test_bad_labels_are_refused_with_their_line(tmp_path: Path) -> None:
    rows, key = blind_sample(written(), ["none"], LABELS, openings=8)
    good = {"id": rows[0]["id"], "label": "neutral"}
    for bad, message in (
        ("{", ":2: is not JSON"),
        ("[]", ":2: is not a JSON object"),
        ('{"label": "neutral"}', ":2: needs an 'id'"),
        ('{"id": "x", "label": "neutral"}', ":2: id 'x' is not of this run's sample"),
        (
            json.dumps({**good, "id": rows[1]["id"], "label": "joy"}),
            ":2: label 'joy' is none of gratitude, neutral",
        ),
        (json.dumps(good), ":2: id '[0-9a-f]+' stands in line 1 already"),
        (json.dumps({"id": rows[1]["id"], "label": "neutral", "text": "another"}), ":2: the text is not the one"),
    ):
        path = tmp_path / "labels.jsonl"
        path.write_text(json.dumps(good) + "\n" + bad + "\n", encoding="utf-8")
        with pytest.raises(EmotionCircuitsError, match=message):
            read_labels(path, key)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match="no row has a label"):
        read_labels(path, key)
    with pytest.raises(EmotionCircuitsError, match="cannot be read"):
        read_labels(tmp_path / "absent.jsonl", key)
