"""Reruns of one token against whole runs of the model."""

import numpy as np
import pytest
import torch

from emotion_circuits.directions import last_token_changes as module
from emotion_circuits.directions.last_token_changes import last_token_changes
from emotion_circuits.directions.trace_reading import ask_readers
from emotion_circuits.directions.trace_sets import ask_writers
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Add, Positions, Site, intervene, observe
from families import CONFIGS, tiny_model
from trace_cases import prompts, random_directions

TEXTS = ["I thank you a lot", "no", "We go out", "What is this thing that is here"]


@pytest.mark.parametrize("family", list(CONFIGS))
def test_a_rerun_of_the_last_token_is_the_model_with_the_vector_taken_out_there(family):
    model = tiny_model(family)
    vectors = torch.randn(3, model.d_model, generator=torch.Generator().manual_seed(0))
    names, found = last_token_changes(model, TEXTS, vectors, 0)
    sites = [Site(kind, at) for at in (1, 2) for kind in ("z" if "z" not in model.refused else "attn_out", "mlp_out")]

    def outputs(batch):
        with torch.inference_mode(), observe(model, sites) as record:
            model.hidden(batch)
        return [record[s][0, -1].reshape(model.n_heads if s.kind == "z" else 1, -1) for s in sites]

    for i, text in enumerate(TEXTS):
        batch = model.tokenize([text])
        plain = outputs(batch)
        for v, vector in enumerate(vectors):
            with intervene(model, [Add(site=Site("resid_post", 0), vector=-vector, positions=Positions("last"))]):
                changed = outputs(batch)
            expected = torch.cat([(c - p).norm(dim=-1) / p.norm(dim=-1) for c, p in zip(changed, plain, strict=True)])
            assert len(expected) == len(names)
            np.testing.assert_allclose(found[v, i], expected.double(), rtol=1e-3, atol=2e-5 * float(expected.max()))


def test_how_many_are_rerun_together_does_not_matter(monkeypatch):
    model = tiny_model("llama")
    vectors = torch.randn(7, model.d_model, generator=torch.Generator().manual_seed(0))
    _, together = last_token_changes(model, TEXTS, vectors, 0)
    monkeypatch.setattr(module, "CACHE_BYTES", 1)
    _, one_by_one = last_token_changes(model, TEXTS, vectors, 0)
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-6)


def test_the_last_layer_has_no_reader():
    model = tiny_model("llama")
    with pytest.raises(EmotionCircuitsError, match="last one"):
        last_token_changes(model, TEXTS, torch.ones(1, model.d_model), model.n_layers - 1)


@pytest.mark.parametrize("ask", [ask_writers, ask_readers])
def test_which_direction_is_called_the_real_one_does_not_matter(ask):
    """The null is exact because every direction is treated alike: exchanged, two directions exchange their figures."""
    model = tiny_model("llama")
    d = random_directions(model)
    first, second = d.vectors[0, 1].clone(), d.vectors[1, 1] * 3
    others = torch.randn(5, model.d_model, generator=torch.Generator().manual_seed(8))
    figures = []
    for real, null in ((first, second), (second, first)):
        d.vectors[0, 1] = real
        figures.append(ask(model, prompts(), d, "gratitude", 1, nulls=torch.cat([null[None], others])).figures)
    np.testing.assert_allclose(figures[0][[1, 0, 2, 3, 4, 5, 6]], figures[1], rtol=1e-4, atol=1e-6)
