"""A circuit in stages: each part does one thing, and few of them matter.

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

import torch

from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.planted.building import Builder
from emotion_circuits.planted.models import PlantedModel
from emotion_circuits.planted.placement import Placement, place
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.planted.texts import planted_pairs, planted_tokenizer

__all__ = ["Staged", "plant"]


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
        _write(builder, placement)
    hf = builder.finish(tokenizer)
    return PlantedModel(
        spec=spec,
        model=LanguageModel(hf, tokenizer, family_of(hf.config), f"planted-{spec.architecture}-{spec.seed}"),
        pairs=planted_pairs(spec, generator),
        roles=placement.roles if spec.circuit else {},
        decoys=placement.decoys,
        mlps=(placement.mlp,) if spec.circuit else (),
        edges=placement.edges if spec.circuit else frozenset(),
        directions={name: builder.directions(name) for name in ("carried", "answer")},
    )


def _write(builder: Builder, p: Placement) -> None:
    """Write every part of the circuit into its place."""
    for detector, language in zip(p.detectors, ("lexical", "lexical2"), strict=False):
        builder.attention(detector, "is_comma", "is_emotion")
        builder.carry(detector, language, "found", builder.uniform(5, 7))
    carried = builder.uniform(5, 7)
    for node in (p.aggregator, p.backup):
        builder.attention(node, "is_last", "is_comma", 14.0)
        builder.carry(node, "found", "carried", carried)
        carried *= builder.uniform(0.5, 0.7)  # the backup repairs a part only
    builder.hold_back(p.backup, "carried", builder.uniform(12.0, 15.0))
    builder.neurons(p.mlp.layer, "carried", "worked")
    for node in (p.expresser, p.canceller):
        builder.attention(node, "is_last", "is_last", 30.0)  # late: the norms have divided both sides by about 2
    builder.carry(p.expresser, "worked", "answer", builder.uniform(5, 7))
    builder.carry(p.canceller, "answer", "answer", -builder.uniform(1.5, 3.0))


class Staged:
    """The generator of staged circuits."""

    name, empty = "staged", True

    def plant(self, spec: PlantedSpec) -> PlantedModel:
        """See :func:`plant`."""
        return plant(spec)
