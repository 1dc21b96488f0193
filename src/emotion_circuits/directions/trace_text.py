"""The trace: where along a text and through the layers an emotion is written, moved and read.

The residual stream is a sum: embedding + every block's attention + every block's MLP. So is its projection on a
direction, and each head's part is the projection of its output through the output projection (direct attribution,
Elhage et al. 2021; nothing is linearised). The parts are asserted to sum to the projection of the residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations.sinks import SINK
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, Site, observe
from emotion_circuits.model.families import at_path
from emotion_circuits.model.token_texts import token_text, token_texts
from emotion_circuits.page.notebook import card, shortened

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Trace", "check_parts", "head_readers", "trace"]

TOLERANCE = 1e-3
"""Largest accepted gap between the parts and the whole, as a fraction of the largest part (float32 rounding)."""


@dataclass(frozen=True, eq=False)
class Trace:
    """One text seen along the directions of one layer's directions.

    All figures are projections on unit directions in residual norms of the layer the directions were fitted at
    (``unit``), so 0.1 is a tenth of a typical state.

    Attributes:
        text: the text.
        tokens: its tokens as text.
        labels: emotions.
        layer: the layer whose directions were used for attribution.
        projection: ``[label, depth, token]``: the residual stream entering layer 0, then leaving each layer, each on the
            directions of its own layer (entry 0 uses layer 0's), in that layer's residual norms.
        middle: ``[label, layer, token]``: between attention and MLP, likewise; ``None`` where a block has no such place.
        embedding: ``[label, token]`` part of the embedding along the attribution directions.
        attention: ``[label, layer, token]`` part of each block's attention.
        mlp: ``[label, layer, token]`` part of each block's MLP.
        heads: ``[label, layer, head, token]`` parts of attention by head; ``None`` where a norm follows attention.
        bias: ``[label, layer]`` part of attention's output bias, which belongs to no head.
        whole: ``[label, token]`` projection of the residual stream leaving ``layer``.
        gap: largest difference between the sum of parts and ``whole``, as a fraction of the largest part.
        attention_from_last: ``[layer, head, token]`` attention of the last token to every token.
        logit_lens: per depth, the three likeliest next tokens and their probabilities at the last token.
        note: what could not be split, in words.
        sinks: tokens that are attention sinks in some layer, the first one always (:mod:`emotion_circuits.activations.sinks`).
    """

    text: str
    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    layer: int
    projection: Float[Tensor, "label depth token"]
    middle: Float[Tensor, "label layer token"] | None
    embedding: Float[Tensor, "label token"]
    attention: Float[Tensor, "label layer token"]
    mlp: Float[Tensor, "label layer token"]
    heads: Float[Tensor, "label layer head token"] | None
    bias: Float[Tensor, "label layer"]
    whole: Float[Tensor, "label token"]
    gap: float
    attention_from_last: Float[Tensor, "layer head token"] | None
    logit_lens: tuple[tuple[tuple[str, float], ...], ...]
    note: str = ""
    sinks: tuple[int, ...] = (0,)

    def __repr__(self) -> str:
        along = ", ".join(self.labels)
        return f"Trace({shortened(self.text)!r}, {len(self.tokens)} tokens, {along} along directions of layer {self.layer})"

    def _repr_html_(self) -> str:
        facts = {"text": shortened(self.text, 200), "tokens": len(self.tokens), "layer": self.layer, "note": self.note}
        wholes = pd.DataFrame(
            {
                "label": self.labels,
                "whole at the last token": self.whole[:, -1].tolist(),
                "largest part": [self.components(label)["component"].iloc[0] for label in self.labels],
            }
        )
        return card("Trace", facts, wholes)

    def plot(self, label: str | None = None, kind: Literal["layers", "path", "parts"] = "layers") -> Figure:
        """The report's picture of it.

        Args:
            label: the emotion; the first one by default.
            kind: ``layers``: every layer and token; ``path``: the largest parts and where heads look; ``parts``: what wrote it at
                the last token.

        Raises:
            EmotionCircuitsError: no such label, or no such picture.
        """
        from emotion_circuits.directions.trace_pictures import component_bars, path_picture, projection_heatmap

        drawn = self.labels[0] if label is None else label
        if drawn not in self.labels:
            raise EmotionCircuitsError(f"no label {drawn!r} in this trace; there are {', '.join(self.labels)}")
        if kind == "layers":
            return projection_heatmap(self, drawn)
        if kind == "path":
            return path_picture(self, drawn)
        if kind == "parts":
            return component_bars(self.components(drawn))
        raise EmotionCircuitsError(f"no picture {kind!r} of a trace; there are layers, path, parts")

    def components(self, label: str, token: int = -1) -> pd.DataFrame:
        """What every component wrote at a token: ``component, layer, part``; they sum to ``whole``, largest first."""
        k = self.labels.index(label)
        rows: list[dict[str, object]] = [
            {"component": "embedding", "layer": -1, "part": float(self.embedding[k, token])}
        ]
        for layer in range(self.attention.shape[1]):
            if self.heads is None:
                rows.append({"component": f"L{layer} attention", "layer": layer,
                             "part": float(self.attention[k, layer, token])})  # fmt: skip
            else:
                for head in range(self.heads.shape[2]):
                    rows.append({"component": f"L{layer}H{head}", "layer": layer,
                                 "part": float(self.heads[k, layer, head, token])})  # fmt: skip
                if bool(self.bias[k, layer] != 0):
                    rows.append({"component": f"L{layer} attention bias", "layer": layer,
                                 "part": float(self.bias[k, layer])})  # fmt: skip
            rows.append({"component": f"L{layer} MLP", "layer": layer, "part": float(self.mlp[k, layer, token])})
        table = pd.DataFrame(rows)
        return table.reindex(table["part"].abs().sort_values(ascending=False, kind="stable").index).reset_index(
            drop=True
        )


@torch.inference_mode()
def trace(model: LanguageModel, text: str, directions: DirectionSet, layer: int | None = None) -> Trace:
    """Trace a text along the directions.

    Args:
        model: the model the directions belong to.
        text: what to trace.
        directions: a fitted set at ``resid_post`` with every layer of the model.
        layer: whose directions parts are attributed along; by default the chosen layer, else the middle one.

    Raises:
        EmotionCircuitsError: directions of another width or site, no text, or parts that do not sum to the whole.
    """
    if directions.kind != "resid_post" or directions.d_model != model.d_model:
        raise EmotionCircuitsError(
            f"trace needs resid_post directions of width {model.d_model}, got {directions.kind} of {directions.d_model}"
        )
    directions.check_fits(model)
    if not text.strip():
        raise EmotionCircuitsError("trace: the text is empty")
    at = layer if layer is not None else directions.chosen_layer
    at = directions.layers[len(directions.layers) // 2] if at is None else at
    directions.place(at)
    missing = set(range(model.n_layers)) - set(directions.layers)
    if missing:
        raise EmotionCircuitsError(f"trace needs directions at every layer; missing: {sorted(missing)}")
    batch = model.tokenize([text])
    last = model.n_layers
    sites = [Site("resid_pre", 0), *model.sites("resid_post", "attn_out", "mlp_out")]
    sites += model.sites("resid_mid") if model.has_resid_mid else []
    split = model.family.post_norm is None and "z" not in model.refused
    if split:
        sites += model.sites("z")
    watched = "pattern" not in model.refused
    if watched:
        sites += model.sites("pattern")
    with observe(model, sites) as record:
        model.hidden(batch)
    units = torch.stack([directions.unit(label, at) for label in directions.labels]).double()
    units = units / directions.norm(at)

    def along(kind: str, index: int) -> Float[Tensor, "label token"]:
        value = record[Site(kind, index)][0].double().cpu()  # type: ignore[arg-type]
        if not bool(torch.isfinite(value).all()):
            raise EmotionCircuitsError(f"{model.name} gives NaN or infinity at {kind} of layer {index}; use float32")
        return units @ value.T

    embedding = along("resid_pre", 0)
    attention = torch.stack([along("attn_out", i) for i in range(last)], 1)
    mlp = torch.stack([along("mlp_out", i) for i in range(last)], 1)
    whole = along("resid_post", at)
    parts = torch.cat([embedding[:, None], attention[:, : at + 1], mlp[:, : at + 1]], 1)
    gap = check_parts(model, parts.sum(1), whole, parts)
    heads = None
    bias = torch.zeros(len(directions.labels), last, dtype=torch.float64)
    note = "" if split else f"{model.family.name} normalises attention's output, so heads cannot be told apart exactly"
    if split:
        heads, bias = _by_head(model, record, units, attention)
    projection = [_own_layer(directions, record[Site("resid_pre", 0)][0], 0)]
    projection += [_own_layer(directions, record[Site("resid_post", i)][0], i) for i in range(last)]
    return Trace(
        text=text,
        tokens=tuple(token_texts(model.tokenizer, batch.input_ids[0].tolist())),
        labels=directions.labels,
        layer=at,
        projection=torch.stack(projection, 1),
        middle=torch.stack([_own_layer(directions, record[Site("resid_mid", i)][0], i) for i in range(last)], 1)
        if model.has_resid_mid
        else None,
        embedding=embedding,
        attention=attention[:, : at + 1],
        mlp=mlp[:, : at + 1],
        heads=None if heads is None else heads[:, : at + 1],
        bias=bias[:, : at + 1],
        whole=whole,
        gap=gap,
        attention_from_last=torch.stack([record[Site("pattern", i)][0, :, -1].float().cpu() for i in range(last)])
        if watched
        else None,
        logit_lens=_logit_lens(model, [record[Site("resid_post", i)][0, -1] for i in range(last)]),
        note=note,
        sinks=_sinks(model, directions, [record[Site("resid_post", i)][0] for i in range(last)]),
    )


def _sinks(model: LanguageModel, directions: DirectionSet, states: Sequence[Tensor]) -> tuple[int, ...]:
    relative = torch.stack([s.double().norm(dim=-1).cpu() / directions.norm(i) for i, s in enumerate(states)])
    return tuple(sorted({*range(max(1, len(model.prefix))), *(relative.amax(0) > SINK).nonzero()[:, 0].tolist()}))


def _own_layer(directions: DirectionSet, states: Tensor, layer: int) -> Float[Tensor, "label token"]:
    units = torch.stack([directions.unit(label, layer) for label in directions.labels]).double()
    result: Tensor = units @ states.double().cpu().T / directions.norm(layer)
    return result


def check_parts(model: LanguageModel, total: Tensor, whole: Tensor, parts: Tensor) -> float:
    """The largest difference between sums of parts and the whole, as a fraction of the largest part.

    Raises:
        EmotionCircuitsError: NaN or infinity, or a difference beyond rounding.
    """
    if not bool(torch.isfinite(total).all() & torch.isfinite(whole).all()):
        raise EmotionCircuitsError(f"{model.name} gives NaN or infinity; load it with dtype='float32'")
    largest = max(float(parts.abs().max()), float(whole.abs().max()))
    gap = float((total - whole).abs().max()) / largest if largest else 0.0
    if gap > (TOLERANCE if model.dtype in (torch.float32, torch.float64) else 0.05):
        raise EmotionCircuitsError(
            f"trace: the parts differ from the residual stream by {gap:.2g} of the largest part in {model.name}; "
            "its blocks add something that is neither attention nor MLP, so a trace would be wrong"
        )
    return gap


def head_readers(
    model: LanguageModel, layer: int, units: Float[Tensor, "direction d_model"]
) -> tuple[Float[Tensor, "head d_head direction"], Float[Tensor, " direction"]]:
    """What turns a layer's ``z`` into parts along directions: the output projection seen from them, and its bias."""
    module: Any = at_path(model.blocks[layer], model.family.out_proj)
    weight = model.out_projection(layer).flatten(0, 1).double().cpu()
    offset = getattr(module, "bias", None)
    bias = units @ offset.double().cpu() if isinstance(offset, Tensor) else torch.zeros(len(units)).double()
    return (weight @ units.T).unflatten(0, (model.n_heads, -1)), bias


def _by_head(
    model: LanguageModel, record: Mapping[Site, Tensor], units: Tensor, attention: Tensor
) -> tuple[Float[Tensor, "label layer head token"], Float[Tensor, "label layer"]]:
    """Each head's output through its rows of the output projection; asserted to sum to attention's part."""
    heads, biases = [], []
    for i in range(model.n_layers):
        read, bias = head_readers(model, i, units)
        part = torch.einsum("phd,hdl->lhp", record[Site("z", i)][0].double().cpu(), read)
        check_parts(model, part.sum(1) + bias[:, None], attention[:, i], part)
        heads.append(part)
        biases.append(bias)
    return torch.stack(heads, 1), torch.stack(biases, 1)


def _logit_lens(model: LanguageModel, states: Sequence[Tensor]) -> tuple[tuple[tuple[str, float], ...], ...]:
    """The likeliest next tokens if the model stopped at each layer (nostalgebraist 2020)."""
    norm = at_path(model.base, model.family.final_norm)
    logits = model.unembedding(norm(torch.stack([s.to(model.device) for s in states])[None]))[0].float()
    top = torch.softmax(model.capped(logits), -1).topk(3, -1)
    return tuple(
        tuple((token_text(model.tokenizer, i), float(p)) for i, p in zip(ids, ps, strict=True))
        for ids, ps in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    )
