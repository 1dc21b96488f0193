import pytest
import torch

from emotion_circuits.directions import load_trace, save_trace
from emotion_circuits.directions.last_token import last_token_attention, last_token_parts
from emotion_circuits.directions.trace_reading import reading_components
from emotion_circuits.directions.trace_sets import average_attention, average_components
from emotion_circuits.directions.trace_text import trace
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Ablate, Site, intervene, observe
from emotion_circuits.prompts import Prompt
from families import CONFIGS, tiny_model
from trace_cases import prompts, random_directions


@pytest.mark.parametrize("family", list(CONFIGS))
@pytest.mark.parametrize("layer", [0, 2])
def test_parts_sum_to_the_residual_stream(family, layer):
    model = tiny_model(family)
    d = random_directions(model)
    found = trace(model, "I thank you.", d, layer)
    with torch.inference_mode(), observe(model, [Site("resid_post", layer)]) as record:
        model.hidden(model.tokenize(["I thank you."]))
    states = record[Site("resid_post", layer)][0]
    for label in d.labels:
        expected = float(states[-1] @ d.unit(label, layer)) / 2.0
        assert found.components(label)["part"].sum() == pytest.approx(expected, abs=1e-4)
    assert found.gap < 1e-4
    assert (found.heads is None) == (family in ("gemma2", "gemma3", "olmo2"))
    assert bool(found.note) == (found.heads is None)
    assert len(found.logit_lens) == model.n_layers


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_a_heads_part_is_what_is_missing_without_it(family):
    model = tiny_model(family)
    d = random_directions(model)
    site, head, last = Site("attn_out", 1), 3, -1

    def attention():
        with torch.inference_mode(), observe(model, [site]) as record:
            model.hidden(model.tokenize(["I thank you."]))
        return record[site][0, last]

    whole = attention()
    with intervene(model, [Ablate(site=Site("z", 1, head))]):
        without = attention()
    expected = float((whole - without) @ d.unit("anger", 2)) / 2.0
    assert float(trace(model, "I thank you.", d, 2).heads[1, 1, head, last]) == pytest.approx(expected, abs=1e-5)


def test_logit_lens_at_the_last_layer_is_the_model():
    for family in ("llama", "gpt2", "gemma2"):
        model = tiny_model(family)
        found = trace(model, "I thank you.", random_directions(model))
        with torch.inference_mode():
            p = torch.softmax(model.logits(model.tokenize(["I thank you."]), last_only=True)[0], -1)
        assert found.logit_lens[-1][0][1] == pytest.approx(float(p.max()), rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_batched_parts_are_those_of_single_traces(family):
    model = tiny_model(family)
    d = random_directions(model)
    texts = ["I thank you a lot", "no", "We go out"]
    units = torch.stack([d.unit(label, 1) for label in d.labels]) / d.norm(1)
    names, parts = last_token_parts(model, texts, units, 1)
    for i, text in enumerate(texts):
        for k, label in enumerate(d.labels):
            single = trace(model, text, d, 1).components(label).set_index("component")["part"]
            assert set(single.index) == {n.name for n in names}
            for column, name in enumerate(names):
                assert float(parts[i, k, column]) == pytest.approx(single[name.name], abs=1e-5)
    attention = last_token_attention(model, texts)
    for i, text in enumerate(texts):
        one = trace(model, text, d).attention_from_last
        torch.testing.assert_close(attention[i, :, :, : one.shape[-1]], one, rtol=1e-4, atol=1e-5)
        assert float(attention[i, :, :, one.shape[-1] :].abs().sum()) == 0


def test_the_middle_of_a_block_lies_between():
    model = tiny_model("llama")
    d = random_directions(model)
    found = trace(model, "I thank you.", d, 2)
    moved = (found.middle[1, 2] - found.attention[1, 2]) * d.norm(2)
    with torch.inference_mode(), observe(model, [Site("resid_pre", 2)]) as record:
        model.hidden(model.tokenize(["I thank you."]))
    expected = record[Site("resid_pre", 2)][0].double() @ d.unit("anger", 2).double()
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)
    assert trace(tiny_model("gpt_neox"), "I", random_directions(tiny_model("gpt_neox"))).middle is None


