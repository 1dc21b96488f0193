"""A vector of a tiny model with a card, as a run would export it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from emotion_circuits.exchange import Card, Effect, Made, PortableVector, portable, write_vector
from emotion_circuits.model import LanguageModel, weights_sha256
from emotion_circuits.steering import Condition, SteeringVectors, interventions_for
from families import tiny_model

OPENINGS = ("When the bus arrived, she", "It rains", "Why did they")


def condition_of(**changes) -> Condition:
    fields = {"name": "c", "emotion": "anger", "layers": (1, 2), "alpha": 0.5, "positions": "rest", "first": 3.0}
    return Condition(**{**fields, **changes})


def vectors_of(model: LanguageModel, seed: int = 5) -> SteeringVectors:
    drawn = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(seed))
    return SteeringVectors.from_raw({"anger": drawn}, torch.full((model.n_layers,), 2.0))


def card_of(model: LanguageModel, condition: Condition, **changes) -> Card:
    made = Made(
        name=model.name, weights_sha256=weights_sha256(model), architecture=model.config.model_type, layers=model.n_layers,
        width=model.d_model, licence="Apache-2.0",
    )  # fmt: skip
    return Card(
        value="anger", attribute="emotion-en", language="en", model=made.model_copy(update=changes),
        condition=condition.to_json(), norms=dict.fromkeys(condition.layers, 2.0),
        effects=(Effect(metric="share", pushed="all that the run pushes", value=0.4, low=0.3, high=0.5, without=0.1, n=36),),
        judge="emotion", openings="held", made_by="emotion-circuits test",
    )  # fmt: skip


def vector_of(model: LanguageModel, **changes) -> PortableVector:
    condition = condition_of(**changes)
    return portable(interventions_for([condition], vectors_of(model)), card_of(model, condition))


def rows_equal(a: PortableVector, b: PortableVector) -> bool:
    return all(
        of.keys() == other.keys() and all(torch.equal(of[layer], other[layer]) for layer in of)
        for of, other in ((a.rows, b.rows), (a.first, b.first))
    )


def without_card(vector: PortableVector) -> PortableVector:
    return replace(vector, card=None)


def vector_files(folder: Path) -> dict[str, bytes]:
    """A vector of a tiny model in three kinds, written into a folder: name → bytes."""
    vector = vector_of(tiny_model("llama"))
    for kind, name in (("llama.cpp", "v.gguf"), ("safetensors", "v.safetensors"), ("easysteer", "es")):
        write_vector(vector, kind, folder / name)
    return {name: (folder / name).read_bytes() for name in ("v.gguf", "v.safetensors", "es/steering.json")}
