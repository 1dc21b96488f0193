from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emotion_circuits.activations import ActivationStore, capture, residual_norms
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Site, observe
from emotion_circuits.prompts import Prompt
from families import CONFIGS, tiny_model
from tokenizer_cases import model_of_kind


def prompts():
    rows = []
    for i in range(10):
        for label, text, spans in (
            ("gratitude", f"I thank you {'x' * i}", ((2, 7),)),
            ("neutral", f"I saw you go {'y' * (9 - i)}", ()),
        ):
            rows.append(
                Prompt(
                    id=f"{i}-{label}", text=text, label=label, group=f"g{i}", split="train" if i < 7 else "test",
                    language="en", set="core", spans=spans,
                )
            )  # fmt: skip
    return rows


def one_by_one(model, prompt, site):
    batch = model.tokenize([prompt.text])
    with torch.inference_mode(), observe(model, [site]) as record:
        model.hidden(batch)
    return record[site][0]


@pytest.mark.parametrize("family", list(CONFIGS))
def test_pooled_states_equal_a_forward_of_the_sentence_alone(tmp_path, family):
    model = tiny_model(family)
    rows = prompts()
    store = capture(
        model, rows, tmp_path, kinds=("resid_post", "mlp_out", "z"), batch_tokens=60, shard_rows=7,
        pooling=("last", "emotion", "mean", "weighted", "tokens"),
    )  # fmt: skip
    for index in (0, 7, 16):
        for kind in ("resid_post", "mlp_out", "z"):
            alone = one_by_one(model, rows[index], Site(kind, 1)).flatten(1)
            close = dict(rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(store.tokens(kind, 1, index), alone, **close)
            torch.testing.assert_close(store.pooled(kind, "last", 1)[index], alone[-1], **close)
            torch.testing.assert_close(store.pooled(kind, "mean", 1)[index], alone[1:].mean(0), **close)
            w = torch.arange(len(alone)).float()
            torch.testing.assert_close(
                store.pooled(kind, "weighted", 1)[index], (w[:, None] * alone).sum(0) / w.sum(), **close
            )
            if rows[index].spans:
                torch.testing.assert_close(store.pooled(kind, "emotion", 1)[index], alone[2:7].mean(0), **close)


def test_heads_are_those_of_the_model(tmp_path):
    model = tiny_model("llama")
    store = capture(model, prompts(), tmp_path, kinds=("z", "q", "k", "v"), pooling="last")
    for kind in ("z", "q", "k", "v"):
        alone = one_by_one(model, prompts()[3], Site(kind, 2))
        torch.testing.assert_close(store.heads(kind, "last", 2)[3], alone[-1], rtol=1e-4, atol=1e-5)
    with pytest.raises(EmotionCircuitsError, match="has no heads"):
        store.heads("resid_post", "last", 0)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "llama", "gemma2"])
