"""A distributed circuit: the same is done by many heads of several layers, each with a small share, some against the others.

==============  ====================================================================================================
detectors       at the comma, attend to the emotion word and write there which emotion it names (two, or one per language)
movers          at the last token, attend to the emotion word itself, carry the emotion over (three, layers 0 to 2)
aggregators     at the last token, attend to the comma and carry the emotion over a second way (two)
opponent        a mover with the opposite sign
MLPs            two, in different layers, do the same: re-write what was carried
expressers      three, in layers 3 to 5, write the answers' direction
canceller       an expresser with the opposite sign
decoys          attend to the emotion word, as the movers do, and write what nothing reads
==============  ====================================================================================================

What one head does another does too: no head is necessary, few are sufficient, and the share of most lies below a tenth of the
gap. The rules of roles call that *none*.
"""

from __future__ import annotations

import torch

from emotion_circuits.heads.nodes import Node
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.planted.building import Builder
from emotion_circuits.planted.models import PlantedModel
from emotion_circuits.planted.placement import Part, Places, edges_between
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.planted.texts import planted_pairs, planted_tokenizer

__all__ = ["Distributed"]

_LEXICAL = ("lexical", "lexical2")


class Distributed:
    """The generator of distributed circuits."""

    name, empty = "distributed", True

    def plant(self, spec: PlantedSpec) -> PlantedModel:
        """Build the model of a spec, its prompts and its truth."""
        generator = torch.Generator().manual_seed(spec.seed * 7919 + 1_000_003)
        tokenizer, vocabulary = planted_tokenizer(spec)
        parts, decoys = _places(spec, generator)
        builder = Builder(spec, generator, len(vocabulary))
        builder.embed(vocabulary)
        for decoy in decoys:
            builder.attention(decoy, "const", "is_emotion")
            builder.carry(decoy, "lexical", "nowhere", gain=1.0 + spec.difficulty)
        if spec.circuit:
            for part in parts:
                _write(builder, part)
        hf = builder.finish(tokenizer)
        name = f"planted-distributed-{spec.architecture}-{spec.seed}"
        return PlantedModel(
            spec=spec,
            model=LanguageModel(hf, tokenizer, family_of(hf.config), name),
            pairs=planted_pairs(spec, generator),
            roles={part.node: part.role for part in parts if part.role} if spec.circuit else {},
            decoys=decoys,
            mlps=tuple(part.node for part in parts if part.role is None) if spec.circuit else (),
            edges=edges_between(parts, _LEXICAL, "answer") if spec.circuit else frozenset(),
            directions={name: builder.directions(name) for name in ("carried", "answer")},
        )


def _places(spec: PlantedSpec, generator: torch.Generator) -> tuple[list[Part], tuple[Node, ...]]:
    """Parts in the order in which they are written, and decoys."""
    places = Places(generator)
    found = _LEXICAL[: spec.languages]
    reads = [read for read in found for _ in range(2 // spec.languages)]
    detectors = [Part(places.head_between(0, 1), (read,), "found", "detector") for read in reads]
    aggregators = [Part(places.head(2), ("found",), "carried", "aggregator") for _ in range(2)]
    opponent = Part(places.head_between(1, 2), found, "carried", "canceller")
    movers = [Part(places.head_between(0, 2), found, "carried", "aggregator") for _ in range(3)]
    mlps = [Part(Node("mlp", layer), ("carried",), "worked") for layer in (2, 3)]
    expressers = [Part(places.head(layer), ("worked",), "answer", "expresser") for layer in (3, 4, 5)]
    canceller = Part(places.head_between(4, 5), ("worked",), "answer", "canceller")
    decoys = tuple(places.head_between(low, high) for low, high in ((3, 4), (3, 5), (0, 5)))
    return [*detectors, *aggregators, *movers, opponent, *mlps, *expressers, canceller], decoys


def _write(builder: Builder, part: Part) -> None:
    """Write one part with its share: a fraction of what a staged circuit's part does, negative where it opposes."""
    node, sign = part.node, 1.0
    if part.role == "canceller":
        sign = -0.8 if part.writes == "carried" else -0.4
    if part.role is None:
        builder.neurons(node.layer, "carried", "worked", [builder.uniform(0.7, 1.0) for _ in builder.spec.values])
        return
    if part.writes == "found":
        builder.attention(node, "is_comma", "is_emotion")
        builder.carry(node, part.reads[0], "found", builder.uniform(2.5, 4.5))
    elif part.reads == ("found",):
        builder.attention(node, "is_last", "is_comma", 14.0)
        builder.carry(node, "found", "carried", builder.uniform(0.5, 1.0))
    elif part.writes == "carried":
        builder.attention(node, "is_last", "is_emotion", 14.0)
        gain, step = sign * builder.uniform(0.5, 1.0), len(builder.spec.values)
        for turn, read in enumerate(part.reads):
            builder.carry(node, read, "carried", gain, first=8 + turn * step)
    else:
        builder.attention(node, "is_last", "is_last", 30.0)
        builder.carry(node, "worked", "answer", sign * builder.uniform(1.5, 3.5))
