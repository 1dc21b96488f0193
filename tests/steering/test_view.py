"""What a sweep shows of itself: texts side by side, escaped; figures where a judge has read them."""

import pandas as pd
import pytest

from emotion_circuits import SweepView
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling
from emotion_circuits.prompts import Prompt
from emotion_circuits.statistics import bootstrap_mean_interval
from emotion_circuits.steering import NONE, SteeringVectors, condition_table, controls, grid, score_sweep, sweep
from families import tiny_model


def judged() -> pd.DataFrame:
    """Three openings of two samples under two arms, their controls, and a random direction of no emotion; p is known."""
    arms = {
        "joy | random 0": ("random", "joy", 0.1),
        "none": ("none", "", 0.1),
        "joy": ("emotion", "joy", 0.7),
        "joy | prompting": ("prompting", "joy", 0.9),
        "sadness": ("emotion", "sadness", 0.3),
        "any | random 1": ("random", "", 0.2),
    }
    rows = [
        {
            "condition": name, "kind": kind, "emotion": emotion, "prompt_id": f"p{i}", "sample": s, "prompt": f"Opening {i}",
            "text": f" {name} {i} <b>{s}</b>\nand on", "finished": s == 1, "p_joy": p + 0.01 * i, "p_sadness": (p + 0.02 * i) / 2,
            "emotion_label": "joy" if p > 0.5 else "neutral",
        }
        for name, (kind, emotion, p) in arms.items() for i in range(3) for s in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_texts_stand_side_by_side_unsteered_first_and_directions_of_nothing_last() -> None:
    view = SweepView(judged())
    assert view.conditions == ["none", "joy", "joy | prompting", "sadness", "joy | random 0", "any | random 1"]
    wide = view.side_by_side()
    assert list(wide.index) == ["Opening 0", "Opening 1", "Opening 2"]
    assert (
        wide.loc["Opening 1", "sadness"] == " sadness 1 <b>0</b>\nand on …"
    )  # the first sample, which its length ended
    assert list(view.side_by_side(["joy", "none"])) == ["joy", "none"]
    with pytest.raises(EmotionCircuitsError, match="no condition named 'fear'; there are none, joy, "):
        view.side_by_side(["fear"])


def test_the_card_escapes_texts_names_and_labels_and_says_what_it_leaves_out() -> None:
    table = judged().replace({"emotion_label": {"joy": "<i>joy</i>"}, "condition": {"sadness": "<u>"}})
    html = SweepView(table)._repr_html_()
    for tag in ("<b>", "<i>", "<u>", "<script"):
        assert tag not in html
    assert "&lt;b&gt;0&lt;/b&gt;" in html
    assert "&lt;b&gt;1&lt;/b&gt;" not in html  # the second sample
    assert "<br><small>&lt;i&gt;joy&lt;/i&gt;</small>" in html
    assert "not shown: joy | random 0, any | random 1" in html
    assert html.count("<tr>") == 4


def test_the_card_of_texts_that_nobody_judged_has_no_labels() -> None:
    html = SweepView(judged().drop(columns="emotion_label"))._repr_html_()
    assert "<small>" not in html
    assert "below each text" not in html


def test_a_prompt_that_an_arm_was_not_written_on_is_a_gap() -> None:
    table = judged()
    gone = (table["condition"] == "joy") & (table["prompt_id"] == "p1")
    view = SweepView(table[~gone])
    assert view.side_by_side()["joy"].isna().tolist() == [False, True, False]
    assert ">–</td>" in view._repr_html_()
    assert view.changes().set_index(["emotion", "condition"]).loc[("joy", "joy"), "n"] == 2


def test_two_prompts_of_one_text_stay_two() -> None:
    table = judged().assign(prompt="The same")
    assert list(SweepView(table).side_by_side().index) == ["The same"] * 3


def test_changes_are_those_of_the_condition_table_and_shared_controls_stand_under_every_emotion() -> None:
    table = judged().assign(n_tokens=3)
    changes = SweepView(table).changes(resamples=200).set_index(["emotion", "condition"])
    assert list(changes.loc["joy"].index) == ["joy", "joy | prompting", "joy | random 0", "any | random 1"]
    assert list(changes.loc["sadness"].index) == ["sadness", "any | random 1"]
    figures = condition_table(table, resamples=200).set_index("condition")
    for emotion in ("joy", "sadness"):
        row = changes.loc[(emotion, emotion)]
        assert (
            row[["change", "low", "high"]].tolist()
            == figures.loc[emotion, ["change", "change_low", "change_high"]].tolist()
        )
    shared = table[table["condition"] == "any | random 1"].groupby("prompt_id")["p_joy"].mean()
    base = table[table["condition"] == "none"].groupby("prompt_id")["p_joy"].mean()
    expected = bootstrap_mean_interval((shared - base).to_numpy(), resamples=200, seed=0).estimate
    assert changes.loc[("joy", "any | random 1"), "change"] == pytest.approx(expected)


def test_the_picture_draws_every_arm_and_directions_of_nothing_on_one_line() -> None:
    view = SweepView(judged())
    drawn = {(y, round(x, 3)) for line in view.plot().data for x, y in zip(line.x, line.y, strict=True)}
    assert drawn == {
        ("joy", 0.6), ("joy | prompting", 0.8), ("random directions", 0.0), ("random directions", 0.1),
        ("sadness", 0.1), ("random directions", 0.05),
    }  # fmt: skip


def test_the_picture_of_labels_has_the_shares() -> None:
    view = SweepView(judged())
    assert view.shares().loc["joy"].to_dict() == {"joy": 1.0, "neutral": 0.0}
    figure = view.plot("labels")
    assert [bar.name for bar in figure.data] == ["joy", "neutral"]  # what is usual without steering comes last
    assert list(figure.data[0].y) == view.conditions
    assert list(figure.data[0].x) == [0, 1, 1, 0, 0, 0]


def test_what_cannot_be_shown_is_said() -> None:
    table = judged()
    with pytest.raises(
        EmotionCircuitsError, match="no column prompt_id, text; give it what sweep or score_sweep returned"
    ):
        SweepView(table.drop(columns=["text", "prompt_id"]))
    with pytest.raises(EmotionCircuitsError, match="no rows"):
        SweepView(table.head(0))
    with pytest.raises(EmotionCircuitsError, match=r"not judged for 'joy' \(no column 'p_joy'\): score it first"):
        SweepView(table.drop(columns="p_joy")).plot()
    with pytest.raises(EmotionCircuitsError, match="not judged by 'people'"):
        SweepView(table, judge="people").plot("labels")
    with pytest.raises(EmotionCircuitsError, match="there are change, labels"):
        SweepView(table).plot("bars")  # type: ignore[arg-type]
    with pytest.raises(EmotionCircuitsError, match="nothing in the sweep steers towards an emotion"):
        SweepView(table[table["condition"] == "none"]).plot()
    with pytest.raises(EmotionCircuitsError, match="holds no condition named 'plain'"):
        SweepView(table, base="plain").plot()


def test_a_real_sweep_is_still_a_plain_table_and_can_be_looked_at(tmp_path) -> None:
    import torch

    model = tiny_model("llama")
    g = torch.Generator().manual_seed(0)
    vectors = SteeringVectors.from_raw(
        {"joy": torch.randn(model.n_layers, model.d_model, generator=g)}, torch.ones(model.n_layers)
    )
    prompts = [
        Prompt(id=f"p{i}", text=t, label="neutral", group=f"g{i}", split="test", language="en", set="t")
        for i, t in enumerate(["One two three", "The cat"])
    ]
    (_, arm) = grid(["joy"], [1], [0.5])
    arms = [NONE, arm, *controls(arm, random=2, prompting=False)]
    table = sweep(model, prompts, arms, vectors, folder=tmp_path, sampling=Sampling(max_new_tokens=4, temperature=1.0))
    assert type(table) is pd.DataFrame
    view = SweepView(table)
    assert repr(view) == "SweepView(2 prompts x 4 conditions, 8 texts, not judged)"
    first = table[(table["condition"] == arm.name) & (table["prompt_id"] == "p1")]["text"].iloc[0]
    assert view.side_by_side().loc["The cat", arm.name].startswith(first)
    assert SweepView(score_sweep(table, [])).table.equals(table)