def test_attention_is_kept_whole_for_every_sentence(tmp_path, family):
    model = tiny_model(family)
    store = capture(
        model, prompts(), tmp_path, kinds=("pattern", "scores", "resid_mid"), pooling=("tokens", "last", "frame"),
        batch_tokens=60, shard_rows=7,
    )  # fmt: skip
    store = ActivationStore.open(tmp_path)
    for kind in ("pattern", "scores"):
        for index in (0, 7, 16):
            alone = one_by_one(model, prompts()[index], Site(kind, 1))
            torch.testing.assert_close(store.attention(kind, 1, index), alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(EmotionCircuitsError, match="no state per token"):
        store.pooled("pattern", "last", 0)
    with pytest.raises(EmotionCircuitsError, match="is not attention"):
        store.attention("resid_mid", 0, 0)


def test_a_frame_changes_nothing_but_its_own_state(tmp_path):
    model = tiny_model("gpt2")
    both = capture(model, prompts(), tmp_path / "a", pooling=("last", "mean", "frame"), frame=" I feel")
    plain = capture(model, prompts(), tmp_path / "b", pooling=("last", "mean"))
    for pooling in ("last", "mean"):
        torch.testing.assert_close(
            both.pooled("resid_post", pooling, 2), plain.pooled("resid_post", pooling, 2), rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(residual_norms(both), residual_norms(plain), rtol=1e-4, atol=1e-5)
    text = prompts()[5].model_copy(update={"text": prompts()[5].text + " I feel"})
    alone = one_by_one(model, text, Site("resid_post", 2))[-1]
    torch.testing.assert_close(both.pooled("resid_post", "frame", 2)[5], alone, rtol=1e-4, atol=1e-5)
    assert both.frame == " I feel"
    assert plain.frame is None
    with pytest.raises(EmotionCircuitsError, match="capture of something else"):
        capture(model, prompts(), tmp_path / "a", pooling=("last", "mean", "frame"), frame=" So")


def test_interrupted_capture_goes_on(tmp_path):
    model = tiny_model("llama")
    whole = capture(model, prompts(), tmp_path / "a", shard_rows=6)
    again = capture(model, prompts(), tmp_path / "b", shard_rows=6)
    shards = sorted((tmp_path / "b").glob("shard-*"))
    before = {s.name: s.stat().st_mtime_ns for s in shards}
    shards[1].unlink()
    shards[2].write_bytes(b"torn")
    (tmp_path / "b" / "manifest.json").unlink()
    with pytest.raises(EmotionCircuitsError, match="no finished capture"):
        ActivationStore.open(tmp_path / "b")
    again = capture(model, prompts(), tmp_path / "b", shard_rows=6)
    after = {s.name: s.stat().st_mtime_ns for s in sorted((tmp_path / "b").glob("shard-*"))}
    assert [n for n in before if before[n] == after[n]] == [n for i, n in enumerate(before) if i not in (1, 2)]
    for layer in whole.layers:
        assert torch.equal(whole.pooled("resid_post", "last", layer), again.pooled("resid_post", "last", layer))
    name = shards[1].name
    assert again.manifest["hash"][:12] in name
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_neutral_rows_get_a_matched_position_or_none(tmp_path):
    rows = prompts()
    stray = rows[1].model_copy(update={"id": "stray", "group": "alone"})
    short = rows[1].model_copy(update={"id": "short", "text": "I"})
    store = capture(tiny_model("llama"), [*rows, stray, short], tmp_path)
    table = store.rows.set_index("id")
    assert list(table.loc["0-neutral", "emotion_tokens"]) == list(table.loc["0-gratitude", "emotion_tokens"])
    assert table.loc["0-neutral", "matched_to"] == "0-gratitude"
    assert not table.loc["stray", "has_emotion"]
    assert not table.loc["short", "has_emotion"]
    states = store.pooled("resid_post", "emotion", 0)
    assert torch.isnan(states).all(-1).tolist() == [False] * 20 + [True, True]


def test_bad_arguments_and_overflow(tmp_path):
    model = tiny_model("llama")
    with pytest.raises(EmotionCircuitsError, match="pooling 'max'"):
        capture(model, prompts(), tmp_path / "a", pooling="max")
    with pytest.raises(EmotionCircuitsError, match="add pooling 'tokens'"):
        capture(model, prompts(), tmp_path / "a", kinds=("pattern",))
    with pytest.raises(EmotionCircuitsError, match="kind 'logits' is unknown"):
        capture(model, prompts(), tmp_path / "a", kinds=("logits",))
    with pytest.raises(EmotionCircuitsError, match="occurs twice"):
        capture(model, [prompts()[0], prompts()[0]], tmp_path / "a")
    model.hf.model.layers[1].mlp.down_proj.weight.fill_(float("inf"))
    with pytest.raises(EmotionCircuitsError, match="NaN or infinity"):
        capture(model, prompts(), tmp_path / "c")


def test_bytes_read_directly_are_those_that_were_written(tmp_path):
    model = tiny_model("llama")
    model.hf.to(torch.bfloat16)
    store = capture(model, prompts(), tmp_path, pooling=("last", "tokens"), shard_rows=6)
    table = store.rows.reset_index(drop=True)
    for shard, path in enumerate(sorted(tmp_path.glob("shard-*"))):
        kept = load_file(path)["mlp_out.last"]
        assert kept.dtype == torch.bfloat16
        rows = table[table["shard"] == shard].sort_values("place").index.to_numpy().copy()
        for layer in store.layers:
            assert torch.equal(store.pooled("mlp_out", "last", layer)[torch.tensor(rows)], kept[layer])


def read_everything(store):
    """The last tensor's last layer is what a file that was cut off lacks."""
    for kind in store.kinds:
        for pooling in store.poolings:
            store.pooled(kind, pooling, store.layers[-1])
        store.token_norms(kind, store.layers[-1])


def test_damaged_shards_are_named(tmp_path):
    capture(tiny_model("llama"), prompts(), tmp_path, shard_rows=6)
    shards = sorted(tmp_path.glob("shard-*"))
    whole = shards[1].read_bytes()
    for damage in (whole[:-40], whole[:4], b"\xff" * 64):
        shards[1].write_bytes(damage)
        with pytest.raises(EmotionCircuitsError, match=shards[1].name):
            read_everything(ActivationStore.open(tmp_path))
    shards[1].unlink()
    with pytest.raises(EmotionCircuitsError, match="run the capture again"):
        ActivationStore.open(tmp_path).pooled("resid_post", "last", 0)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_a_sentence_beyond_the_model_s_positions_is_named(family: str, tmp_path: Path) -> None:
    model = tiny_model(family, max_position_embeddings=24) if family != "gpt2" else tiny_model(family, n_positions=24)
    rows = [sentence("short", "It opens."), sentence("fits-alone", "x" * 20), sentence("letter", "x" * 25)]
    with pytest.raises(EmotionCircuitsError, match=rf"sentence letter: 25 tokens exceed tiny-{family}'s context of 24"):
        capture(model, rows, pooling=("mean",), folder=tmp_path / "a")
    with pytest.raises(EmotionCircuitsError, match="sentence fits-alone: 20 tokens and 7 new ones exceed"):
        capture(model, rows[:2], pooling=("frame",), folder=tmp_path / "b")


def test_a_tokenizer_that_ends_texts_changes_no_pooling(tmp_path: Path) -> None:
    rows = [sentence("a", "She walked the walk"), sentence("b", "the 猫 walked")]
    pools = ("last", "mean", "weighted", "frame")
    plain, ended = (
        capture(model_of_kind("prepended", begins=True, ends=ends), rows, pooling=pools, folder=tmp_path / str(ends))
        for ends in (False, True)
    )
    for pool in pools:
        for layer in plain.layers:
            torch.testing.assert_close(
                ended.pooled("resid_post", pool, layer), plain.pooled("resid_post", pool, layer), equal_nan=True
            )


def sentence(name: str, text: str) -> Prompt:
    return Prompt(id=name, text=text, label="neutral", group=name, split="train", language="en", set="m", spans=[])
