"""Vectors that leave and come: files of other programs, the hub, and weights with a vector baked in."""

from emotion_circuits.exchange.baking import Baked, bake, cannot_bake
from emotion_circuits.exchange.card import Card, Effect, Made
from emotion_circuits.exchange.formats import KINDS, Kind, as_written, read_vector, write_card, write_vector
from emotion_circuits.exchange.hub import from_pretrained, push_to_hub
from emotion_circuits.exchange.portable import PortableVector, portable

__all__ = [
    "KINDS",
    "Baked",
    "Card",
    "Effect",
    "Kind",
    "Made",
    "PortableVector",
    "as_written",
    "bake",
    "cannot_bake",
    "from_pretrained",
    "portable",
    "push_to_hub",
    "read_vector",
    "write_card",
    "write_vector",
]
