"""What is learnt from: pairs of one scene, of train splits alone, and never an opening that is reported on."""

import pandas as pd
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import Prompt, load_prompts
from emotion_circuits.tuning.examples import SPLIT, corpus_examples, encoded, mixed, own_examples, refuse_seen
from tuning_cases import model_of, preferences

CORPORA = ("core", "implicit", "scenarios")


def test_pairs_are_of_one_scene_and_of_the_train_split():
    rows = load_prompts(CORPORA)
    found = corpus_examples(rows, "gratitude", ["neutral"])
    of = {p.text: p for p in rows}
    assert len(found) == sum(p.label == "gratitude" and p.split == SPLIT for p in rows)
    for one in found:
        good, other = of[one.chosen], of[one.rejected]
        assert (good.label, other.label) == ("gratitude", "neutral")
        assert good.group == other.group == one.group
        assert {good.split, other.split} == {SPLIT}
        assert good.set.partition("/")[0] == other.set.partition("/")[0] == one.source


def written(**changes):
    row = {
        "condition": "steered", "kind": "emotion", "emotion": "joy", "split": SPLIT, "prompt_id": "o1", "sample": 0,
        "group": "g1", "prompt": "It is", "text": " fine", "emotion_label": "joy", "nats": 1.0, "repetition": 0.0,
    }  # fmt: skip
    return {**row, **changes}


PLAIN = {"condition": "none", "kind": "none", "emotion": "", "text": " late", "emotion_label": "plain"}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, 1), ({"emotion_label": "plain"}, 0), ({"nats": 5.0}, 0), ({"repetition": 0.5}, 0), ({"split": "test"}, 0),
        ({"split": "validation"}, 0), ({"text": " "}, 0), ({"prompt_id": "other"}, 0), ({"emotion": "anger"}, 0),
    ],
    ids=str,
)  # fmt: skip
def test_own_texts_are_those_that_the_judge_accepts_and_that_stay_fluent(changes, kept):
    rows = pd.DataFrame([written(**PLAIN), written(**changes)])
    found = own_examples(rows, "joy", judge="emotion", ratio=2.0)
    assert len(found) == kept
    if kept:
        assert (found[0].prompt, found[0].chosen, found[0].rejected, found[0].source) == (
            "It is",
            " fine",
            " late",
            "own",
        )


def test_an_unsteered_text_of_the_value_is_not_what_is_avoided():
    rows = pd.DataFrame([written(**{**PLAIN, "emotion_label": "joy"}), written()])
    assert own_examples(rows, "joy", judge="emotion", ratio=2.0) == []


def test_sources_are_mixed_in_a_drawn_order_and_fill_up():
    own, corpora = preferences(3), corpus_examples(load_prompts("core"), "anger", ["neutral"])
    found = mixed(own, corpora, 20, 0.5, seed=1)
    assert len(found) == 20
    assert sum(e.source == "made" for e in found) == 3
    assert found == mixed(own, corpora, 20, 0.5, seed=1)
    assert found != mixed(own, corpora, 20, 0.5, seed=2)
    assert sum(e.source == "made" for e in mixed(preferences(12), corpora[:2], 10, 0.5, seed=1)) == 8
    with pytest.raises(EmotionCircuitsError, match="nothing to learn from"):
        mixed([], [], 8, 0.5, seed=0)


def test_what_is_reported_on_is_refused():
    held = [
        Prompt(id="h", text="Opening 1 of", label="n", group="held", split="test", language="en", set="s"),
    ]
    with pytest.raises(EmotionCircuitsError, match="Opening 1 of"):
        refuse_seen(preferences(3), held)
    refuse_seen(preferences(1), held)


def test_continuations_are_cut_and_have_no_end_of_a_text():
    model = model_of()
    for one in encoded(model, preferences(2), 5):
        assert len(one.chosen) == 5
        assert model.tokenizer.eos_token_id not in (*one.chosen, *one.rejected)
        assert one.prompt
    (whole,) = encoded(model, [preferences(1)[0].__class__("", "aa", "bb", "g", "s")], 5)
    assert whole.prompt, "a first token has no context"
