"""Read any text with fitted directions: which emotion its states show, and how far beyond the threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import FRAME, READABLE, Sinks, frame_tokens
from emotion_circuits.activations.pooling import batches_by_length, run_batch
from emotion_circuits.activations.sinks import STREAM
from emotion_circuits.directions.direction_set import DirectionSet, decide
from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.record.notes import checked

__all__ = ["READER_FILE", "Reader", "pooled_states", "save_reader", "sinks_of"]

READER_FILE = "reader.json"


@torch.inference_mode()
def pooled_states(
    model: LanguageModel,
    texts: Sequence[str],
    sinks: Sinks,
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    layers: Sequence[int] = (),
    frame: str = FRAME,
    batch_tokens: int = 1024,
) -> Float[Tensor, "layer text d_model"]:
    """Pooled states of texts at some layers, as a capture in the model's dtype gives them; float32.

    Args:
        model: the model.
        texts: non-empty texts.
        sinks: which tokens are left out (:attr:`.activations.ActivationStore.sinks`, :func:`sinks_of`).
        kind: residual-stream site kind.
        pooling: ``last``, ``mean``, ``weighted`` or ``frame`` (``emotion`` needs marked words).
        layers: which layers.
        frame: the words of pooling ``frame``.
        batch_tokens: upper bound of tokens in one forward pass.

    Returns:
        NaN where a text has no such state: sinks are left out, and without a prefix a text of one token has nothing else.

    Raises:
        EmotionCircuitsError: a text without tokens or beyond the model's context, a pooling that needs marked words, sinks
            that were measured with another prefix.
    """
    if pooling not in READABLE:
        raise EmotionCircuitsError(f"texts cannot be read by pooling {pooling!r}; use {', '.join(READABLE)}")
    if sinks.prefix != model.prefix:
        raise EmotionCircuitsError(
            f"{model.name} begins texts with tokens {list(model.prefix)}, the directions were fitted with "
            f"{list(sinks.prefix)} before every text; give the model that prefix"
        )
    if not texts:
        return torch.zeros(len(layers), 0, model.d_model)
    suffix = frame_tokens(model, frame) if pooling == "frame" else []
    ids = model.encode(texts, room=len(suffix)).ids
    for index, row in enumerate(ids):
        if len(row) <= len(model.prefix):
            raise EmotionCircuitsError(f"text {index + 1} ({texts[index]!r}) has no tokens for {model.name}")
    out = torch.zeros(len(layers), len(texts), model.d_model)
    absent = torch.zeros(len(layers), len(texts), dtype=torch.bool)
    with progress_bar(f"reading with {model.name}", len(texts)) as bar:
        for rows in batches_by_length([[*row, *suffix] for row in ids], batch_tokens):
            found, without = run_batch(model, [ids[i] for i in rows], [kind], layers, pooling, sinks, frame)
            out[:, rows], absent[:, rows] = found[kind].float(), without[kind]
            bar.advance(len(rows))
    if not bool((torch.isfinite(out).all(-1) | absent).all()):
        raise EmotionCircuitsError(f"{model.name} gives NaN or infinity; load it with dtype='bfloat16' or 'float32'")
    return out


def sinks_of(directions: DirectionSet) -> Sinks:
    """Which tokens are left out where directions read: as in the capture they were fitted on.

    Directions that note nothing of it are judged by their own residual norms.

    Raises:
        EmotionCircuitsError: nothing noted, and directions that do not live in the residual stream.
    """
    noted = directions.fit.get("sinks")
    if noted:
        return Sinks.from_json(noted)
    if directions.kind not in STREAM:
        raise EmotionCircuitsError(
            f"{directions.name}: which tokens are attention sinks is not known where it was fitted; capture and fit again"
        )
    return Sinks(directions.layers, {directions.kind: tuple(directions.norms.tolist())})


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads texts with one or several members, each a set of directions at a layer.

    Members' scores are divided by their spread on the data they were fitted on (``scales``) and averaged, so that each
    counts the same.

    Attributes:
        model: the model the directions belong to.
        members: ``(directions, layer)``.
        scales: one per member, in the unit of its scores.
        frame: words of pooling ``frame``.
    """

    model: LanguageModel
    members: tuple[tuple[DirectionSet, int], ...]
    scales: tuple[float, ...] = ()
    frame: str = FRAME

    def __repr__(self) -> str:
        members = ", ".join(f"{directions.name} at layer {layer}" for directions, layer in self.members)
        return f"Reader({self.model.name}: {members})"

    def __post_init__(self) -> None:
        if not self.members:
            raise EmotionCircuitsError("a reader needs at least one set of directions and a layer")
        names = self.members[0][0].names
        for directions, layer in self.members:
            directions.place(layer)
            if directions.names != names:
                raise EmotionCircuitsError(f"members of a reader need the same labels: {names} and {directions.names}")
            if directions.d_model != self.model.d_model:
                raise EmotionCircuitsError(
                    f"{directions.name} has width {directions.d_model}, {self.model.name} has {self.model.d_model}"
                )
        if self.scales and len(self.scales) != len(self.members):
            raise EmotionCircuitsError(f"{len(self.scales)} scales for {len(self.members)} members of a reader")

    @classmethod
    def of(cls, model: LanguageModel, directions: DirectionSet, layer: int | Sequence[int] | None = None) -> Reader:
        """A reader of one set at one layer (its chosen one by default) or averaged over several.

        Raises:
            EmotionCircuitsError: no layer given and none chosen.
        """
        where = directions.chosen_layer if layer is None else layer
        if where is None:
            raise EmotionCircuitsError(f"{directions.name}: no layer was chosen on validation; say which to read at")
        layers = (where,) if isinstance(where, int) else tuple(where)
        return cls(model, tuple((directions, at) for at in layers), frame=directions.fit.get("frame") or FRAME)

    @classmethod
    def load(cls, model: LanguageModel, folder: Path | str) -> Reader:
        """The reader a study saved beside its directions (``reader.json``).

        Raises:
            EmotionCircuitsError: none there, damaged, or of another model.
        """
        path = Path(folder) / READER_FILE
        try:
            note: dict[str, Any] = loads(checked(path).read_text(encoding="utf-8"))
            members = [(DirectionSet.load(path.parent / m["directions"]), int(m["layer"])) for m in note["members"]]
            scales = tuple(float(m["scale"]) for m in note["members"])
            frame = str(note["frame"])
        except FileNotFoundError as error:
            raise EmotionCircuitsError(
                f"{path}: no reader here; run 'emotion-circuits run' first, or say which run with --run"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise EmotionCircuitsError(f"{path}: is damaged ({error}); run the study again") from error
        for directions, _ in members:
            if (mark := directions.made_of) is not None:
                mark.require(
                    f"{path.parent}: {directions.name} was", model,
                    "its thresholds hold for that model alone: load that one, or fit a reader of this one",
                )  # fmt: skip
        return cls(model, tuple(members), scales, frame)

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions, then the reference where there is one: what a text may be read as."""
        return self.members[0][0].names

    @property
    def emotions(self) -> tuple[str, ...]:
        """Those that have a score."""
        return self.members[0][0].labels

    def scores(self, texts: Sequence[str]) -> Float[Tensor, "text label"]:
        """One score per text and emotion, that of the reference 0; the largest wins. NaN: see :func:`pooled_states`."""
        total = torch.zeros(len(texts), len(self.emotions), dtype=torch.float64)
        by_states: dict[tuple[str, str], list[int]] = {}
        for index, (directions, _) in enumerate(self.members):
            by_states.setdefault((directions.kind, directions.reading), []).append(index)
        scales = self.scales or (1.0,) * len(self.members)
        for (kind, reading), indices in by_states.items():
            layers = sorted({self.members[i][1] for i in indices})
            states = pooled_states(
                self.model, texts, sinks_of(self.members[indices[0]][0]), kind=kind, pooling=reading, layers=layers,
                frame=self.frame,
            )  # fmt: skip
            for i in indices:
                directions, layer = self.members[i]
                total += directions.scores(states[layers.index(layer)], layer) / scales[i]
        return total / len(self.members)

    def read(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text: ``text``, ``label`` and ``score_<emotion>``.

        A text that is nothing but attention sinks cannot be read: its label is ``None``, its scores are NaN. Without a prefix
        that is every text of one token.

        Raises:
            EmotionCircuitsError: an empty text.
        """
        for index, text in enumerate(texts):
            if not text.strip():
                raise EmotionCircuitsError(f"text {index + 1} is empty")
        scores = self.scores(list(texts))
        known = ~scores.isnan().any(-1)
        labels = [self.labels[int(i)] if ok else None for i, ok in zip(decide(scores, self.labels), known, strict=True)]
        table = pd.DataFrame({"text": list(texts), "label": pd.Series(labels, dtype=object)})
        for k, label in enumerate(self.emotions):
            table[f"score_{label}"] = scores[:, k].numpy()
        return table


def save_reader(
    folder: Path | str,
    members: Sequence[tuple[DirectionSet, int]],
    *,
    scales: Sequence[float] | None = None,
    frame: str = FRAME,
    validation: dict[str, float] | None = None,
) -> Path:
    """Write ``reader.json`` beside saved directions.

    Args:
        folder: the folder of the directions; sets that are not there yet are saved too.
        members: directions and layers.
        scales: one per member; 1 by default.
        frame: words of pooling ``frame``.
        validation: accuracy by corpus the choice rests on, kept for the reader of the file.

    Raises:
        EmotionCircuitsError: a scale that is not positive.
    """
    folder = Path(folder)
    sizes = list(scales) if scales is not None else [1.0] * len(members)
    if len(sizes) != len(members) or any(not (s > 0 and math.isfinite(s)) for s in sizes):
        raise EmotionCircuitsError(f"a reader of {len(members)} members needs as many positive scales, got {sizes}")
    for directions, _ in members:
        directions.save(folder)
    write_json(
        folder / READER_FILE,
        {
            "members": [
                {"directions": d.name, "layer": layer, "scale": float(s)}
                for (d, layer), s in zip(members, sizes, strict=True)
            ],
            "frame": frame,
            "validation": dict(validation or {}),
        },
    )
    return folder / READER_FILE
