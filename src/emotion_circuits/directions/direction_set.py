"""What a fit leaves behind: one direction per emotion and layer, with the thresholds that turn it into a reader."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.page.notebook import card
from emotion_circuits.paths import make_folder, replacing, write_json
from emotion_circuits.prompts.contrast import compared_with, labels_of
from emotion_circuits.record.notes import checked

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["DirectionSet", "DirectionSetMeta"]

FORMAT = 1


class DirectionSetMeta(BaseModel):
    """The JSON beside the tensors.

    Attributes:
        format: version of this layout.
        extractor: how the directions were found.
        kind: site kind they live at.
        pooling: states they were fitted on.
        reading: states they are read from (differs from ``pooling`` for ``emotion``, which needs marked words).
        labels: emotions, in the order of the vectors.
        reference: label that the directions start from; ``None``: each starts from the mean of all the others.
        layers: model layers, in the order of the vectors.
        chosen_layer: the layer chosen on validation, where one was.
        fit: where it came from: model, weights, prompts hash, split, counts of used and excluded rows, options, which
            tokens were left out as attention sinks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    extractor: str
    kind: str
    pooling: str
    reading: str
    labels: tuple[str, ...] = Field(min_length=1)
    reference: str | None = "neutral"
    layers: tuple[int, ...] = Field(min_length=1)
    chosen_layer: int | None = None
    fit: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class DirectionSet:
    """Directions of several emotions at every captured layer.

    ``score_e(x) = vectors_e · x − thresholds_e``; a text expresses the emotion with the largest score where that is
    above 0, else nothing (neutral). Without a reference it expresses the one with the largest score.

    Attributes:
        extractor: name of the extractor.
        kind: site kind the states were captured at.
        pooling: pooling the vectors were fitted on.
        reading: pooling the thresholds were fitted on and texts are read from.
        labels: emotions (the reference is no direction).
        layers: the model layer of each entry of the layer axis.
        vectors: ``[label, layer, d_model]``, float32, in the units of the activations. Mean-type extractors: a
            difference of means. Probe-type extractors: log-odds against neutral per unit of activation.
        thresholds: ``[label, layer]``, in the unit of the scores.
        norms: ``[layer]`` residual norm (median L2 norm of tokens of neutral text, attention sinks left out):
            ``alpha = 1`` adds a unit direction this long.
        chosen_layer: the layer chosen on validation, or ``None``.
        fit: provenance.
        reference: label that the directions start from; a text that expresses none of the emotions is read as it.
            ``None``: each direction starts from the mean of all the others, and a text is read as one of them.
    """

    extractor: str
    kind: str
    pooling: str
    labels: tuple[str, ...]
    layers: tuple[int, ...]
    vectors: Float[Tensor, "label layer d_model"]
    thresholds: Float[Tensor, "label layer"]
    norms: Float[Tensor, " layer"]
    reading: str = ""
    chosen_layer: int | None = None
    fit: dict[str, Any] = field(default_factory=dict)
    reference: str | None = "neutral"

    def __post_init__(self) -> None:
        expected = (len(self.labels), len(self.layers))
        if self.vectors.dim() != 3 or tuple(self.vectors.shape[:2]) != expected:
            raise EmotionCircuitsError(
                f"directions {self.extractor}: vectors are {list(self.vectors.shape)}, expected "
                f"[{expected[0]} labels, {expected[1]} layers, d_model]"
            )
        if tuple(self.thresholds.shape) != expected or tuple(self.norms.shape) != expected[1:]:
            raise EmotionCircuitsError(
                f"directions {self.extractor}: thresholds {list(self.thresholds.shape)} and norms "
                f"{list(self.norms.shape)} do not fit {expected[0]} labels and {expected[1]} layers"
            )
        for name in ("vectors", "thresholds", "norms"):
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise EmotionCircuitsError(
                    f"directions {self.extractor}: {name} hold NaN or infinity; capture in float32 or bfloat16"
                )
        if not self.reading:
            object.__setattr__(self, "reading", self.pooling)

    def __repr__(self) -> str:
        chosen = "" if self.chosen_layer is None else f", layer {self.chosen_layer} chosen"
        width = self.vectors.shape[-1]
        return (
            f"DirectionSet({self.name}: {', '.join(self.labels)} at {len(self.layers)} layers of width {width}{chosen})"
        )

    def _repr_html_(self) -> str:
        facts = {"fitted by": self.name, "chosen layer": self.chosen_layer, "reference": self.reference}
        lengths = self._lengths()
        wide = lengths.pivot(index="layer", columns="emotion", values="relative_norm")[list(self.labels)]
        return card("Directions: length in residual norms", facts, wide.reset_index())

    def plot(self) -> Figure:
        """The report's picture of it: how long each direction is, in residual norms, layer by layer."""
        from emotion_circuits.page.figures import norms_by_layer

        return norms_by_layer(self._lengths())

    def _lengths(self) -> pd.DataFrame:
        from emotion_circuits.directions.geometry import norms_by_layer

        return norms_by_layer(self).rename(columns={"label": "emotion", "relative": "relative_norm"})

    @property
    def name(self) -> str:
        """``extractor.kind.pooling``, also the file name."""
        return f"{self.extractor}.{self.kind}.{self.pooling}"

    def sha256(self) -> str:
        """SHA-256 of what it is and of its numbers; how it was fitted and which layer was chosen do not count."""
        digest = hashlib.sha256(repr((self.name, self.reading, self.labels, self.layers)).encode())
        for tensor in (self.vectors, self.thresholds, self.norms):
            digest.update(tensor.detach().cpu().contiguous().double().numpy().tobytes())
        return digest.hexdigest()

    @property
    def made_of(self) -> ModelMark | None:
        """The model in whose residual stream they lie: the one they were fitted on, or mapped to."""
        return ModelMark.noted(self.fit.get("model") or self.fit.get("to"))

    def check_fits(self, model: LanguageModel) -> None:
        """Refuse a model of another width, and say it where they were made of another model.

        Raises:
            EmotionCircuitsError: another width, or a layer that the model has not got.
        """
        if self.d_model != model.d_model:
            raise EmotionCircuitsError(f"{self.name} has width {self.d_model}, {model.name} has {model.d_model}")
        if max(self.layers) >= model.n_layers:
            raise EmotionCircuitsError(
                f"{self.name} has layer {max(self.layers)}, {model.name} has {model.n_layers} layers"
            )
        if self.made_of is not None:
            self.made_of.warn(f"{self.name} was", model)

    @property
    def names(self) -> tuple[str, ...]:
        """Emotions, then the reference where there is one: what a text may be read as, in the order of :meth:`predict`."""
        return labels_of(self.labels, self.reference)

    def compared_with(self, label: str) -> tuple[str, ...]:
        """Labels of the sentences an emotion is compared with."""
        return compared_with(label, self.labels, self.reference)

    @property
    def d_model(self) -> int:
        """Width of a direction."""
        return int(self.vectors.shape[-1])

    def place(self, layer: int) -> int:
        """Index of a model layer on the layer axis.

        Raises:
            EmotionCircuitsError: the layer was not fitted.
        """
        try:
            return self.layers.index(layer)
        except ValueError:
            raise EmotionCircuitsError(f"{self.name}: no directions at layer {layer}; layers: {self.layers}") from None

    def row(self, label: str) -> int:
        """Index of an emotion on the label axis.

        Raises:
            EmotionCircuitsError: no such emotion.
        """
        try:
            return self.labels.index(label)
        except ValueError:
            raise EmotionCircuitsError(
                f"{self.name}: no direction for {label!r}; there are {', '.join(self.labels)}"
            ) from None

    def vector(self, label: str, layer: int) -> Float[Tensor, " d_model"]:
        """The raw direction."""
        return self.vectors[self.row(label), self.place(layer)]

    def unit(self, label: str, layer: int) -> Float[Tensor, " d_model"]:
        """The direction at length 1.

        Raises:
            EmotionCircuitsError: the direction is 0.
        """
        raw = self.vector(label, layer).double()
        length = raw.norm()
        if not bool(length > 0):
            raise EmotionCircuitsError(f"{self.name}: the direction of {label!r} at layer {layer} has length 0")
        unit: Tensor = (raw / length).to(self.vectors.dtype)
        return unit

    def norm(self, layer: int) -> float:
        """Residual norm of a layer, in activation units."""
        return float(self.norms[self.place(layer)])

    def scores(self, states: Float[Tensor, "row d_model"], layer: int) -> Float[Tensor, "row label"]:
        """Scores of pooled states of one layer; above 0 is on the emotion's side of its threshold."""
        at = self.place(layer)
        return states.double() @ self.vectors[:, at].double().T - self.thresholds[:, at].double()

    def predict(self, states: Float[Tensor, "row d_model"], layer: int) -> Int[Tensor, " row"]:
        """Index into :attr:`names` of the predicted label."""
        return decide(self.scores(states, layer), self.names)

    def with_layer(self, layer: int) -> DirectionSet:
        """The same directions with the chosen layer set."""
        self.place(layer)
        return replace(self, chosen_layer=layer)

    def save(self, folder: Path | str) -> Path:
        """Write ``<name>.safetensors`` and ``<name>.json``; returns the JSON's path."""
        folder = make_folder(Path(folder))
        tensors = {
            "vectors": self.vectors.float().contiguous(),
            "thresholds": self.thresholds.double().contiguous(),
            "norms": self.norms.double().contiguous(),
        }
        with replacing(folder / f"{self.name}.safetensors") as temporary:
            save_file(tensors, temporary, metadata={"format": str(FORMAT)})
        meta = DirectionSetMeta(
            extractor=self.extractor,
            kind=self.kind,
            pooling=self.pooling,
            reading=self.reading,
            labels=self.labels,
            reference=self.reference,
            layers=self.layers,
            chosen_layer=self.chosen_layer,
            fit=self.fit,
        )
        path = folder / f"{self.name}.json"
        write_json(path, meta.model_dump(mode="json"))
        return path

    @classmethod
    def load(cls, path: Path | str) -> DirectionSet:
        """Read a saved set; ``path`` is its JSON or its safetensors file.

        Raises:
            EmotionCircuitsError: missing, damaged, changed or of another format.
        """
        path = Path(path)
        base = path.with_suffix("") if path.suffix in (".json", ".safetensors") else path
        note, data = base.with_name(f"{base.name}.json"), base.with_name(f"{base.name}.safetensors")
        try:
            meta = DirectionSetMeta.model_validate(loads(checked(note).read_text(encoding="utf-8")))
            with safe_open(checked(data), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in ("vectors", "thresholds", "norms")}
        except FileNotFoundError as error:
            raise EmotionCircuitsError(f"{base}: no saved directions here ({error})") from error
        except (ValueError, ValidationError, SafetensorError, OSError) as error:
            raise EmotionCircuitsError(f"{base}: the saved directions are damaged: {error}") from error
        if meta.format != FORMAT:
            raise EmotionCircuitsError(f"{note}: format {meta.format} is not {FORMAT}; fit the directions again")
        return cls(
            extractor=meta.extractor,
            kind=meta.kind,
            pooling=meta.pooling,
            labels=meta.labels,
            layers=meta.layers,
            vectors=tensors["vectors"],
            thresholds=tensors["thresholds"],
            norms=tensors["norms"],
            reading=meta.reading,
            chosen_layer=meta.chosen_layer,
            fit=meta.fit,
            reference=meta.reference,
        )


def decide(scores: Float[Tensor, "row label"], names: Sequence[str]) -> Int[Tensor, " row"]:
    """Index of the name with the largest score; that of a reference, which stands behind the others, is 0.

    Args:
        scores: one column per emotion.
        names: the emotions, then the reference where there is one.
    """
    return torch.cat([scores, scores.new_zeros(len(scores), len(names) - scores.shape[1])], dim=1).argmax(1)
