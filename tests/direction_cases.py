"""Captures with planted directions, written to disk as a real capture would be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from emotion_circuits.activations import ActivationStore
from emotion_circuits.activations.sinks import Sinks, median_norm
from emotion_circuits.activations.store import NORM, shard_name, tensor_name
from emotion_circuits.paths import write_json

LABELS = ("gratitude", "anger", "apology", "neutral")
WORDS = {"gratitude": "thank", "anger": "furious", "apology": "sorry", "neutral": "plain"}


def planted_directions(d: int, layers: int, seed: int = 0) -> torch.Tensor:
    """``[emotion, layer, d]`` orthonormal per layer."""
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(layers, d, 3, generator=g)).Q
    return q.permute(2, 0, 1).contiguous()


def planted_store(
    folder,
    *,
    groups: int = 40,
    d: int = 24,
    layers: int = 2,
    strength=3.0,
    noise: float = 1.0,
    topic: float = 2.0,
    seed: int = 0,
    words: bool = True,
    huge: int | None = None,
    poolings=("last", "mean"),
) -> ActivationStore:
    """Every group has a topic vector and one row per label; ``strength`` is one number or one per layer."""
    g = torch.Generator().manual_seed(seed + 1)
    truth = planted_directions(d, layers, seed)
    strengths = [strength] * layers if np.isscalar(strength) else list(strength)
    rows, states = [], []
    for group in range(groups):
        split = "train" if group % 5 < 3 else "validation" if group % 5 == 3 else "test"
        shared = topic * torch.randn(layers, d, generator=g)
        for k, label in enumerate(LABELS):
            x = shared + noise * torch.randn(layers, d, generator=g)
            if k < 3:
                x = x + torch.tensor(strengths)[:, None] * truth[k]
            if huge is not None:
                x[:, huge] *= 1000
            states.append(x)
            rows.append(
                {
                    "id": f"g{group}-{label}",
                    "text": f"{WORDS[label] if words else 'thing'} {group % 7} word{group}",
                    "label": label,
                    "group": f"g{group}",
                    "split": split,
                    "language": "en",
                    "set": "core/baseline" if group % 2 else "implicit",
                    "n_tokens": 3,
                    "has_emotion": True,
                    "emotion_is_sink": False,
                    "shard": 0,
                    "place": len(rows),
                    "offset": 3 * len(rows),
                }
            )
    x = torch.stack(states, dim=1).contiguous()  # [layer, row, d]
    tensors = {tensor_name("resid_post", p): x.clone() for p in poolings}
    table = pd.DataFrame(rows)
    neutral = ((table["label"] == "neutral") & (table["split"] == "train")).to_numpy()
    norms = x.norm(dim=-1)
    # The first token's norm is that of a sink; the two others are as long as the sentence's state.
    sink = torch.full_like(norms, 1e4)
    tensors[tensor_name("resid_post", NORM)] = torch.stack([sink, norms, norms], -1).flatten(1)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / shard_name("planted", 0))
    manifest = {
        "model": {"name": "planted", "d_model": d, "n_layers": layers},
        "kinds": ["resid_post"],
        "poolings": list(poolings),
        "layers": list(range(layers)),
        "hash": "planted",
        "sinks": Sinks(
            tuple(range(layers)), {"resid_post": tuple(median_norm(n.double().numpy()) for n in norms[:, neutral])}
        ).to_json(),
    }
    write_json(folder / "manifest.json", manifest)
    table.to_parquet(folder / "rows.parquet")
    return ActivationStore(folder, manifest, table)
