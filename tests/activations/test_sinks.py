"""One rule for attention sinks, seen from every place that pools: a planted massive token, and a word that begins its text."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from emotion_circuits.activations import SINK, capture, capture_moments, left_out, measure_sinks, residual_norms
from emotion_circuits.activations.sinks import Sinks, median_norm
from emotion_circuits.directions import Reader, fit_directions, pooled_states, trace
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.prompts import Prompt
from families import tiny_hf

FILLERS = ["you", "for", "it", "so", "very", "glad", "here", "now", "the", "day", "long", "again"]
WORDS = [*FILLERS, "Thank", "I", "am", "was", "angry", "at", "home", "today", "massive"]
LABELS = ("gratitude", "anger", "neutral")
PER_TOKEN = ("last", "emotion", "mean", "weighted", "frame", "tokens")


def word_model(prefix=(), **planted):
    """A tiny random Llama that knows whole words; ``massive`` is embedded a hundred times as long as the others."""
    vocabulary = {w: i for i, w in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    hf = tiny_hf("llama", tie_word_embeddings=False)
    with torch.no_grad():
        for word, times in planted.items():
            hf.get_input_embeddings().weight[vocabulary[word]] *= times
    return LanguageModel(hf, fast, family_of(hf.config), "tiny-words", prefix=prefix)


def prompt(i, label, text, word=None):
    start = text.find(word) if word else -1
    return Prompt(
        id=f"{i}-{label}", text=text, label=label, group=f"g{i}", split=("train", "train", "validation", "test")[i % 4],
        language="en", set="core", spans=((start, start + len(word)),) if word else (),
    )  # fmt: skip


def prompts(n=24):
    rows = []
    for i in range(n):
        end = " ".join(np.random.default_rng(i).choice(FILLERS, 2 + i % 3))
        massive = " massive" if i % 3 == 0 else ""
        begins = i % 2 == 0
        rows.append(prompt(i, "gratitude", f"Thank you{massive} {end}" if begins else f"I Thank you {end}", "Thank"))
        rows.append(prompt(i, "anger", f"I am angry{massive} {end}", "angry"))
        rows.append(prompt(i, "neutral", f"I was{massive} at home {end}"))
    return rows


def by_hand(store, pooling, layer, kind="resid_post"):
    """Pooled states from the token states that were kept, with NumPy alone."""
    median = store.manifest["sinks"]["medians"][kind][store.layers.index(layer)]
    out = []
    for i, row in store.rows.reset_index(drop=True).iterrows():
        x = store.tokens(kind, layer, i).double().numpy()
        keep = np.linalg.norm(x, axis=1) <= 4 * median
        keep[0] = False
        weight = {"mean": np.ones(len(x)), "weighted": np.arange(len(x)), "last": np.arange(len(x)) == len(x) - 1}.get(
            pooling, np.isin(np.arange(len(x)), row["emotion_tokens"])
        )
        weight = weight * keep
        out.append(weight @ x / weight.sum() if weight.sum() else np.full(x.shape[1], np.nan))
    return np.stack(out)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    model = word_model(massive=100.0)
    return model, capture(
        model, prompts(), tmp_path_factory.mktemp("planted"), kinds=("resid_post", "mlp_out"), pooling=PER_TOKEN
    )


@pytest.mark.parametrize("pooling", ["last", "emotion", "mean", "weighted"])
def test_a_massive_token_and_the_first_never_enter_a_pooled_state(planted, pooling):
    _, store = planted
    for layer in store.layers:
        found = store.pooled("resid_post", pooling, layer).double().numpy()
        np.testing.assert_allclose(found, by_hand(store, pooling, layer), rtol=1e-4, atol=1e-5, equal_nan=True)
        assert np.nanmax(np.linalg.norm(found, axis=1)) < SINK * float(residual_norms(store)[layer])


def test_the_unit_is_the_median_of_tokens_that_are_no_sinks(planted):
    _, store = planted
    rows = store.rows.reset_index(drop=True)
    neutral = rows.index[(rows.label == "neutral") & (rows.split == "train")]
    for layer in store.layers:
        norms = np.concatenate([store.tokens("resid_post", layer, i)[1:].norm(dim=1).numpy() for i in neutral])
        unit = float(residual_norms(store)[layer])
        assert unit == pytest.approx(np.median(norms[norms <= 4 * unit]), rel=1e-4)
        assert norms.max() > 10 * unit  # the planted one is there, and does not count
        assert np.sqrt((norms**2).mean()) > 3 * unit
    assert residual_norms(store, kind="mlp_out").shape == (len(store.layers),)


def test_what_is_left_out_is_counted(planted):
    _, store = planted
    rows = store.rows.reset_index(drop=True)
    table = left_out(store)
    assert set(table["kind"]) == {"resid_post", "mlp_out"}
    at_massive = [
        [t.split()[i] for i in at] == ["massive"] for t, at in zip(rows.text, rows.emotion_tokens, strict=True)
    ]
    massive = int(rows.text.str.split().map(lambda words: words[1:].count("massive")).sum())
    begins = int((rows.text.str.startswith("Thank") & (rows.label == "gratitude")).sum())
    ends = int(rows.text.str.endswith("massive").sum())
    assert massive > 0
    assert begins > 0
    assert ends == 0
    for row in table.itertuples():
        assert (row.tokens, row.first, row.longer, row.rows) == (rows.n_tokens.sum(), len(rows), massive, len(rows))
        assert row.without_mean == row.without_weighted == row.without_last == row.without_frame == 0
        assert row.without_emotion == begins + sum(at_massive)
    assert rows[rows.emotion_is_sink].text.str.startswith("Thank").all()
    fitted = fit_directions(store, extractor="token", pooling="emotion")
    used = rows[(rows.split == "train") & rows.has_emotion & ~np.array(at_massive)].groupby("label").size()
    assert fitted.fit["rows"] == {label: int(used[label]) for label in fitted.names}
    assert fitted.fit["excluded_without_pooled_token"] == int((rows.split == "train").sum()) - int(used.sum())


@pytest.mark.parametrize("pooling", ["last", "mean", "frame"])
def test_a_text_of_nothing_but_sinks_has_no_state(tmp_path, pooling):
    short = [prompt(90, "gratitude", "Thank", "Thank"), prompt(91, "anger", "I massive"), prompt(92, "anger", "I here")]
    store = capture(word_model(massive=100.0), [*prompts(), *short], tmp_path, pooling=(pooling,))
    states = store.pooled("resid_post", pooling, 1)
    assert states.isnan().all(-1).tolist() == [False] * 72 + [True, True, False]
    table = left_out(store)
    assert (table[f"without_{pooling}"] == 2).all()


def test_a_last_token_that_is_massive_is_not_a_state(tmp_path):
    store = capture(word_model(massive=100.0), [*prompts(), prompt(90, "anger", "I am massive")], tmp_path)
    assert bool(store.pooled("resid_post", "last", 1)[-1].isnan().all())
    assert bool(store.pooled("resid_post", "mean", 1)[-1].isfinite().all())


def test_neither_batches_nor_shards_decide_what_is_a_sink(tmp_path):
    rows = prompts()
    stores = [
        capture(word_model(massive=100.0), rows, tmp_path / str(i), pooling=PER_TOKEN, **sizes)
        for i, sizes in enumerate(
            ({"batch_tokens": 16}, {"batch_tokens": 4096}, {"batch_tokens": 300, "shard_rows": 5})
        )
    ]
    first = stores[0]
    for other in stores[1:]:
        assert other.manifest["sinks"] == first.manifest["sinks"]
        columns = ["id", "emotion_tokens", "has_emotion", "emotion_is_sink"]
        pd.testing.assert_frame_equal(other.rows[columns], first.rows[columns])
        pd.testing.assert_frame_equal(left_out(other), left_out(first))
        for pooling in PER_TOKEN[:-1]:
            a, b = (s.pooled("resid_post", pooling, 2) for s in (first, other))
            assert torch.equal(a.isnan(), b.isnan())
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_an_interrupted_capture_keeps_what_it_measured(tmp_path):
    model = word_model(massive=100.0)
    whole = capture(model, prompts(), tmp_path, shard_rows=30)
    shards = sorted(tmp_path.glob("shard-*"))
    kept = [s.read_bytes() for s in shards]
    shards[1].unlink()
    again = capture(model, prompts(), tmp_path, shard_rows=30, batch_tokens=64)
    assert again.manifest["sinks"] == whole.manifest["sinks"]
    assert shards[0].read_bytes() == kept[0]


@pytest.mark.parametrize("pooling", ["last", "mean", "weighted", "frame"])
def test_streams_and_readers_leave_out_the_same(planted, pooling):
    model, store = planted
    texts = store.rows.text.tolist()
    read = pooled_states(model, texts, store.sinks, pooling=pooling, layers=[0, 2], batch_tokens=40)
    for place, layer in enumerate((0, 2)):
        torch.testing.assert_close(
            read[place], store.pooled("resid_post", pooling, layer), rtol=1e-4, atol=1e-5, equal_nan=True
        )
    found = capture_moments(model, prompts(), LABELS, pooling=pooling, sinks=store.sinks, chunk=11)["resid_post"]
    for k, label in enumerate(LABELS):
        for layer in store.layers:
            x = store.pooled("resid_post", pooling, layer).double()[
                torch.tensor((store.rows.label == label).to_numpy())
            ]
            there = ~x.isnan().any(-1)
            assert int(found.count[k, layer]) == int(there.sum())
            assert int(found.excluded[k, layer]) == int((~there).sum())
            torch.testing.assert_close(found.mean[k, layer], x[there].mean(0), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.covariance(label)[layer], x[there].T.cov(), rtol=1e-3, atol=1e-4)


def test_moments_measure_on_the_beginning_of_the_stream_whatever_the_chunk():
    rows = [*prompts(), *(p.model_copy(update={"id": p.id + "b"}) for p in prompts())]
    a, b = (
        capture_moments(word_model(massive=100.0), iter(rows), LABELS, pooling="mean", chunk=c, batch_tokens=t)
        for c, t in ((7, 30), (500, 900))
    )
    assert a["resid_post"].sinks == b["resid_post"].sinks
    assert a["resid_post"].sinks.sentences == 128
    assert torch.equal(a["resid_post"].count, b["resid_post"].count)


def reference_vectors(x, y, groups, names):
    """Every extractor with NumPy and scikit-learn."""
    neutral = len(names) - 1
    means = np.stack([x[y == k].mean(0) for k in range(len(names))])
    difference = means[:-1] - means[-1]
    pairs = []
    for k in range(neutral):
        both = [
            g for g in np.unique(groups) if ((groups == g) & (y == k)).any() and ((groups == g) & (y == neutral)).any()
        ]
        pairs.append(
            np.stack([x[(groups == g) & (y == k)].mean(0) - x[(groups == g) & (y == neutral)].mean(0) for g in both])
        )
    axes = [np.linalg.svd(p, full_matrices=False)[2][0] for p in pairs]
    few = int((y == neutral).sum())
    fitted = PCA(min(10, few)).fit(x[y == neutral])
    centred = fitted.components_[fitted.explained_variance_ > 1e-12 * fitted.explained_variance_[0]]
    centred = centred[: few - 2]  # of what so few rows span, something is left
    within = x - means[y]
    scale = np.sqrt((within**2).mean(0))
    shrunk = 0.8 * (within / scale).T @ (within / scale) / len(x) + 0.2 * np.eye(x.shape[1])
    spread = x.std(0, ddof=1)
    probe = LogisticRegression(C=0.01, max_iter=2000, tol=1e-6).fit((x - x.mean(0)) / spread, y)
    return {
        "mean_difference": difference,
        "paired": np.stack([p.mean(0) for p in pairs]),
        "pca": np.stack([axis * (p.mean(0) @ axis) for axis, p in zip(axes, pairs, strict=True)]),
        "denoised": difference - difference @ centred.T @ centred,
        "lda": np.linalg.solve(shrunk, (difference / scale).T).T / scale,
        "logistic": (probe.coef_[:-1] - probe.coef_[-1]) / spread,
    }


def test_every_extractor_is_what_numpy_and_sklearn_make_of_the_tokens(planted):
    _, store = planted
    rows = store.rows.reset_index(drop=True)
    for pooling in ("mean", "emotion"):
        for layer in (0, 2):
            x = by_hand(store, pooling, layer)
            keep = (rows.split == "train").to_numpy() & ~np.isnan(x).any(1)
            y = rows.label[keep].map(LABELS.index).to_numpy()
            expected = reference_vectors(x[keep], y, rows.group[keep].to_numpy(), LABELS)
            expected |= {"token": expected["mean_difference"]} if pooling == "emotion" else {}
            for extractor, vectors in expected.items():
                found = fit_directions(store, extractor=extractor, pooling=pooling, labels=LABELS[:-1])
                got = found.vectors[:, layer].double().numpy()
                close = np.abs(got - vectors).max() / np.abs(vectors).max()
                assert close < (2e-2 if extractor == "logistic" else 1e-3), (extractor, pooling, layer, close)


def test_with_a_prefix_a_sentence_that_begins_with_its_word_is_used(tmp_path):
    plain = capture(word_model(), prompts(), tmp_path / "a")
    begun = capture(word_model(prefix=(1,)), prompts(), tmp_path / "b")
    assert plain.manifest["hash"] != begun.manifest["hash"]
    assert int(plain.rows.emotion_is_sink.sum()) == 12
    assert not begun.rows.emotion_is_sink.any()
    at = begun.rows.text.str.startswith("Thank").to_numpy()
    assert begun.rows.emotion_tokens[at].map(list).tolist() == [[1]] * 12
    assert bool(begun.pooled("resid_post", "emotion", 1)[torch.tensor(at)].isfinite().all())
    assert (left_out(begun)["first"] == 0).all()
    assert (left_out(begun)["tokens"] == left_out(plain)["tokens"]).all()


def test_readers_and_traces_begin_texts_as_their_capture_did(tmp_path):
    model, plain = word_model(prefix=(1,)), word_model()
    store = capture(model, prompts(), tmp_path, pooling=("last", "mean", "frame"))
    directions = fit_directions(store, pooling="mean")
    table = Reader.of(model, directions, 1).read(["Thank", "I am angry"])
    assert table.label.notna().all()  # one word is enough: it is not the sink
    with pytest.raises(EmotionCircuitsError, match="give the model that prefix"):
        Reader.of(plain, directions, 1).read(["Thank"])
    assert trace(model, "Thank you for it", fit_directions(store), 1).sinks == (0,)
    read = pooled_states(model, store.rows.text.tolist(), store.sinks, pooling="frame", layers=[1])
    torch.testing.assert_close(read[0], store.pooled("resid_post", "frame", 1), rtol=1e-4, atol=1e-5)


norms = arrays(np.float64, st.integers(5, 60), elements=st.floats(1.0, 3.9))


@given(norms, st.floats(1e-3, 1e3), st.integers(0, 2))
def test_the_median_ignores_outliers_and_has_the_unit_of_the_states(x, scale, outliers):
    clean = median_norm(x)
    assert clean == np.median(x)  # none is four times another
    assert median_norm(x * scale) == pytest.approx(clean * scale)
    assert median_norm(np.append(x, [1e4] * outliers)) == clean
    assert median_norm(x[::-1]) == clean


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e6)))
def test_what_the_median_kept_is_what_the_rule_keeps(x):
    median = median_norm(x)
    inside = x[x <= SINK * median]
    assert median == np.median(inside) if len(inside) else median == np.median(x)
    assert x.min() <= median <= x.max()


def test_sinks_go_through_json_and_name_what_is_missing():
    sinks = measure_sinks(word_model(massive=100.0), ["I am here", "I was at home today"], ("mlp_out",), (0, 2))
    assert Sinks.from_json(sinks.to_json()) == sinks
    assert (sinks.sentences, sinks.tokens) == (2, 6)
    with pytest.raises(EmotionCircuitsError, match="resid_mid of layer 0"):
        sinks.median("resid_mid", 0)
    with pytest.raises(EmotionCircuitsError, match="damaged"):
        Sinks.from_json({"factor": 4})
    short = sinks.to_json()
    short["medians"] = {kind: values[:-1] for kind, values in short["medians"].items()}
    with pytest.raises(EmotionCircuitsError, match=r"damaged \(\d+ medians of resid_post for \d+ layers\)"):
        Sinks.from_json(short)
    with pytest.raises(EmotionCircuitsError, match="at least two tokens"):
        measure_sinks(word_model(), ["Thank"])
