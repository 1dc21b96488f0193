"""What the tests of tuning share: a tiny model, preferences between two letters, and a run that has steered."""

from __future__ import annotations

import torch

from emotion_circuits.model import LanguageModel
from emotion_circuits.tuning.examples import Example, Sequence3, encoded
from families import tiny_model

OPENINGS = ("When the bus arrived, she", "It rains", "Why did they")


def model_of(family: str = "llama") -> LanguageModel:
    return tiny_model(family, max_position_embeddings=1024)


def preferences(count: int = 12) -> list[Example]:
    """Texts of one letter against texts of another."""
    return [
        Example(f"Opening {i} {'of ' * (i % 3)}", " aaa a aaaa", " zz zzz z", f"g{i}", "made") for i in range(count)
    ]


def sequences_of(model: LanguageModel, count: int = 12) -> list[Sequence3]:
    return encoded(model, preferences(count), 8)


def weights_of(model: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}
