"""Names for the places in a transformer that can be watched or changed.

A site is a *kind* at a *layer*, optionally one *head* of it. Shapes (TransformerLens order):

========================  =====================================  =================================================
kind                      shape                                  what it is
========================  =====================================  =================================================
``resid_pre``             ``[batch, position, d_model]``         residual stream entering the block
``resid_mid``             ``[batch, position, d_model]``         between attention and MLP (sequential blocks only)
``resid_post``            ``[batch, position, d_model]``         residual stream leaving the block
``attn_out``              ``[batch, position, d_model]``         what attention adds to the residual stream
``mlp_out``               ``[batch, position, d_model]``         what the MLP adds to the residual stream
``q`` ``k`` ``v``         ``[batch, position, head, d_head]``    after rotary and q/k norm; k, v repeated per query head
``z``                     ``[batch, position, head, d_head]``    head outputs before the output projection
``scores`` ``pattern``    ``[batch, head, query, key]``          attention before / after the softmax (masked: -inf / 0)
========================  =====================================  =================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.hook_names import hook_of, kind_and_layer

__all__ = ["ATTENTION_KINDS", "HEAD_KINDS", "KINDS", "RESIDUAL_KINDS", "Site", "SiteKind"]

SiteKind = Literal[
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "scores", "pattern", "z"
]
KINDS: tuple[SiteKind, ...] = get_args(SiteKind)
RESIDUAL_KINDS: tuple[SiteKind, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEAD_KINDS: tuple[SiteKind, ...] = ("q", "k", "v", "scores", "pattern", "z")
ATTENTION_KINDS: tuple[SiteKind, ...] = ("q", "k", "v", "scores", "pattern")


@dataclass(frozen=True, order=True)
class Site:
    """A place in the model: ``Site("resid_post", layer=9)``, ``Site("z", layer=1, head=10)``.

    Args:
        kind: one of :data:`KINDS`.
        layer: zero-based layer index.
        head: zero-based query-head index, only for the kinds that have heads; ``None`` means all heads.

    Raises:
        EmotionCircuitsError: unknown kind, negative layer, or a head on a kind that has none.
    """

    kind: SiteKind
    layer: int
    head: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise EmotionCircuitsError(f"unknown site kind {self.kind!r}; known kinds: {', '.join(KINDS)}")
        if self.layer < 0:
            raise EmotionCircuitsError(f"site {self.kind}: layer must be 0 or more, got {self.layer}")
        if self.head is not None and self.kind not in HEAD_KINDS:
            raise EmotionCircuitsError(f"site {self.kind} has no heads; heads exist at {', '.join(HEAD_KINDS)}")
        if self.head is not None and self.head < 0:
            raise EmotionCircuitsError(f"site {self.kind}: head must be 0 or more, got {self.head}")

    def __str__(self) -> str:
        head = "" if self.head is None else f".H{self.head}"
        return f"{self.kind}.L{self.layer}{head}"

    @property
    def hook_name(self) -> str:
        """What TransformerLens calls it; all heads together, since its names have none.

        Example:
            >>> Site("z", 3).hook_name
            'blocks.3.attn.hook_z'
        """
        return hook_of(self.kind, self.layer)

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read a site that is written as ``str()`` writes it, or as TransformerLens calls it.

        Example:
            >>> Site.parse("z.L1.H10"), Site.parse("blocks.9.hook_resid_post")
            (Site(kind='z', layer=1, head=10), Site(kind='resid_post', layer=9, head=None))

        Raises:
            EmotionCircuitsError: neither; or a place of TransformerLens that is no site here, with the nearest that is.
        """
        named = kind_and_layer(text)
        if named is not None:
            return cls(*named)  # type: ignore[arg-type]  # checked in __post_init__
        parts = text.split(".")
        try:
            kind, layer = parts[0], int(parts[1].removeprefix("L"))
            head = int(parts[2].removeprefix("H")) if len(parts) > 2 else None
        except (IndexError, ValueError):
            raise EmotionCircuitsError(
                f"cannot read site {text!r}; write it as KIND.Llayer or KIND.Llayer.Hhead, e.g. z.L1.H10, or as "
                "TransformerLens does, e.g. blocks.1.attn.hook_z"
            ) from None
        return cls(kind, layer, head)  # type: ignore[arg-type]  # checked in __post_init__

    @classmethod
    def of(cls, place: Site | str) -> Site:
        """The site itself, or the one that a text names (:meth:`parse`)."""
        return cls.parse(place) if isinstance(place, str) else place
