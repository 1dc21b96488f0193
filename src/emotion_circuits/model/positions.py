"""Where in the sequence, and when in time, an intervention acts.

Positions are counted over *real* tokens, so the same object means the same thing under left padding, right padding
and one by one, with and without the KV cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["ALL", "LAST", "REST", "Moment", "Positions", "When"]

When = Literal["prompt", "generated", "all"]


@dataclass(frozen=True)
class Positions:
    """Which token positions.

    Attributes:
        kind: ``all``; ``rest`` (all but the first real token, which is an attention sink); ``last`` (the prompt's last
            token, and every generated token, each of which is the last when it is written); ``indices`` (the same
            positions in every row); ``per_row`` (own positions in each row, e.g. the tokens of an emotion word).
        indices: for ``indices``: counted from the first real token; negative ones from the prompt's end. Under
            ``when="generated"`` they count generated tokens, 0 being the first.
        rows: for ``per_row``: one tuple of indices (counted as above) per row the intervention acts on.
    """

    kind: Literal["all", "rest", "last", "indices", "per_row"] = "all"
    indices: tuple[int, ...] = ()
    rows: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "indices" and not self.indices:
            raise EmotionCircuitsError("Positions of kind 'indices' needs at least one index")
        if self.kind == "per_row" and not self.rows:
            raise EmotionCircuitsError("Positions of kind 'per_row' needs one tuple of indices per row")

    @classmethod
    def at(cls, *indices: int) -> Positions:
        """``Positions.at(0, -1)``: the first and the last real token of the prompt."""
        return cls("indices", tuple(indices))

    @classmethod
    def per_row(cls, rows: list[tuple[int, ...]] | tuple[tuple[int, ...], ...]) -> Positions:
        """Own positions in each row (a span mask)."""
        return cls("per_row", rows=tuple(tuple(r) for r in rows))

    @property
    def everywhere(self) -> bool:
        """Whether no position is left out."""
        return self.kind == "all"


ALL = Positions("all")
"""Every token."""
REST = Positions("rest")
"""Every token but the first, which is an attention sink."""
LAST = Positions("last")
"""The prompt's last token, and every generated one."""


@dataclass(frozen=True)
class Moment:
    """What one forward pass of the model is looking at.

    Attributes:
        columns: ``[position]`` padded column index of each query position of this pass.
        first: ``[batch]`` column of each row's first real token.
        prompt_end: ``[batch]`` column just after each row's prompt.
        end: ``[batch]`` column just after each row's last real token so far.
        padded: whether any column of any row is padding.
    """

    columns: Int[Tensor, " position"]
    first: Int[Tensor, " batch"]
    prompt_end: Int[Tensor, " batch"]
    end: Int[Tensor, " batch"]
    padded: bool

    @property
    def batch(self) -> int:
        """Rows in this pass."""
        return int(self.first.shape[0])

    def keys(self, count: int) -> Moment:
        """The same moment on the key axis, which ends at the same column and may reach back into the cache."""
        last = int(self.columns[-1]) + 1
        columns = torch.arange(last - count, last, device=self.columns.device)
        return Moment(columns, self.first, self.prompt_end, self.end, self.padded)

    def covers(self, positions: Positions, when: When) -> bool:
        """Whether the choice is every position of this pass (so that no mask is needed)."""
        if self.padded or not (positions.everywhere or positions.kind == "rest"):
            return False
        if positions.kind == "rest" and not bool((self.columns[0] > self.first).all()):
            return False
        generated = bool((self.columns[0] >= self.prompt_end).all())
        prompt = bool((self.columns[-1] < self.prompt_end).all())
        return when == "all" or (when == "generated" and generated) or (when == "prompt" and prompt)

    def select(self, positions: Positions, when: When, rows: Int[Tensor, " row"]) -> Bool[Tensor, "row position"]:
        """True where an intervention acts, for the given batch rows; never on padding."""
        column = self.columns[None, :]
        first, prompt_end, end = (t[rows, None] for t in (self.first, self.prompt_end, self.end))
        real = (column >= first) & (column < end)
        in_prompt = column < prompt_end
        allowed = real if when == "all" else real & in_prompt if when == "prompt" else real & ~in_prompt
        if positions.kind == "all":
            return allowed
        if positions.kind == "rest":
            return allowed & (column > first)
        if positions.kind == "last":
            return allowed & ((column == prompt_end - 1) | ~in_prompt)
        origin = prompt_end if when == "generated" else first
        if positions.kind == "indices":
            per_row = (positions.indices,) * len(rows)
        else:
            if len(positions.rows) != len(rows):
                raise EmotionCircuitsError(
                    f"per-row positions were given for {len(positions.rows)} rows, the intervention acts on {len(rows)}"
                )
            per_row = positions.rows
        width = max((len(r) for r in per_row), default=0)
        if width == 0:
            return torch.zeros_like(allowed)
        if when == "generated" and any(i < 0 for r in per_row for i in r):
            raise EmotionCircuitsError("indices of generated tokens count from 0; negative ones have no fixed meaning")
        nowhere = torch.iinfo(torch.long).min // 4
        wanted = torch.tensor([list(r) + [nowhere] * (width - len(r)) for r in per_row], device=column.device)
        target = torch.where(wanted >= 0, origin + wanted, prompt_end + wanted)
        return allowed & (target[:, :, None] == column[:, None, :]).any(1)
