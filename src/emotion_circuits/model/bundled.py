"""Installing a bundled model into the user's cache: fetched, checked, dequantised, recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.catalogue import BUNDLED, BundledModel, Packages
from emotion_circuits.model.fetching import fetch
from emotion_circuits.model.files import RECORD
from emotion_circuits.model.gguf import WEIGHTS, convert_gguf, write_record
from emotion_circuits.model.sums import remember_sha256
from emotion_circuits.paths import cache_dir, make_folder
from emotion_circuits.temporaries import scratch_folder, sweep

__all__ = ["BUNDLED", "install", "installed", "models_dir"]


def models_dir() -> Path:
    """Folder of installed and converted models."""
    return cache_dir() / "models"


def installed(name: str) -> Path | None:
    """The folder of an installed bundled model, or ``None``."""
    folder = models_dir() / name
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = record["gguf_sha256"] == BUNDLED[name].sha256 and all((folder / f).is_file() for f in record["files"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return folder if whole else None


def install(name: str, *, force: bool = False) -> Path:
    """Take a bundled model into the user's cache, once.

    Fetches its GGUF file from the first source that has it, checks its SHA-256, dequantises it to safetensors with the
    tokenizer beside it, and records the sums. An interrupted download goes on where it stopped.

    Disk: the download twice while it is joined, and what is kept: two bytes for each weight in bfloat16, four in float32.

    Raises:
        EmotionCircuitsError: unknown name, failed download, wrong checksum.

    Example::

        install("qwen2.5-coder-0.5b")
    """
    if name not in BUNDLED:
        raise EmotionCircuitsError(f"no bundled model {name!r}; bundled: {', '.join(BUNDLED)}")
    model = BUNDLED[name]
    root = models_dir()
    make_folder(root)
    with FileLock(root / f".{name}.lock"):
        sweep(root)
        folder = installed(name)
        if folder is not None and not force:
            return folder
        incomplete = root / f".{name}-{model.sha256[:16]}"
        gguf = fetch(model, incomplete)
        with scratch_folder(root, name) as scratch:
            ready = scratch / "ready"
            sums = convert_gguf(
                gguf, ready, dtype=getattr(torch, model.dtype), title=f"converting {name} (million weights)"
            )
            for notice in (n for s in model.sources if isinstance(s, Packages) for n in s.notices):
                text = incomplete / Path(notice.member).name
                if text.is_file():
                    shutil.copy(text, ready / text.name)
            write_record(ready, sums, **_about(model))
            target = root / name
            if target.exists():
                shutil.rmtree(target)
            ready.rename(target)
            remember_sha256(target / WEIGHTS, sums[WEIGHTS])  # else the first load would read the whole file once more
        shutil.rmtree(incomplete)
    return root / name


def _about(model: BundledModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "sources": [str(source) for source in model.sources],
        "origin": model.origin,
        "gguf_sha256": model.sha256,
        "licence": model.licence,
        "dtype": model.dtype,
    }
