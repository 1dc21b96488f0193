"""Adapters and the vector: they learn what is preferred, leave the model alone, come back as they were, and go on."""

import json
import shutil

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Add, Site, intervene, load_model
from emotion_circuits.tuning.adapting import adapted
from emotion_circuits.tuning.lora import RECORD, train_adapter
from emotion_circuits.tuning.preference import gains, train_vector
from emotion_circuits.tuning.trained import Recipe
from tuning_cases import OPENINGS, model_of, sequences_of, weights_of

needs_trl = pytest.importorskip("trl", reason="extra 'hybrid'")
OBJECTIVES = {"sft": Recipe(12, 4, 2e-2), "dpo": Recipe(12, 4, 2e-2, 0.5)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root, model = tmp_path_factory.mktemp("tuned"), model_of()
    before = weights_of(model)
    found = {
        name: train_adapter(model, sequences_of(model), recipe, name, root / name, rank=4, seed=3)
        for name, recipe in OBJECTIVES.items()
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.hf.state_dict().items()), "the base model"
    return root, model, found


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_adapter_learns_what_is_preferred(name, trained):
    root, model, found = trained
    assert found[name].losses[-1] < found[name].losses[0]
    assert found[name].examples == 12
    sequences = sequences_of(model)
    with torch.inference_mode():
        before, after = gains(model, sequences), gains(adapted(model, root / name), sequences)
    assert bool((after > before).all())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_adapter_is_a_folder_that_the_package_loads(name, trained, tmp_path):
    root, model, found = trained
    model.hf.save_pretrained(tmp_path / "base")
    model.tokenizer.save_pretrained(tmp_path / "base")
    loaded = load_model(tmp_path / "base", adapter=root / name, check=False)
    batch = model.tokenize(OPENINGS)
    torch.testing.assert_close(loaded.logits(batch), adapted(model, root / name).logits(batch), rtol=1e-5, atol=1e-5)
    lora = [p for p in (root / name).iterdir() if p.suffix in (".bin", ".pt")]
    assert not lora, "nothing is pickled"
    assert found[name].parameters > 0


def test_no_strength_is_the_model_and_strength_is_proportional(trained):
    root, model, _ = trained
    batch = model.tokenize(OPENINGS)
    assert torch.equal(adapted(model, root / "dpo", 0.0).logits(batch), model.logits(batch))
    whole, half = (adapted(model, root / "dpo", s).hf.state_dict() for s in (1.0, 0.5))
    for name, base in model.hf.state_dict().items():
        torch.testing.assert_close(half[name] - base, (whole[name] - base) / 2, rtol=1e-3, atol=1e-6)


def test_a_finished_training_is_read_and_the_same_seed_gives_the_same_bytes(trained, tmp_path):
    root, model, found = trained
    shutil.copytree(root / "sft", tmp_path / "sft")
    assert train_adapter(model, [], OBJECTIVES["sft"], "sft", tmp_path / "sft") == found["sft"]
    again = train_adapter(model, sequences_of(model), OBJECTIVES["sft"], "sft", tmp_path / "again", rank=4, seed=3)
    assert again.losses == found["sft"].losses
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (root / "sft" / name).read_bytes()


def test_a_training_that_was_cut_off_leaves_no_folder_and_begins_anew(tmp_path, monkeypatch):
    from emotion_circuits.tuning import lora

    model = model_of()

    def cut(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(lora, "_settle", cut)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(model, sequences_of(model), Recipe(1, 2, 1e-3), "sft", tmp_path / "sft", rank=2)
    assert not (tmp_path / "sft").exists()
    monkeypatch.undo()
    train_adapter(model, sequences_of(model), Recipe(1, 2, 1e-3), "sft", tmp_path / "sft", rank=2)
    assert json.loads((tmp_path / "sft" / RECORD).read_text())["examples"] == 2


def test_nothing_to_learn_from_is_an_error(tmp_path):
    with pytest.raises(EmotionCircuitsError, match="no examples"):
        train_adapter(model_of(), [], OBJECTIVES["dpo"], "dpo", tmp_path / "dpo")
    with pytest.raises(EmotionCircuitsError, match="no examples"):
        train_vector(model_of(), [], 1, Recipe(1, 2, 0.1), length=1.0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_the_vector_learns_both_ways_and_no_weight_does(family):
    model = model_of(family)
    before, sequences = weights_of(model), sequences_of(model)
    made = train_vector(model, sequences, 1, Recipe(40, 4, 0.3, 1.0), length=2.0, seed=1)
    assert sum(made.trained.losses[-8:]) < sum(made.trained.losses[:8])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.hf.state_dict().items())
    assert not any(p.grad is not None or p.requires_grad for p in model.hf.parameters())
    with torch.inference_mode():
        plain = gains(model, sequences)
        moved = []
        for sign in (1.0, -1.0, 0.0):
            with intervene(model, [Add(site=Site("resid_post", 1), vector=made.vector, alpha=sign)]):
                moved.append(gains(model, sequences, plain).mean())
    assert moved[0] > 0 > moved[1]
    assert moved[2] == 0


def test_the_gradient_of_the_vector_is_the_finite_difference():
    model, site = model_of(), Site("resid_post", 1)
    sequences = sequences_of(model, 3)
    model.hf.double()
    vector = torch.zeros(model.d_model, dtype=torch.float32, requires_grad=True)

    def outcome(of):
        with intervene(model, [Add(site=site, vector=of)]):
            return gains(model, sequences).sum()

    (gradient,) = torch.autograd.grad(outcome(vector), vector)
    step = torch.zeros(model.d_model)
    step[3] = 1e-2
    with torch.no_grad():
        difference = (outcome(step) - outcome(-step)) / 2e-2
    torch.testing.assert_close(gradient[3].double(), difference.double(), rtol=2e-2, atol=1e-5)
