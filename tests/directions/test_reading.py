import pandas as pd
import pytest
import torch

from emotion_circuits.activations import capture
from emotion_circuits.directions import DirectionSet, Reader, fit_directions, pooled_states, save_reader
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import Prompt
from families import tiny_model

LABELS = ("gratitude", "anger", "apology", "neutral")


def prompts(n=24):
    words = dict(zip(LABELS, ("thankful", "furious", "sorry now", "at home"), strict=True))
    return [
        Prompt(
            id=f"{i}-{label}",
            text=f"I am {words[label]} {'x' * (i % 5)}{i}.",
            label=label,
            group=f"g{i}",
            split=("train", "train", "validation", "test")[i % 4],
            language="en",
            set="core",
        )
        for i in range(n)
        for label in LABELS
    ]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    return capture(
        model,
        prompts(),
        tmp_path_factory.mktemp("capture"),
        pooling=("last", "mean", "weighted", "frame"),
        shard_rows=20,
    )


@pytest.mark.parametrize("pooling", ["last", "mean", "weighted", "frame"])
def test_reading_sees_what_was_captured(model, store, pooling):
    states = pooled_states(
        model, store.rows.text.tolist(), store.sinks, pooling=pooling, layers=[0, 2], batch_tokens=60
    )
    for place, layer in enumerate((0, 2)):
        torch.testing.assert_close(states[place], store.pooled("resid_post", pooling, layer), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pooling", ["last", "mean", "weighted", "frame"])
def test_a_text_of_one_token_is_read_as_it_is_captured(tmp_path, pooling, dtype):
    model = tiny_model("llama")
    model.hf.to(dtype)
    short = prompts(1)[0].model_copy(update={"id": "short", "text": "I"})
    captured = capture(model, [short, *prompts(2)], tmp_path, pooling=pooling)
    states = pooled_states(model, captured.rows.text.tolist(), captured.sinks, pooling=pooling, layers=[0, 2])
    assert bool(states[:, 0].isnan().all())
    for place, layer in enumerate((0, 2)):
        there = captured.pooled("resid_post", pooling, layer).float()
        assert torch.equal(states[place].isnan(), there.isnan())
        torch.testing.assert_close(states[place], there, rtol=0, atol=1e-6, equal_nan=True)


def test_a_text_without_a_state_gets_no_label_and_changes_no_other(model, store):
    by_mean = Reader.of(model, fit_directions(store, pooling="mean"), 1)
    table = by_mean.read(["I am furious", "I", "I am at home"])
    assert table.label[1] is None
    assert table.filter(like="score_").isna().all(axis=1).tolist() == [False, True, False]
    pd.testing.assert_frame_equal(
        table.drop(index=1).reset_index(drop=True), by_mean.read(["I am furious", "I am at home"])
    )
    assert Reader.of(model, fit_directions(store), 1).read(["I"]).label[0] is None


def test_reader_predicts_as_its_directions(model, store, tmp_path):
    a = fit_directions(store, extractor="lda", pooling="frame")
    b = fit_directions(store, extractor="lda", pooling="mean")
    save_reader(tmp_path, [(a, 1), (a, 2), (b, 1)], scales=[1.0, 2.0, 4.0], validation={"core": 0.9})
    reader = Reader.load(model, tmp_path)
    texts = store.rows.text.tolist()
    total = sum(
        d.scores(store.pooled("resid_post", d.reading, layer), layer) / s
        for d, layer, s in ((a, 1, 1.0), (a, 2, 2.0), (b, 1, 4.0))
    )
    torch.testing.assert_close(reader.scores(texts), total / 3, rtol=1e-3, atol=1e-3)
    table = reader.read(texts)
    assert list(table.columns) == ["text", "label", "score_gratitude", "score_anger", "score_apology"]
    held = (store.rows.split == "test").to_numpy()
    assert (table.label[held] == store.rows.label[held]).mean() > 0.8


def test_order_and_batching_do_not_matter(model, store):
    reader = Reader.of(model, fit_directions(store), 1)
    texts = store.rows.text.tolist()[:10]
    one = pd.concat([reader.read([t]) for t in texts], ignore_index=True)
    pd.testing.assert_frame_equal(reader.read(texts), one, rtol=1e-4, atol=1e-5)


def test_clear_errors(model, store, tmp_path):
    d = fit_directions(store)
    with pytest.raises(EmotionCircuitsError, match="no layer was chosen"):
        Reader.of(model, d)
    with pytest.raises(EmotionCircuitsError, match="no reader here"):
        Reader.load(model, tmp_path / "nowhere")
    reader = Reader.of(model, d.with_layer(2))
    with pytest.raises(EmotionCircuitsError, match="text 2 is empty"):
        reader.read(["fine", "  "])
    with pytest.raises(EmotionCircuitsError, match="context"):
        reader.read(["x" * 500])
    other = tiny_model("gpt2", n_embd=16)
    with pytest.raises(EmotionCircuitsError, match="width"):
        Reader.of(other, d, 1)
    with pytest.raises(EmotionCircuitsError, match="cannot be read by pooling"):
        pooled_states(model, ["a"], store.sinks, pooling="emotion", layers=[0])
    assert isinstance(DirectionSet.load(d.save(tmp_path)), DirectionSet)
