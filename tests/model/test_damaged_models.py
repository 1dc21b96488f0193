"""An installed model whose files were damaged, or that another version installed, is not used."""

import json

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import BUNDLED, blueprint, installed, load_model
from emotion_circuits.model.files import RECORD
from emotion_circuits.paths import file_sha256
from families import tiny_model

NAME = "smollm2-135m"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tiny model in the place of a bundled one."""
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path))
    place = tmp_path / "models" / NAME
    model = tiny_model("llama")
    model.hf.save_pretrained(place)
    model.tokenizer.save_pretrained(place)
    files = {p.name: file_sha256(p) for p in place.iterdir()}
    (place / RECORD).write_text(json.dumps({"gguf_sha256": BUNDLED[NAME].sha256, "files": files}))
    return place


def test_a_flipped_bit_in_the_weights_is_refused(folder):
    assert load_model(NAME).n_layers == 3
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        EmotionCircuitsError, match=r"model\.safetensors: is damaged .*models install smollm2-135m --force"
    ):
        load_model(NAME)


def test_another_versions_model_counts_as_not_installed(folder):
    note = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**note, "gguf_sha256": "of another file"}))
    assert installed(NAME) is None
    assert blueprint(NAME) is None


def test_a_truncated_file_is_a_clear_error(folder, tmp_path):
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(EmotionCircuitsError):
            load_model(folder)
        (folder / file).write_bytes(whole)
    assert load_model(folder).n_layers == 3