def test_averages_over_a_set():
    model = tiny_model("llama")
    d = random_directions(model)
    nulls = torch.randn(9, model.d_model, generator=torch.Generator().manual_seed(4))
    table = average_components(model, prompts(), d, "gratitude", 1, nulls=nulls).set_index("component")
    for column, label in (("part", "gratitude"), ("neutral", "neutral")):
        singles = [
            trace(model, p.text, d, 1).components("gratitude").set_index("component")["part"]
            for p in prompts()
            if p.label == label
        ]
        for name in table.index[:5]:
            assert table.loc[name, column] == pytest.approx(sum(s[name] for s in singles) / 4, abs=1e-6)
    assert (table.difference - (table.part - table.neutral)).abs().max() < 1e-9
    assert (table.low <= table.difference).all()
    assert (table.null_low <= table.null_high).all()
    with pytest.raises(EmotionCircuitsError, match="two groups"):
        average_components(model, prompts()[:2], d, "gratitude", 1)


def test_attention_is_compared_at_equal_positions_only():
    model = tiny_model("llama")
    d = random_directions(model)
    rows = []
    for i, (felt, span, calm) in enumerate(
        (
            ("I thank you 0", (2, 7), "I saw 12 cars"),
            ("I thank you 1", (2, 7), "I saw 34 cats"),
            ("I thank you so", (2, 7), "no"),  # no neutral sentence of its length
            ("oh I thank", (5, 10), "1234567890"),  # the last token would attend to itself
        )
    ):
        for label, text, spans in (("gratitude", felt, (span,)), ("neutral", calm, ())):
            rows.append(
                Prompt(id=f"{i}{label}", text=text, label=label, group=str(i), split="test", language="en", set="core",
                       spans=spans)
            )  # fmt: skip
    table = average_attention(model, rows, "gratitude")
    assert len(table) == model.n_layers * model.n_heads
    assert set(table.excluded) == {2}
    assert set(table.n) == {2}
    for column, label in (("attention", "gratitude"), ("neutral", "neutral")):
        texts = [r.text for r in rows[:4] if r.label == label]
        mass = [trace(model, t, d).attention_from_last[1, 2, 2:7].sum() for t in texts]
        row = table[(table.layer == 1) & (table["head"] == 2)].iloc[0]
        assert row[column] == pytest.approx(float(sum(mass)) / 2, abs=1e-5)
    with pytest.raises(EmotionCircuitsError, match="same token length"):
        average_attention(model, rows[4:], "gratitude")


def test_massive_activations_are_sinks():
    model = tiny_model("llama")
    d = random_directions(model)
    assert trace(model, "I go", d).sinks == (0,)
    token = int(model.tokenize(["g"]).input_ids[0, -1])
    with torch.no_grad():
        model.hf.model.embed_tokens.weight[token] *= 1000
    assert trace(model, "I go", d).sinks == (0, 2)


def test_who_reads_a_direction_is_found_where_it_is_planted():
    """A head whose value weights see only one direction changes when that direction is taken out, and others do not."""
    model = tiny_model("gpt2", n_embd=32)
    d = random_directions(model)
    block, unit = model.blocks[2], d.unit("gratitude", 1)
    width = model.d_head
    with torch.no_grad():
        c = block.attn.c_attn
        values = c.weight[:, 64:]
        kept = values.clone()
        # The head's values come from the direction alone, all other values are blind to it.
        kept -= unit[:, None] @ (unit[None] @ values)
        kept[:, :width] = unit[:, None] * 3
        c.weight[:, 64:] = kept
    table = reading_components(model, prompts(), d, "gratitude", 1, draws=12, seed=3).set_index("component")
    heads = table[table.index.str.contains("H")]
    assert heads.ratio.idxmax() == "L2H0"
    assert heads.loc["L2H0", "difference"] > heads.loc["L2H0", "null_high"]
    assert (heads.drop("L2H0").ratio < heads.ratio.max() / 2).all()
    with pytest.raises(EmotionCircuitsError, match="last one"):
        reading_components(model, prompts(), d, "gratitude", 2)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_saved_trace_is_the_same(tmp_path, family):
    model = tiny_model(family)
    found = trace(model, "I thank you.", random_directions(model), 1)
    save_trace(found, tmp_path / "a" / "one")
    back = load_trace(tmp_path / "a" / "one")
    assert torch.equal(back.projection, found.projection)
    assert back.tokens == found.tokens
    assert back.logit_lens == found.logit_lens
    assert back.components("anger").equals(found.components("anger"))
    (tmp_path / "a" / "one.safetensors").write_bytes(b"torn")
    with pytest.raises(EmotionCircuitsError, match="no readable trace"):
        load_trace(tmp_path / "a" / "one")


def test_errors():
    model = tiny_model("llama")
    with pytest.raises(EmotionCircuitsError, match="width"):
        trace(model, "a", random_directions(tiny_model("gpt2", n_embd=16)))
    with pytest.raises(EmotionCircuitsError, match="empty"):
        trace(model, " ", random_directions(model))
