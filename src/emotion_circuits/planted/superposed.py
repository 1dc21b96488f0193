"""A circuit in superposition: two tasks share words, heads and dimensions.

Every word that names an emotion (or nothing) also belongs to a *topic*, and raises its topic's words as well. Features of
both tasks lie in random directions of fewer dimensions than there are features, so that each reads a little of all others.

======================  =============================================================================================
shared detector (one    at the comma, attends to the word, writes its emotion and its topic
per language)
shared aggregator       at the last token, carries both over
aggregator              the same for the emotion alone, more weakly
MLP                     re-writes the emotion and the topic, by different neurons
expressers              two, write the emotion's answers
decoys                  a head that moves the topic from word to last token, two that write the topic's answers, and one
                        that attends to the word and writes what nothing reads
======================  =============================================================================================

The two prompts of a pair mostly differ in topic too: what the topic's heads write differs as much as what the emotion's do,
and says nothing about the answers that are asked for. In the *no-circuit* model the topic stays and the emotion is left out.
"""

from __future__ import annotations

import torch

from emotion_circuits.heads.nodes import Node
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.planted.building import SPACES, Builder
from emotion_circuits.planted.models import PlantedModel
from emotion_circuits.planted.placement import Part, Places, edges_between
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.planted.texts import planted_pairs, planted_tokenizer

__all__ = ["Superposed"]

_LEXICAL = ("lexical", "lexical2")
_TOPIC = ("topic", "topic_found", "topic_carried", "topic_worked", "topic_answer")


class Superposed:
    """The generator of superposed circuits."""

    name, empty = "superposed", True

    def plant(self, spec: PlantedSpec) -> PlantedModel:
        """Build the model of a spec, its prompts and its truth.

        Of 12 feature spaces (36 directions with three emotions) 33 dimensions are left at difficulty 0, 21 at 4.
        """
        generator = torch.Generator().manual_seed(spec.seed * 7919 + 2_000_003)
        tokenizer, vocabulary = planted_tokenizer(spec)
        packed = round(33 - 3 * spec.difficulty)
        parts, topic, decoy = _places(spec, generator)
        builder = Builder(spec, generator, len(vocabulary), spaces=(*SPACES, *_TOPIC), packed=packed)
        builder.embed(vocabulary)
        builder.embed_topics(vocabulary)
        _write_topic(builder, parts, topic)
        builder.attention(decoy, "const", "is_topic")
        builder.carry(decoy, "lexical", "nowhere", gain=1.0 + spec.difficulty)
        if spec.circuit:
            _write(builder, parts)
        hf = builder.finish(tokenizer)
        name = f"planted-superposed-{spec.architecture}-{spec.seed}"
        shared = () if spec.circuit else tuple(part.node for part in parts if part.role in ("detector", "aggregator"))
        return PlantedModel(
            spec=spec,
            model=LanguageModel(hf, tokenizer, family_of(hf.config), name),
            pairs=planted_pairs(spec, generator),
            roles={part.node: part.role for part in parts if part.role} if spec.circuit else {},
            decoys=(*topic, decoy, *shared),
            mlps=tuple(part.node for part in parts if part.role is None) if spec.circuit else (),
            edges=edges_between(parts, _LEXICAL, "answer") if spec.circuit else frozenset(),
            directions={name: builder.directions(name) for name in ("carried", "answer")},
        )


def _places(spec: PlantedSpec, generator: torch.Generator) -> tuple[list[Part], tuple[Node, ...], Node]:
    """The emotion's parts, the topic's own heads (a mover, two expressers), the decoy."""
    places = Places(generator)
    parts = [Part(places.head(0), (read,), "found", "detector") for read in _LEXICAL[: spec.languages]]
    first = places.pick(1, 2)
    parts += [Part(places.head(first), ("found",), "carried", "aggregator")]
    parts += [Part(places.head_between(1, 2), ("found",), "carried", "aggregator")]
    layer = places.pick(2, 3)
    parts.append(Part(Node("mlp", layer), ("carried",), "worked"))
    parts += [Part(places.head_between(layer + 1, 5), ("worked",), "answer", "expresser") for _ in range(2)]
    mover = places.head_between(0, 1)
    topic = (mover, places.head_between(layer + 1, 5), places.head_between(layer + 1, 5))
    return parts, topic, places.head_between(0, 5)


def _write_topic(builder: Builder, parts: list[Part], topic: tuple[Node, ...]) -> None:
    """The second task, through the shared heads and its own."""
    mover, *expressers = topic
    second = 8 + len(builder.spec.values)
    for part in parts:
        if part.role == "detector":
            builder.attention(part.node, "is_comma", "is_topic")
            builder.carry(part.node, "topic", "topic_found", builder.uniform(4, 6), first=second)
    shared = next(part.node for part in parts if part.role == "aggregator")
    builder.attention(shared, "is_last", "is_comma", 14.0)
    builder.carry(shared, "topic_found", "topic_carried", builder.uniform(4, 6), first=second)
    builder.attention(mover, "is_last", "is_topic", 14.0)
    builder.carry(mover, "topic", "topic_carried", builder.uniform(0.5, 0.8))
    builder.neurons(next(part.node.layer for part in parts if part.role is None), "topic_carried", "topic_worked")
    for node in expressers:
        builder.attention(node, "is_last", "is_last", 30.0)
        builder.carry(node, "topic_worked", "topic_answer", builder.uniform(5, 7))


def _write(builder: Builder, parts: list[Part]) -> None:
    """The emotion's circuit; the shared heads attend already."""
    gains = iter((1.0, builder.uniform(0.4, 0.6)))
    for part in parts:
        if part.role == "detector":
            builder.carry(part.node, part.reads[0], "found", builder.uniform(5, 7))
        elif part.role == "aggregator":
            gain = next(gains)
            if gain < 1:
                builder.attention(part.node, "is_last", "is_comma", 14.0)
            builder.carry(part.node, "found", "carried", gain * builder.uniform(5, 7))
        elif part.role is None:
            builder.neurons(part.node.layer, "carried", "worked")
        else:
            builder.attention(part.node, "is_last", "is_last", 30.0)
            builder.carry(part.node, "worked", "answer", builder.uniform(2.5, 3.5))
