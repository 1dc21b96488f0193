"""What a corpus lacks is said before the model is run."""

import json

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.stations.capture.station import study_prompts
from emotion_circuits.study import load_config


@pytest.mark.parametrize(("lacking", "named"), [("train", "training"), ("validation", "validation"), ("test", "test")])
def test_a_corpus_without_a_split_is_refused(lacking, named, tmp_path):
    rows = [
        {
            "id": f"{label}{split}",
            "text": f"A {label} text for {split}.",
            "label": label,
            "group": split,
            "split": split,
        }
        for label in ("anger", "neutral")
        for split in ("train", "validation", "test")
        if split != lacking
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({**row, "language": "en", "set": "own"}) + "\n" for row in rows))
    config = load_config(overrides={"prompts": str(path), "emotions": "anger"})
    with pytest.raises(EmotionCircuitsError, match=f"no {named} sentence is labelled anger, neutral; add some"):
        study_prompts(config)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("seed", True, "seed: Input should be a valid integer"),
        ("seed", "3", "seed: Input should be a valid integer"),
        ("steering.batch_rows", 10**20, "larger than any setting"),
        ("steering.temperature", float("inf"), r"steering\.temperature: Input should be a finite number"),
        ("steering.raw_alphas", [float("nan")], r"steering\.raw_alphas\.0: Input should be a finite number"),
        ("circuits.thorough", 1, r"circuits\.thorough: Input should be a valid boolean"),
        ("alignment.alpha", True, "alignment: unknown key"),
    ],
)
def test_a_setting_of_another_type_is_refused(key, value, part):
    with pytest.raises(EmotionCircuitsError, match=part):
        load_config(overrides={key: value})


def test_a_lone_value_is_a_list_of_one():
    config = load_config(overrides={"prompts": "core", "steering.alphas": 0.2, "steering.layers": [[0.1, 0.2], 0.3]})
    assert (config.prompts, config.steering.alphas, config.steering.layers) == (("core",), (0.2,), ((0.1, 0.2), 0.3))
