"""The kinds of file that a vector leaves and comes in: one table, one writer, one reader that looks at what a file is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange.card import Card
from emotion_circuits.exchange.control_gguf import read_control_gguf, write_control_gguf
from emotion_circuits.exchange.easysteer import SPEC, read_easysteer, write_easysteer
from emotion_circuits.exchange.hub import HUB_FILE, from_pretrained, read_hub_folder, write_hub_folder
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.exchange.tensor_files import read_tensors, write_tensors
from emotion_circuits.model.families import FAMILIES
from emotion_circuits.paths import path_of, replacing

__all__ = ["KINDS", "Kind", "as_written", "read_vector", "write_card", "write_vector"]

_PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".npy", ".npz"}
_SCALE = "doses other than scale 1: that is the strength that was chosen and measured"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: as ``--to`` has it.
        suffix: of the file; empty: a folder.
        whole: it tells the first token from the others.
        write: puts a vector there.
    """

    name: str
    suffix: str
    whole: bool
    write: Callable[[Path, PortableVector], None]


def _architecture(vector: PortableVector) -> str:
    """``model_type`` of Hugging Face, where it is known."""
    return vector.card.model.architecture if vector.card is not None else vector.hint


def _llama_cpp(file: Path, vector: PortableVector) -> None:
    architecture = _architecture(vector)
    family = FAMILIES.get(architecture)
    hint = architecture if family is None else family.gguf
    if not hint:
        raise EmotionCircuitsError(
            f"llama.cpp does not run the architecture {architecture!r}" if architecture else
            "the vector's file does not say of what architecture its model is, which a llama.cpp file needs"
        )  # fmt: skip
    if 0 in vector.rows:
        raise EmotionCircuitsError(
            "the vector acts behind layer 0, where llama.cpp adds nothing: steer a later layer, or export as repeng, "
            "steering-vectors, easysteer, safetensors or hub"
        )
    write_control_gguf(file, vector, hint)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("llama.cpp", ".gguf", False, _llama_cpp),
        Kind("repeng", ".gguf", False, lambda file, vector: write_control_gguf(file, vector, _architecture(vector))),
        Kind("steering-vectors", ".safetensors", False, write_tensors),
        Kind("easysteer", "", True, lambda folder, vector: write_easysteer(folder, vector, _architecture(vector))),
        Kind("safetensors", ".safetensors", True, write_tensors),
        Kind("hub", "", True, write_hub_folder),
    )
}
"""By name. Weights are no vector any more: :mod:`emotion_circuits.exchange.baking`."""


def as_written(vector: PortableVector, kind: str) -> PortableVector:
    """The vector as a kind of file carries it, its card telling what it does not.

    Args:
        vector: whole.
        kind: of :data:`KINDS`, or ``weights``.

    Raises:
        EmotionCircuitsError: all of it is at the first token, and this kind knows no positions.
    """
    whole = kind in KINDS and KINDS[kind].whole
    carried = vector if whole else vector.everywhere()
    if vector.card is None:
        return carried
    card = vector.card
    cannot = []
    if card.model.prefix == "auto":
        cannot.append(
            "the neutral token that the run puts before every text, so that its first token is never a word"
            + (
                ": load the model with prefix='auto'"
                if kind in ("safetensors", "hub")
                else ": put one there (a beginning-of-text token), or the first word is pushed as an attention sink"
            )
        )
    # An earlier kind of file may have lost it already.
    if not carried.spares_first and card.condition.get("positions") == "rest":
        strength = float(card.condition.get("first", 0))
        cannot.append(
            f"the strength of {strength:g} residual norms at the first token, which is an attention sink: here that token is "
            "pushed like all others. The rows 'all but the first' are nearest to what this file does"
            if strength
            else "that the first token, an attention sink, is left as it is: here it is pushed like all others"
        )
    if kind == "easysteer":
        cannot.append("the model: EasySteer compares neither hash nor name; the card names both")
    if kind in ("llama.cpp", "repeng", "steering-vectors"):
        cannot.append("a check of the model's weights: the program adds the vector to any model of this width")
    cannot.append(_SCALE if kind != "weights" else "another strength: it is baked in; export again for another one")
    return replace(carried, card=card.model_copy(update={"cannot": tuple(cannot)}))


def write_vector(vector: PortableVector, kind: str, place: Path) -> PortableVector:
    """Write a vector, and its card for people beside it (in a folder: ``README.md``).

    Args:
        vector: whole.
        kind: of :data:`KINDS`.
        place: file or folder; a folder is made where it is missing.

    Returns:
        The vector as the file carries it.

    Raises:
        EmotionCircuitsError: the kind is unknown or cannot carry the vector, or it cannot be written.
    """
    if kind not in KINDS:
        raise EmotionCircuitsError(f"no kind of file {kind!r}; there are: {', '.join(KINDS)}")
    how = KINDS[kind]
    if how.suffix and place.is_dir():
        raise EmotionCircuitsError(f"{place}: is a folder; {kind} is one file, name one that ends in {how.suffix}")
    if how.suffix and place.suffix.lower() != how.suffix:
        raise EmotionCircuitsError(f"{place}: a file of kind {kind} ends in {how.suffix}, by which it is known again")
    if not how.suffix and place.exists() and not place.is_dir():
        raise EmotionCircuitsError(f"{place}: is a file; {kind} is a folder of files, name a folder")
    found = as_written(vector, kind)
    how.write(place, found)
    if found.card is not None and kind != "hub":
        write_card(place.with_suffix(".md") if how.suffix else place / "README.md", found.card, kind)
    return found


def write_card(file: Path, card: Card, kind: str) -> None:
    """The card for people."""
    with replacing(file) as temporary:
        temporary.write_text(card.markdown(kind), encoding="utf-8")


def read_vector(name: str | Path, *, revision: str | None = None) -> PortableVector:
    """Read a vector of any kind: this program's, llama.cpp's, repeng's, EasySteer's.

    Args:
        name: a ``.gguf`` or ``.safetensors`` file, a folder with ``steering.json`` or ``vector.safetensors``, or a repository of
            the hub, ``OWNER/NAME``.
        revision: of the hub's repository.

    Raises:
        EmotionCircuitsError: nothing there, damaged, a pickle, or something that is no vector.

    Example::

        vector = read_vector("gratitude.gguf")
        vector.check_fits(model)
        generate(model, ["When the bus arrived, she"], interventions=vector.interventions())
    """
    text, place = str(name), path_of(str(name))
    if place.is_dir():
        if (place / SPEC).is_file():
            return read_easysteer(place)
        if (place / HUB_FILE).is_file():
            return read_hub_folder(place)
        raise EmotionCircuitsError(f"{place}: holds neither {HUB_FILE} (hub) nor {SPEC} (EasySteer)")
    suffix = place.suffix.lower()
    if suffix in _PICKLES:
        raise EmotionCircuitsError(
            f"{place}: pickled files are not read, since unpickling can run code. Save the vector with its own program as GGUF "
            "(repeng: export_gguf) or safetensors (steering-vectors: see docs/howto/export.md)"
        )
    if place.exists() or suffix in (".gguf", ".safetensors"):
        if not place.is_file():
            raise EmotionCircuitsError(f"{place}: {'is no file' if place.exists() else 'no such file'}")
        if suffix == ".safetensors":
            return read_tensors(place)
        if suffix == ".gguf":
            return read_control_gguf(place)
        raise EmotionCircuitsError(f"{place}: a vector ends in .gguf or .safetensors, or is a folder of one")
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        return from_pretrained(text, revision=revision)
    raise EmotionCircuitsError(f"{place}: no such file or folder")
