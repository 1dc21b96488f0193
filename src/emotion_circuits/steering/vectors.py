"""Directions a sweep can inject, with the norms that give α its unit, and the control directions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emotion_circuits.activations import ActivationStore, residual_norms
from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, Site, observe
from emotion_circuits.model.language_model import Batch
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.paths import replacing
from emotion_circuits.record.notes import checked
from emotion_circuits.steering.contrasting import Contrast, LabelledRows

__all__ = [
    "SteeringVectors",
    "first_token_mean",
    "neutral_mean",
    "random_direction",
    "shuffled_directions",
    "vectors_from_store",
]

_MADE_OF = "made_of"
"""Entry of a file's metadata that names the model."""


class _DirectionSet(Protocol):
    """The part of a fitted set of directions that steering reads."""

    @property
    def labels(self) -> Sequence[str]: ...

    @property
    def layers(self) -> Sequence[int]: ...

    @property
    def vectors(self) -> Tensor: ...

    @property
    def norms(self) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """Unit directions by name and layer.

    Attributes:
        unit: name → ``[layer, d_model]``, each layer's row of length 1.
        norms: ``[layer]`` residual norm (median L2 norm of tokens, sinks left out); α = 1 adds a unit direction times this.
        lengths: name → ``[layer]`` length of the direction as it was fitted, for α in raw units.
        neutral: ``[layer, d_model]`` mean state of neutral sentences, from which a clamp can count.
        first: ``[layer, d_model]`` mean state of texts' first token, an attention sink.
        made_of: the model in whose residual stream they lie, where it is known.
    """

    unit: Mapping[str, Float[Tensor, "layer d_model"]]
    norms: Float[Tensor, " layer"]
    lengths: Mapping[str, Float[Tensor, " layer"]] = field(default_factory=dict)
    neutral: Float[Tensor, "layer d_model"] | None = None
    first: Float[Tensor, "layer d_model"] | None = None
    made_of: ModelMark | None = None

    def __repr__(self) -> str:
        return f"SteeringVectors({', '.join(self.unit)} at {len(self.norms)} layers)"

    def __post_init__(self) -> None:
        layers = len(self.norms)
        if not bool(((self.norms > 0) & torch.isfinite(self.norms)).all()):
            raise EmotionCircuitsError("steering vectors: every layer's residual norm must be positive and finite")
        for name, rows in self.unit.items():
            if rows.dim() != 2 or rows.shape[0] != layers:
                raise EmotionCircuitsError(
                    f"steering vectors: {name!r} has shape {list(rows.shape)}, expected [{layers}, d_model]"
                )
            off = (rows.float().norm(dim=-1) - 1).abs().max()
            if not bool(off < 1e-3):
                raise EmotionCircuitsError(f"steering vectors: {name!r} is not of unit length in every layer")

    @classmethod
    def from_raw(
        cls, raw: Mapping[str, Float[Tensor, "layer d_model"]], norms: Float[Tensor, " layer"]
    ) -> SteeringVectors:
        """From directions of any length.

        Raises:
            EmotionCircuitsError: a direction of length 0.
        """
        unit, lengths = {}, {}
        for name, rows in raw.items():
            wide = rows.detach().double()
            length = wide.norm(dim=-1)
            if not bool((length > 0).all()):
                layer = int((length <= 0).nonzero()[0])
                raise EmotionCircuitsError(f"steering vectors: {name!r} has length 0 in layer {layer}")
            unit[name], lengths[name] = (wide / length[:, None]).float(), length.float()
        return cls(unit, norms.float(), lengths)

    @classmethod
    def from_directions(cls, directions: _DirectionSet) -> SteeringVectors:
        """From a fitted direction set (``labels``, ``vectors [label, layer, d_model]``, ``norms [layer]``).

        Raises:
            EmotionCircuitsError: the set leaves out layers of the model before its last one.
        """
        if tuple(directions.layers) != tuple(range(len(directions.layers))):
            raise EmotionCircuitsError(
                f"steering needs directions at every layer; the set has layers {tuple(directions.layers)}. Capture all "
                "layers and fit again"
            )
        raw = {label: directions.vectors[i] for i, label in enumerate(directions.labels)}
        found = cls.from_raw(raw, torch.as_tensor(directions.norms))
        return replace(found, made_of=getattr(directions, "made_of", None))

    def with_directions(self, more: Mapping[str, Float[Tensor, "layer d_model"]]) -> SteeringVectors:
        """The same norms with further raw directions (label-shuffled ones, other extractors')."""
        added = SteeringVectors.from_raw(more, self.norms)
        return replace(self, unit={**self.unit, **added.unit}, lengths={**self.lengths, **added.lengths})

    def with_neutral(self, mean: Float[Tensor, "layer d_model"]) -> SteeringVectors:
        """The same directions with the mean state of neutral sentences (:func:`neutral_mean`)."""
        return replace(self, neutral=mean.detach().float())

    def with_first(self, mean: Float[Tensor, "layer d_model"]) -> SteeringVectors:
        """The same directions with the mean state of first tokens (:func:`first_token_mean`)."""
        return replace(self, first=mean.detach().float())

    def clear_of_first(self) -> SteeringVectors:
        """Directions without their component along the first token's state, at unit length again.

        Massive activations leak into a difference of means where one label's texts hold more of them; pushing every
        token that way makes them all a little like an attention sink, which costs fluency and says nothing.

        Raises:
            EmotionCircuitsError: the first token's state is not known.
        """
        if self.first is None:
            raise EmotionCircuitsError("steering vectors: with_first() must give the first token's mean state before")
        sink = torch.nn.functional.normalize(self.first.double(), dim=-1)
        unit, lengths = {}, dict(self.lengths)
        for name, rows in self.unit.items():
            rest = rows.double() - (rows.double() * sink).sum(-1, keepdim=True) * sink
            kept = rest.norm(dim=-1)
            unit[name] = (rest / kept[:, None]).float()
            if name in lengths:
                lengths[name] = lengths[name] * kept.float()
        return replace(self, unit=unit, lengths=lengths)

    def against_rest(self, emotions: Sequence[str], reference: str | None = "neutral") -> SteeringVectors:
        """Directions of *emotion − mean of all other labels* instead of *emotion − neutral*.

        What all emotions share (first person, being moved at all) drops out; what tells this one from the others is
        left. The fitted differences to neutral are combined, each at its fitted length.

        Args:
            emotions: all labels but neutral.
            reference: label the directions start from; without one they are against the rest already.

        Raises:
            EmotionCircuitsError: a direction whose fitted length is not known.
        """
        if reference is None:
            return self
        missing = [e for e in emotions if e not in self.unit or e not in self.lengths]
        if missing:
            raise EmotionCircuitsError(f"steering vectors: no fitted direction of {', '.join(missing)}")
        fitted = {e: self.unit[e].double() * self.lengths[e].double()[:, None] for e in emotions}
        total = torch.stack(list(fitted.values())).sum(0)
        share = 1 / len(emotions)  # the rest is the other emotions and neutral, whose own difference is 0
        return self.with_directions({e: rows - (total - rows) * share for e, rows in fitted.items()})

    def save(self, path: Path) -> None:
        """One safetensors file."""
        tensors = {"norms": self.norms}
        tensors |= {f"unit/{name}": rows for name, rows in self.unit.items()}
        tensors |= {f"length/{name}": rows for name, rows in self.lengths.items()}
        tensors |= {key: rows for key, rows in (("neutral", self.neutral), ("first", self.first)) if rows is not None}
        with replacing(path) as temporary:
            save_file(
                {key: rows.detach().cpu().float().contiguous() for key, rows in tensors.items()},
                temporary,
                # One entry: safetensors writes several in no order, and the same vectors are to be the same bytes.
                metadata=None if self.made_of is None else {_MADE_OF: json.dumps(asdict(self.made_of))},
            )

    @classmethod
    def load(cls, path: Path) -> SteeringVectors:
        """Read :meth:`save` back.

        Raises:
            EmotionCircuitsError: missing, damaged or changed.
        """
        try:
            with safe_open(checked(path), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
                noted = (file.metadata() or {}).get(_MADE_OF)
                made_of = None if noted is None else ModelMark.noted(loads(noted))
            norms = tensors["norms"]
        except (OSError, KeyError, SafetensorError) as error:
            raise EmotionCircuitsError(f"{path}: no steering vectors can be read here: {error}") from error

        def part(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): rows for key, rows in tensors.items() if key.startswith(prefix)}

        return cls(part("unit/"), norms, part("length/"), tensors.get("neutral"), tensors.get("first"), made_of)

    def check_fits(self, model: LanguageModel) -> None:
        """Refuse a model of another shape, and say it where they were made of another model.

        Raises:
            EmotionCircuitsError: another width, or another number of layers.
        """
        if self.unit and self.d_model != model.d_model:
            raise EmotionCircuitsError(f"steering vectors: width {self.d_model}, {model.name} has {model.d_model}")
        if len(self.norms) > model.n_layers:
            raise EmotionCircuitsError(f"steering vectors: {len(self.norms)} layers, {model.name} has {model.n_layers}")
        if self.made_of is not None:
            self.made_of.warn("the steering vectors were", model)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the directions."""
        return tuple(self.unit)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(next(iter(self.unit.values())).shape[-1]) if self.unit else 0

    def direction(self, name: str, layer: int) -> Float[Tensor, " d_model"]:
        """Unit direction of a layer.

        Raises:
            EmotionCircuitsError: no such direction or layer.
        """
        if name not in self.unit:
            raise EmotionCircuitsError(f"no direction named {name!r}; there are: {', '.join(self.unit)}")
        if not 0 <= layer < len(self.norms):
            raise EmotionCircuitsError(f"no direction for layer {layer}; there are layers 0 to {len(self.norms) - 1}")
        row: Tensor = self.unit[name][layer]
        return row

    def sha256(self) -> str:
        """Hash over names and numbers."""
        digest = hashlib.sha256()
        for name in sorted(self.unit):
            digest.update(name.encode())
            for part in (self.unit[name], self.lengths.get(name)):
                if part is not None:
                    digest.update(np.ascontiguousarray(part.detach().cpu().float().numpy()).tobytes())
        for rows in (self.norms, self.neutral, self.first):
            if rows is not None:
                digest.update(np.ascontiguousarray(rows.detach().cpu().float().numpy()).tobytes())
        return digest.hexdigest()


def random_direction(d_model: int, seed: int) -> Float[Tensor, " d_model"]:
    """A unit direction drawn uniformly from the sphere; the same one in every layer, as emotion directions nearly are.

    Args:
        d_model: width.
        seed: which one.
    """
    drawn = torch.randn(d_model, generator=torch.Generator().manual_seed(7_919 + seed), dtype=torch.float64)
    unit: Tensor = (drawn / drawn.norm()).float()
    return unit


@torch.inference_mode()
def first_token_mean(
    model: LanguageModel, texts: Sequence[str], *, batch_rows: int = 32, add_special_tokens: bool = True
) -> Float[Tensor, "layer d_model"]:
    """Mean state of the texts' first token at every layer's output.

    Args:
        model: the model.
        texts: any texts.
        batch_rows: texts per batch.
        add_special_tokens: ``False`` for text from a chat template.
    """
    sites = [Site("resid_post", layer) for layer in range(model.n_layers)]
    total = torch.zeros(model.n_layers, model.d_model, dtype=torch.float64)
    for start in range(0, len(texts), batch_rows):
        some = texts[start : start + batch_rows]
        whole = model.tokenize(some, side="right", add_special_tokens=add_special_tokens)
        # Nothing that follows is seen from the first token.
        batch = Batch(whole.input_ids[:, :1], whole.attention_mask[:, :1])
        with observe(model, sites) as record:
            model.hidden(batch)
        total += torch.stack([record[site][:, 0].double().sum(0).cpu() for site in sites])
    return total / len(texts)


def vectors_from_store(
    store: ActivationStore,
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    split: str = "train",
    reference: str | None = "neutral",
) -> SteeringVectors:
    """Difference of means, emotion minus neutral, per label and layer (Turner et al. 2023; Rimsky et al. 2024).

    Args:
        store: captured activations with labels.
        kind: where.
        pooling: which state of the sentence.
        split: rows the means are taken over.
        reference: label of neutral rows; ``None``: each emotion minus the mean of all others.

    Raises:
        EmotionCircuitsError: no neutral rows, or no emotional ones.
    """
    rows = LabelledRows.of_store(store, kind=kind, pooling=pooling, split=split)
    raw = rows.differences(reference)
    found = replace(
        SteeringVectors.from_raw(raw, residual_norms(store)), made_of=ModelMark.noted(store.manifest.get("model"))
    )
    return found.with_neutral(rows.neutral(reference))


def neutral_mean(
    store: ActivationStore,
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    split: str = "train",
    reference: str | None = "neutral",
) -> Float[Tensor, "layer d_model"]:
    """Mean state of neutral sentences at every layer; without a reference the mean of all labels' means.

    Args:
        store: captured activations with labels.
        kind: where.
        pooling: which state of the sentence.
        split: rows the mean is taken over.
        reference: label of neutral rows, where there are some.

    Raises:
        EmotionCircuitsError: no neutral rows.
    """
    return LabelledRows.of_store(store, kind=kind, pooling=pooling, split=split).neutral(reference)


def shuffled_directions(
    store: ActivationStore,
    emotion: str | None = None,
    *,
    count: int = 20,
    seed: int = 0,
    contrast: Contrast = "neutral",
    kind: str = "resid_post",
    pooling: str = "last",
    split: str = "train",
    reference: str | None = "neutral",
) -> dict[str, Float[Tensor, "layer d_model"]]:
    """Directions of the same procedure under shuffled labels: raw directions by name.

    Labels change places within each group of sentences (:func:`shuffled_labels`), so that a direction keeps everything but the
    contrast: the corpus, the topics, the norms, the number of rows.

    Args:
        store: captured activations with labels.
        emotion: which label's direction is taken of every shuffle, named ``shuffled <emotion> <i>``. ``None``: the first
            emotion's, named ``shuffled <i>``; emotions with equally many rows can share these.
        count: number of directions.
        seed: of the shuffles.
        contrast: as for the real directions: minus ``neutral``, or minus the mean of all other labels (``rest``).
        kind: as for the real directions.
        pooling: as for the real directions.
        split: as for the real directions.
        reference: label of neutral rows; ``None``: both contrasts are with all other labels.

    Raises:
        EmotionCircuitsError: no rows of the emotion, or no neutral ones.
    """
    rows = LabelledRows.of_store(store, kind=kind, pooling=pooling, split=split)
    return rows.shuffled(emotion, count=count, seed=seed, contrast=contrast, reference=reference)
