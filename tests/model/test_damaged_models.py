"""An installed model whose files were damaged, or that another version installed, is not used."""

import json
import os
import shutil

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import BUNDLED, blueprint, installed, load_model, sums, weights_sha256
from emotion_circuits.model.files import RECORD
from emotion_circuits.paths import file_sha256, write_json
from families import tiny_model
from tiny_files import save_folder, write_gguf

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


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_an_edited_file_of_an_installed_model_is_refused_by_its_name_and_by_its_path(folder, name):
    (folder / name).write_text((folder / name).read_text().replace("{", "{ ", 1))
    for look, of in ((load_model, NAME), (blueprint, NAME), (load_model, folder)):
        with pytest.raises(
            EmotionCircuitsError, match=rf"{name}: is damaged or was changed .*install smollm2-135m --force"
        ):
            look(of)


def test_a_file_put_beside_an_installed_model_is_refused(folder):
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(EmotionCircuitsError, match=r"chat_template\.jinja: was put there"):
        load_model(NAME)


def test_a_folder_named_like_a_bundled_model_does_not_take_its_place(folder, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    save_folder(tmp_path / "work" / NAME, seed=1)
    assert load_model(NAME).source == folder
    assert blueprint(NAME).source == folder
    assert load_model(f"./{NAME}").source != folder


def rot(file):
    """One bit of a file changed, and size and times of change as they were."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_flip_whose_time_was_set_back_is_another_model(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    place = save_folder(tmp_path / "m")
    before = {weights_sha256(look(place)) for look in (load_model, blueprint)}
    assert len(before) == 1
    rot(place / "model.safetensors")
    after = {weights_sha256(look(place)) for look in (load_model, blueprint)}
    assert len(after) == 1
    assert not after & before


def test_bytes_that_changed_though_nothing_wrote_to_them_are_refused_where_they_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    place = save_folder(tmp_path / "m")
    weights = place / "model.safetensors"
    sums.remember_sha256(weights, "0" * 64)  # as if it had held something else with the very same times and inode
    with pytest.raises(
        EmotionCircuitsError, match=r"model\.safetensors: holds other bytes than when it was read before"
    ):
        load_model(place)
    (note,) = (tmp_path / "cache" / "sha256").iterdir()
    note.write_text(note.read_text().replace("0000", "0001", 1))
    assert load_model(place).n_layers == 3, "a damaged note blames nobody"


def test_a_sum_is_noted_only_where_a_later_write_would_show(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    weights = save_folder(tmp_path / "m") / "model.safetensors"
    load_model(tmp_path / "m")
    assert not (tmp_path / "cache" / "sha256").exists()
    monkeypatch.setattr(sums, "_SETTLED", -1.0)
    load_model(tmp_path / "m")
    assert len(list((tmp_path / "cache" / "sha256").iterdir())) == 1
    assert sums.remembered_sha256(weights) == file_sha256(weights)


def test_what_is_written_has_the_modes_of_its_users_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    source = write_gguf(tmp_path / "tiny.gguf")
    for mask, file_mode, folder_mode in ((0o077, 0o600, 0o700), (0o022, 0o644, 0o755)):
        before = os.umask(mask)
        try:
            made = load_model(source).source
            write_json(tmp_path / f"{mask}.json", {})
        finally:
            os.umask(before)
        modes = {p.name: p.stat().st_mode & 0o777 for p in (*made.iterdir(), tmp_path / f"{mask}.json")}
        assert set(modes.values()) == {file_mode}, modes
        assert made.stat().st_mode & 0o777 == folder_mode
        shutil.rmtree(tmp_path / "cache")


def test_a_truncated_file_is_a_clear_error(folder, tmp_path):
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(EmotionCircuitsError):
            load_model(folder)
        (folder / file).write_bytes(whole)
    assert load_model(folder).n_layers == 3
