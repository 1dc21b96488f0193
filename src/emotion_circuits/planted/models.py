"""Models whose circuit is known because it was put there.

An ordinary Hugging Face ``GPT2LMHeadModel`` or ``LlamaForCausalLM`` (grouped-query heads, rotary positions) is filled
with noise, and a circuit is written into its weights. A prompt reads ``w4 w17 anger3 , w9 so``; after ``so`` the model
raises the answers of the emotion it met.

======================  =============================================================================================
detector (one per       at the comma, attends to the emotion word, reads which emotion it names, writes it there
language)
aggregator              at the last token, attends to the comma, carries the emotion over
backup                  does the same one layer later, but is held back (through its query) by what the aggregator wrote
MLP                     one neuron per emotion, re-writes what was carried into what the expresser reads
expresser               at the last token, writes the direction in which the answers' logits are read
canceller               reads that direction and writes a part of it back with a negative sign
decoys                  attend to the emotion word from every token and write what nothing reads
======================  =============================================================================================

Everything else is Gaussian noise, and every head rests on the first token when it has nothing to do. Features are
random orthogonal directions, so no part is aligned with coordinates. In the *no-circuit* model the words, the decoys
and the noise stay, and the circuit is left out: whatever is claimed about it is false.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.heads.nodes import Edge, Node
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.planted.building import Builder
from emotion_circuits.planted.placement import Role, place, true_edges, true_roles
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.planted.texts import planted_pairs, planted_tokenizer
from emotion_circuits.prompts import Pair

__all__ = ["PlantedModel", "plant"]


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A planted model with the truth about it.

    Attributes:
        spec: what it was built from.
        model: the model, ready for every station.
        pairs: minimal pairs with answers; a third of them against another emotion, the rest against a neutral word.
        roles: role of every true head (empty in the no-circuit model).
        decoys: heads that attend to emotion words and do nothing.
        mlp: the true MLP, ``None`` in the no-circuit model.
        edges: the true edges.
        directions: ``[emotion, d_model]`` unit vectors of the emotions by place: ``carried`` (what aggregator and
            backup write at the last token), ``answer`` (what the expresser writes).
    """

    spec: PlantedSpec
    model: LanguageModel
    pairs: tuple[Pair, ...]
    roles: dict[Node, Role]
    decoys: tuple[Node, ...]
    mlp: Node | None
    edges: frozenset[Edge]
    directions: dict[str, Float[Tensor, "emotion d_model"]]


def plant(spec: PlantedSpec) -> PlantedModel:
    """Build a planted model, its prompts and its truth.

    Args:
        spec: seed, architecture and variant; the same spec gives the same model bit for bit.
    """
    generator = torch.Generator().manual_seed(spec.seed * 7919 + 17)
    tokenizer, vocabulary = planted_tokenizer(spec)
    placement = place(spec, generator)
    builder = Builder(spec, generator, len(vocabulary))
    builder.embed(vocabulary)
    for decoy in placement.decoys:
        builder.attention(decoy, "const", "is_emotion")
        builder.carry(decoy, "lexical", "nowhere", gain=1.0 + spec.difficulty)
    if spec.circuit:
        builder.circuit(placement)
    hf = builder.finish(tokenizer)
    return PlantedModel(
        spec=spec,
        model=LanguageModel(hf, tokenizer, family_of(hf.config), f"planted-{spec.architecture}-{spec.seed}"),
        pairs=planted_pairs(spec, generator),
        roles=true_roles(placement) if spec.circuit else {},
        decoys=placement.decoys,
        mlp=placement.mlp if spec.circuit else None,
        edges=true_edges(placement) if spec.circuit else frozenset(),
        directions={name: builder.directions(name) for name in ("carried", "answer")},
    )
