"""A vector that can leave its run: what is added to the residual stream, layer by layer, its strength folded in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange.card import Card
from emotion_circuits.model import ALL, REST, Add, Intervention, LanguageModel, Positions, Site

__all__ = ["PortableVector", "portable"]

_log = logging.getLogger(__name__)
_FIRST = Positions.at(0)


@dataclass(frozen=True, eq=False)
class PortableVector:
    """What is added to the output of decoder blocks, in the units of the activations.

    Attributes:
        rows: layer → ``[d_model]``, added at every token, or at every token but the first where ``spares_first``.
        first: layer → ``[d_model]``, added at the first token, where ``spares_first``.
        spares_first: the first token, an attention sink, gets ``first`` instead of ``rows``.
        card: what is known of it; ``None`` for a file of another program.
        hint: what another program's file says of its model: an architecture's name; empty where it says nothing.

    Example:
        >>> vector = PortableVector({1: torch.tensor([0.0, 2.0])})
        >>> [(add.site.layer, add.alpha) for add in vector.interventions(scale=0.5)]
        [(1, 0.5)]
    """

    rows: Mapping[int, Float[Tensor, " d_model"]]
    first: Mapping[int, Float[Tensor, " d_model"]] = field(default_factory=dict)
    spares_first: bool = False
    card: Card | None = None
    hint: str = ""

    def __repr__(self) -> str:
        return f"PortableVector(layers {', '.join(map(str, self.rows or self.first))})"

    def __post_init__(self) -> None:
        every = [*self.rows.items(), *self.first.items()]
        if not every:
            raise EmotionCircuitsError("it holds no vector of any layer")
        if self.first and not self.spares_first:
            raise EmotionCircuitsError("vectors of the first token need spares_first")
        widths = {tuple(row.shape) for _, row in every}
        if len(widths) > 1 or any(row.dim() != 1 or not len(row) for _, row in every):
            raise EmotionCircuitsError(f"its vectors have the shapes {sorted(map(list, widths))}, not one width")
        for layer, row in every:
            if layer < 0:
                raise EmotionCircuitsError(f"it has a vector of layer {layer}; layers count from 0")
            if not bool(torch.isfinite(row).all()):
                raise EmotionCircuitsError(f"its vector of layer {layer} holds NaN or infinity")
        if not any(bool(row.any()) for _, row in every):
            raise EmotionCircuitsError("all of its numbers are 0, so it would change nothing")
        if self.card is not None:
            made = self.card.model
            if self.width != made.width or self.layers[-1] >= made.layers:
                raise EmotionCircuitsError(
                    f"it has width {self.width} and layer {self.layers[-1]}, and its card tells of a model of width "
                    f"{made.width} with {made.layers} layers"
                )

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks whose output is changed, in order."""
        return tuple(sorted({*self.rows, *self.first}))

    @property
    def width(self) -> int:
        """Of the residual stream."""
        return len(next(iter({**self.rows, **self.first}.values())))

    def everywhere(self) -> PortableVector:
        """As programs add it that know one vector per layer and no positions: at every token, the first among them.

        Raises:
            EmotionCircuitsError: all of it is at the first token.
        """
        if not self.rows:
            raise EmotionCircuitsError(
                "the run pushes the first token alone, which only the kinds safetensors, hub and easysteer carry; choose one "
                "of them"
            )
        return replace(self, first={}, spares_first=False)

    def interventions(self, scale: float = 1.0, rows: Sequence[int] | None = None) -> list[Intervention]:
        """What it does to a model, for :func:`emotion_circuits.intervene` and :func:`emotion_circuits.generate`.

        Args:
            scale: times the vector; 1 is the strength it was made with.
            rows: of the batch; by default all.
        """
        of = None if rows is None else tuple(rows)
        parts = ((self.rows, REST if self.spares_first else ALL), (self.first, _FIRST))
        return [
            Add(site=Site("resid_post", layer), rows=of, positions=where, vector=row, alpha=scale)
            for part, where in parts
            for layer, row in sorted(part.items())
        ]

    def check_fits(self, model: LanguageModel, *, other_model: bool = False) -> None:
        """Refuse a model that it was not made of.

        Args:
            model: to be steered.
            other_model: a model of other weights is meant; said as a warning.

        Raises:
            EmotionCircuitsError: another width, fewer layers, another architecture, or other weights.
        """
        if self.width != model.d_model or self.layers[-1] >= model.n_layers:
            raise EmotionCircuitsError(
                f"the vector has width {self.width} and acts on layer {self.layers[-1]}; {model.name} has width "
                f"{model.d_model} and layers 0 to {model.n_layers - 1}: it was made of another model"
            )
        if self.card is not None:
            if other_model:
                self.card.model.mark.warn("the vector was", model)
            else:
                self.card.model.mark.require(
                    "the vector was",
                    model,
                    "load that model, or say that another is meant (--other-model, other_model=True)",
                )
            return
        kind, known = str(model.config.model_type), {str(model.config.model_type), model.family.gguf}
        if self.hint and self.hint not in known and not other_model:
            raise EmotionCircuitsError(
                f"the vector was made of a model of kind {self.hint!r}, {model.name} is of kind {kind!r}; load that model, or "
                "say that another is meant (--other-model, other_model=True)"
            )
        _log.warning(
            "the vector's file does not tell the weights it was made of; of %s it is known that width and layers fit",
            model.name,
        )


def portable(interventions: Sequence[Intervention], card: Card | None = None) -> PortableVector:
    """A vector from what a condition does, see :func:`emotion_circuits.steering.interventions_for`.

    Args:
        interventions: additions to the residual stream behind blocks, at all tokens or at the first and the others.
        card: of the vector.

    Raises:
        EmotionCircuitsError: something else than an addition: no file carries it.
    """
    parts: dict[Positions, dict[int, Tensor]] = {ALL: {}, REST: {}, _FIRST: {}}
    for one in interventions:
        if not isinstance(one, Add):
            raise EmotionCircuitsError(
                f"the condition does more than add a vector ({type(one).__name__.lower()}), which no exported file carries; "
                "steer with operation 'add'"
            )
        if one.gate is not None or one.when != "all" or one.positions not in parts or one.site.kind != "resid_post":
            raise EmotionCircuitsError(
                "the condition acts at chosen tokens, times or places (a gate, 'when', 'positions'), which no exported file "
                "carries; steer all tokens, or the first and the others"
            )
        row = one.vector.detach().double().cpu() * one.alpha
        kept = parts[one.positions]
        kept[one.site.layer] = kept.get(one.site.layer, torch.zeros_like(row)) + row
    everywhere, rest, first = ({layer: row.float() for layer, row in part.items()} for part in parts.values())
    if everywhere and (rest or first):
        raise EmotionCircuitsError("the condition pushes some layers at all tokens and others not at the first one")
    return PortableVector(everywhere or rest, first, spares_first=not everywhere, card=card)
