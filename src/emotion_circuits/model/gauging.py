"""What interventions do to the tokens they act on, measured: how many were changed, and where these lay before and after.

A token counts as touched where its numbers at the site differ before and after: what is shown is what was done, and not what
was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.positions import Moment
from emotion_circuits.model.sites import Site

__all__ = ["Gauge", "Touched"]

_STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


@dataclass(frozen=True)
class Touched:
    """Tokens that were changed, and the sums of their projections on a direction.

    Attributes:
        tokens: how many, the text's first token not among them.
        before: sum of their projections before, in the units of the activations.
        after: the same afterwards.
        first: times the first token was changed (0 or 1).
        first_before: its projection before.
        first_after: its projection afterwards.
    """

    tokens: int = 0
    before: float = 0.0
    after: float = 0.0
    first: int = 0
    first_before: float = 0.0
    first_after: float = 0.0

    def __add__(self, other: Touched) -> Touched:
        return Touched(
            self.tokens + other.tokens, self.before + other.before, self.after + other.after,
            self.first + other.first, self.first_before + other.first_before, self.first_after + other.first_after,
        )  # fmt: skip


class Gauge:
    """Measures at one site, over all passes in which it is attached (``intervene(…, gauges=…)``).

    Args:
        site: in the residual stream, or what attention or an MLP adds to it.
        rows: of the batch; one may be named several times.
        directions: ``[len(rows), d_model]``, one for each; any length, only the direction counts.

    Raises:
        EmotionCircuitsError: a site inside attention or of a single head.
    """

    def __init__(self, site: Site, rows: Sequence[int], directions: Float[Tensor, "entry d_model"]) -> None:
        if site.kind not in _STREAM:
            raise EmotionCircuitsError(f"{site}: projections are measured at {', '.join(_STREAM)}")
        self.site = site
        self._rows = torch.tensor(list(rows), dtype=torch.long, device=directions.device)
        self._unit = torch.nn.functional.normalize(directions.detach().double(), dim=-1).float()
        self._sums: Tensor = torch.zeros(len(self._rows), 6, dtype=torch.float64, device=directions.device)
        self._seen: tuple[Tensor, Tensor] | None = None

    def before(self, value: Tensor, _moment: Moment) -> Tensor:
        """Attached in front of the interventions; changes nothing."""
        part = value[self._rows]
        self._seen = part, self._along(part)
        return value

    def after(self, value: Tensor, moment: Moment) -> Tensor:
        """Attached behind the interventions; changes nothing."""
        assert self._seen is not None
        (old, before), part = self._seen, value[self._rows]
        self._seen = None
        column = moment.columns[None, :]
        first, end = (t[self._rows, None] for t in (moment.first, moment.end))
        changed = (part != old).any(-1) & (column >= first) & (column < end)
        at_first = changed & (column == first)
        rest, after = changed & ~at_first, self._along(part)
        self._sums += torch.stack(
            [
                torch.where(where, what, 0.0).sum(-1, dtype=torch.float64)
                for where in (rest, at_first)
                for what in (torch.ones_like(before), before, after)
            ],
            dim=-1,
        )
        return value

    def _along(self, part: Float[Tensor, "entry position d_model"]) -> Float[Tensor, "entry position"]:
        return torch.einsum("epd,ed->ep", part.float(), self._unit)

    def read(self) -> list[Touched]:
        """What was touched so far, one record for each of ``rows``."""
        return [Touched(int(n), b, a, int(f), fb, fa) for n, b, a, f, fb, fa in self._sums.tolist()]
