"""Layers and heads that a model does not have are refused before a weight of it is read."""

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import blueprint, load_model
from emotion_circuits.stations.capture import CAPTURE
from emotion_circuits.study import load_config, run_study
from families import CONFIGS, tiny_model
from study_cases import save_tiny, small


@pytest.fixture(scope="module")
def without_weights(tmp_path_factory):
    """A model's folder whose weights are gone: whatever loads them fails in another way."""
    folder = save_tiny(tmp_path_factory.mktemp("tiny") / "model")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    return folder


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_a_blueprint_has_the_loaded_models_shapes(tmp_path, family):
    model = tiny_model(family)
    model.hf.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    plan, loaded = blueprint(tmp_path), load_model(tmp_path, check=False)
    for name in (
        "n_layers",
        "n_heads",
        "n_kv_heads",
        "d_model",
        "d_head",
        "dtype",
        "device",
        "has_resid_mid",
        "eos_ids",
    ):
        assert getattr(plan, name) == getattr(loaded, name), name
    assert plan.vocabulary == loaded.unembedding.weight.shape[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["capture", "--layers", "1,99", "--out", "x"], r"--layers: 99 is not a layer of this model, which has 0 to 2"),
        (["trace", "I", "--layer", "99"], r"--layer: 99 is not a layer"),
        (["steer", "I", "--emotion", "anger", "--layer", "99"], r"--layer: 99 is not a layer"),
    ],
)
def test_layers_of_commands(without_weights, arguments, message):
    with pytest.raises(EmotionCircuitsError, match=message):
        CliRunner().invoke(app, [*arguments, "--model", str(without_weights)], catch_exceptions=False)


@pytest.mark.parametrize("command", ["ablate", "patch"])
@pytest.mark.parametrize("nodes", ["L0H9", "L7H0", "M7"])
def test_heads_of_commands(without_weights, command, nodes):
    with pytest.raises(EmotionCircuitsError, match="--nodes: "):
        CliRunner().invoke(app, ["heads", command, str(without_weights), "--nodes", nodes], catch_exceptions=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steering.layers": [0.5, 99]}, r"steering\.layers: 99 is not a layer of this model, which has 0 to 2"),
        ({"steering.layers": [[1, 3]]}, r"steering\.layers: 3 is not"),
        ({"steering.raw_layers": [99]}, r"steering\.raw_layers: 99 is not"),
        ({"circuits.emotion_heads": 13}, r"circuits\.emotion_heads: 13 heads asked for, .* has 12"),
        ({"circuits.roles": 99}, r"circuits\.roles: 99 heads"),
    ],
)
def test_layers_and_heads_of_a_study(without_weights, tmp_path, change, message):
    with pytest.raises(EmotionCircuitsError, match=message):
        run_study(small(without_weights, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_kinds_a_parallel_block_does_not_have():
    config = load_config("quick", overrides={"capture.kinds": ["resid_post", "resid_mid"]})
    with pytest.raises(EmotionCircuitsError, match=r"capture\.kinds: resid_mid does not exist"):
        CAPTURE.possible(config, tiny_model("gpt_neox"))
