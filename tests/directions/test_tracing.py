import pytest
import torch

from emotion_circuits.directions import DirectionSet
from emotion_circuits.directions.trace_sets import average_attention, average_components
from emotion_circuits.directions.tracing import trace
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Ablate, Site, intervene, observe
from emotion_circuits.prompts import Prompt
from families import CONFIGS, tiny_model


def random_directions(model, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = model.n_layers
    return DirectionSet(
        extractor="mean_difference", kind="resid_post", pooling="last", labels=("gratitude", "anger"),
        layers=tuple(range(n)), vectors=torch.randn(2, n, model.d_model, generator=g),
        thresholds=torch.zeros(2, n, dtype=torch.float64), norms=torch.full((n,), 2.0, dtype=torch.float64),
    )  # fmt: skip


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


def prompts():
    rows = []
    for i in range(4):
        for label, text, spans in (("gratitude", f"I thank you {i}", ((2, 7),)), ("neutral", f"I saw {i} cars", ())):
            rows.append(
                Prompt(id=f"{i}{label}", text=text, label=label, group=str(i), split="test", language="en", set="core",
                       spans=spans)
            )  # fmt: skip
    return rows


def test_averages_over_a_set():
    model = tiny_model("llama")
    d = random_directions(model)
    table = average_components(model, prompts(), d, "gratitude", 1)
    singles = [
        trace(model, p.text, d, 1).components("gratitude").set_index("component")["part"] for p in prompts()[::2]
    ]
    first = table.iloc[0]
    assert first.part == pytest.approx(sum(s[first.component] for s in singles) / 4)
    assert first.low <= first.part <= first.high
    attention = average_attention(model, prompts(), d, "gratitude")
    assert len(attention) == model.n_layers * model.n_heads
    one = trace(model, prompts()[0].text, d).attention_from_last
    assert one.sum(-1).allclose(torch.ones(3, 4), atol=1e-5)
    assert (attention.emotion.between(0, 1)).all()
    with pytest.raises(EmotionCircuitsError, match="two groups"):
        average_components(model, prompts()[:2], d, "gratitude")


def test_errors():
    model = tiny_model("llama")
    with pytest.raises(EmotionCircuitsError, match="width"):
        trace(model, "a", random_directions(tiny_model("gpt2", n_embd=16)))
    with pytest.raises(EmotionCircuitsError, match="empty"):
        trace(model, " ", random_directions(model))
