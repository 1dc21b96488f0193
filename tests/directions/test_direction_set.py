import pytest
import torch
from safetensors.torch import load_file, save_file

from direction_cases import planted_store
from emotion_circuits.activations.store import tensor_name
from emotion_circuits.directions import DirectionSet, fit_directions
from emotion_circuits.errors import EmotionCircuitsError


def test_save_and_load(tmp_path):
    found = fit_directions(planted_store(tmp_path / "c"), extractor="lda", options={"shrinkage": 0.3}).with_layer(1)
    path = found.save(tmp_path / "directions")
    back = DirectionSet.load(path)
    assert torch.equal(back.vectors, found.vectors)
    assert torch.equal(back.thresholds, found.thresholds)
    assert torch.equal(back.norms, found.norms)
    assert (back.labels, back.layers, back.chosen_layer, back.reading) == (found.labels, found.layers, 1, "last")
    assert back.fit["options"] == {"shrinkage": 0.3}
    assert back.fit["rows"] == {"gratitude": 24, "anger": 24, "apology": 24, "neutral": 24}
    # The reader's view: without its tensors there is a clear error, not half a set.
    path.with_suffix(".safetensors").unlink()
    with pytest.raises(EmotionCircuitsError, match="no saved directions"):
        DirectionSet.load(path)


def test_damaged_files_are_named(tmp_path):
    path = fit_directions(planted_store(tmp_path / "c")).save(tmp_path / "d")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match="damaged"):
        DirectionSet.load(path)


def test_unit_norm_and_errors(tmp_path):
    found = fit_directions(planted_store(tmp_path))
    assert float(found.unit("anger", 0).norm()) == pytest.approx(1, abs=1e-6)
    with pytest.raises(EmotionCircuitsError, match="no direction for"):
        found.vector("joy", 0)
    with pytest.raises(EmotionCircuitsError, match="layers"):
        found.vector("anger", 9)


def test_wrong_shapes_and_nan_are_refused(tmp_path):
    from dataclasses import replace

    found = fit_directions(planted_store(tmp_path))
    with pytest.raises(EmotionCircuitsError, match="do not fit"):
        replace(found, thresholds=found.thresholds[:, :1])
    with pytest.raises(EmotionCircuitsError, match="NaN"):
        replace(found, vectors=found.vectors * float("nan"))


def test_token_needs_emotion_pooling(tmp_path):
    with pytest.raises(EmotionCircuitsError, match="pooling='emotion'"):
        fit_directions(planted_store(tmp_path), extractor="token")


def test_no_neutral_rows(tmp_path):
    store = planted_store(tmp_path)
    store.rows = store.rows.assign(label=store.rows.label.replace("neutral", "joy"))
    with pytest.raises(EmotionCircuitsError, match="neutral"):
        fit_directions(store)


@pytest.mark.parametrize(
    ("pooling", "lacking", "message"),
    [
        ("last", "last", r"24 sentences of 'gratitude', but no state of pooling 'last' at layer 0: .* attention sinks"),
        ("emotion", "emotion", r"24 sentences of 'gratitude', but .* 'emotion' at layer 0: none has a marked word"),
        # Directions of words are read off every token of a text.
        ("emotion", "mean", r"24 sentences of 'gratitude', but no state of pooling 'mean' at layer 0: .* longer ones"),
    ],
)
def test_a_label_whose_sentences_have_no_state_says_why(tmp_path, pooling, lacking, message):
    store = planted_store(tmp_path, poolings=("last", "mean", "emotion"))
    (file,) = tmp_path.glob("shard-*.safetensors")
    tensors = load_file(file)
    tensors[tensor_name("resid_post", lacking)][:, (store.rows["label"] == "gratitude").to_numpy()] = float("nan")
    save_file(tensors, file)
    with pytest.raises(EmotionCircuitsError, match=message):
        fit_directions(store, pooling=pooling)
