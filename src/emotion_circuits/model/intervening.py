"""Change a model while it runs: ``with intervene(model, [Add(...), Ablate(...), Patch(...)]): ...``.

An intervention is data: a site, the rows of the batch it acts on, the positions, when in time, and what it does.
When the block ends the model's output is bit-identical to before; with ``alpha=0`` it is bit-identical all along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.gauging import Gauge
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.positions import ALL, Moment, Positions, When
from emotion_circuits.model.sites import HEAD_KINDS, Site
from emotion_circuits.model.wiring import Edit, Key, wiring_of

__all__ = ["Ablate", "Add", "Clamp", "Gate", "Intervention", "Patch", "check_intervention", "for_rows", "intervene"]

Change = Callable[[Tensor, Moment], Tensor]
"""``(part [row, position, feature…], moment) -> new part``."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Gate:
    """A condition on the value an intervention finds: it acts only where the gate is open.

    Judged token by token on the value at the intervention's own site, as changed by interventions before it.

    Attributes:
        direction: ``[d_model]``, ``[d_head]`` with a head, or ``[head, d_head]`` for all heads (each head is then gated
            by itself); any length, only its direction counts.
        threshold: of the projection on the unit direction, in the units of the activations.
        side: open ``above`` the threshold, or ``below`` it.
    """

    direction: Tensor
    threshold: float
    side: Literal["above", "below"] = "above"


@dataclass(frozen=True, eq=False, kw_only=True)
class Intervention:
    """What every intervention says.

    Attributes:
        site: where in the model.
        rows: rows of the batch it acts on; ``None`` means all.
        positions: which tokens (:class:`Positions`).
        when: ``prompt`` tokens, ``generated`` tokens, or ``all``.
        gate: acts only where this is open (conditional steering); ``None``: everywhere.
    """

    site: Site
    rows: tuple[int, ...] | None = None
    positions: Positions = ALL
    when: When = "all"
    gate: Gate | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Intervention):
    """``value += alpha * vector``.

    Attributes:
        vector: ``[d_model]``, or ``[d_head]`` with a head, or ``[head, d_head]`` for all heads; at scores and pattern
            ``[key]`` or ``[head, key]``, indexed by padded column (a score of -inf knocks a key out; keys after the
            vector's end get 0).
        alpha: strength, in units of the vector given.
    """

    vector: Tensor
    alpha: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Ablate(Intervention):
    """Take something away.

    Attributes:
        mode: ``zero``; ``mean`` (put ``value``, a mean activation, in its place); ``resample`` (put ``value``,
            activations of another run, in its place); ``directional`` (remove the component along ``direction``).
        value: for ``mean``: the shape of one position at the site; for ``resample``: as :class:`Patch`.
        direction: for ``directional``: ``[d_model]`` or ``[d_head]``; any length, only its direction counts.
    """

    mode: Literal["zero", "mean", "resample", "directional"] = "zero"
    value: Tensor | None = None
    direction: Tensor | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Patch(Intervention):
    """Put activations of another run in place.

    Attributes:
        value: as recorded by :func:`observe` for the same rows and the same padding: axis 1 (for scores and pattern:
            the query axis) is indexed by padded column; a length of 1 there is broadcast over positions.
    """

    value: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Clamp(Intervention):
    """Set the projection on a direction to a value, whatever it was; the rest of the value stays as it is.

    Attributes:
        direction: ``[d_model]``, ``[d_head]`` with a head, or ``[head, d_head]`` for all heads; any length, only its
            direction counts.
        value: the projection on the unit direction afterwards, in the units of the activations.
    """

    direction: Tensor
    value: float


def for_rows(interventions: Sequence[Intervention], rows: Sequence[int]) -> list[Intervention]:
    """The same interventions acting on the given rows of a larger batch."""
    return [replace(i, rows=tuple(rows)) for i in interventions]


@contextmanager
def intervene(
    model: LanguageModel,
    interventions: Sequence[Intervention],
    *,
    prompt_ends: Int[Tensor, " batch"] | None = None,
    gauges: Sequence[Gauge] = (),
) -> Iterator[None]:
    """Apply interventions to every forward pass inside the ``with`` block, in the order given.

    Args:
        model: the model.
        interventions: what to do. An empty list changes nothing.
        prompt_ends: padded column just after each row's prompt. By default the first pass (without a filled cache)
            is the prompt and what follows is generated; say it when a whole prompt + continuation is run at once.
        gauges: what to measure of them (:mod:`.gauging`).

    Raises:
        SiteUnavailableError: the model has no such site.
        EmotionCircuitsError: a vector or value that does not fit its site, or is not finite.
    """
    for intervention in interventions:
        check_intervention(model, intervention)
    edits = _compile(interventions)
    for gauge in gauges:
        model.check_site(gauge.site)
        key: Key = (gauge.site.kind, gauge.site.layer)
        edits = [(key, gauge.before), *edits, (key, gauge.after)]
    wiring = wiring_of(model)
    if prompt_ends is not None and wiring.prompt_end is not None:
        raise EmotionCircuitsError("prompt_ends is already set by an enclosing intervene()")
    wiring.add(edits=edits)
    if prompt_ends is not None:
        wiring.prompt_end = prompt_ends
    try:
        yield
    finally:
        wiring.remove(edits=edits)
        if prompt_ends is not None:
            wiring.prompt_end = None


def _feature_shape(model: LanguageModel, site: Site) -> tuple[int, ...]:
    """The shape of one position at a site, in edit layout."""
    if site.kind in ("scores", "pattern"):
        return (-1,) if site.head is not None else (model.n_heads, -1)
    if site.kind in HEAD_KINDS:
        return (model.d_head,) if site.head is not None else (model.n_heads, model.d_head)
    return (model.d_model,)


def _fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    return len(shape) == len(expected) and all(e in (-1, s) for s, e in zip(shape, expected, strict=True))


def check_intervention(model: LanguageModel, i: Intervention) -> None:
    """Refuse an intervention that a model cannot carry.

    Raises:
        SiteUnavailableError: the model has no such site.
        EmotionCircuitsError: a vector or value that does not fit its site, or is not finite.
    """
    model.check_site(i.site)
    if i.rows is not None and (not i.rows or min(i.rows) < 0 or len(set(i.rows)) != len(i.rows)):
        raise EmotionCircuitsError(f"{type(i).__name__} at {i.site}: rows must be distinct and 0 or more, got {i.rows}")
    if i.when not in ("prompt", "generated", "all"):
        raise EmotionCircuitsError(
            f"{type(i).__name__} at {i.site}: when must be 'prompt', 'generated' or 'all', got {i.when!r}"
        )
    expected = _feature_shape(model, i.site)

    def need(what: str, tensor: Tensor | None, leading: int = 0) -> None:
        if tensor is None:
            raise EmotionCircuitsError(f"{type(i).__name__} at {i.site} needs {what}")
        shape = tuple(tensor.shape)
        if not _fits(shape[leading:], expected) or len(shape) != leading + len(expected):
            lead = "row, position, " if leading else ""
            raise EmotionCircuitsError(
                f"{type(i).__name__} at {i.site}: {what} has shape {list(shape)}, expected [{lead}"
                f"{', '.join('key' if e < 0 else str(e) for e in expected)}]"
            )
        # A score of -inf is a key that cannot be attended to; nothing else may be infinite.
        finite = torch.isfinite(tensor) | ((tensor == float("-inf")) & (i.site.kind == "scores"))
        if not bool(finite.all()):
            raise EmotionCircuitsError(f"{type(i).__name__} at {i.site}: {what} holds NaN or infinity")

    def need_direction(direction: Tensor | None) -> None:
        if i.site.kind in ("scores", "pattern"):
            raise EmotionCircuitsError(f"{type(i).__name__} at {i.site}: a direction needs a vector space, not keys")
        need("direction", direction)
        assert direction is not None
        if not bool((direction.float().norm(dim=-1) > 0).all()):
            raise EmotionCircuitsError(f"{type(i).__name__} at {i.site}: the direction has length 0")

    if i.gate is not None:
        need_direction(i.gate.direction)
        if i.gate.side not in ("above", "below") or i.gate.threshold != i.gate.threshold:
            raise EmotionCircuitsError(
                f"{type(i).__name__} at {i.site}: a gate needs a threshold and the side 'above' or 'below'"
            )
    if isinstance(i, Add):
        need("vector", i.vector)
        if not torch.isfinite(torch.tensor(float(i.alpha))):
            raise EmotionCircuitsError(f"Add at {i.site}: alpha must be finite, got {i.alpha}")
        if i.alpha < 0 and bool(torch.isinf(i.vector).any()):
            raise EmotionCircuitsError(f"Add at {i.site}: a vector that holds -inf needs alpha 0 or more")
    elif isinstance(i, Patch):
        need("value", _edit_layout(i.site, i.value), leading=2)
    elif isinstance(i, Ablate):
        if i.mode == "mean":
            need("value", i.value)
        elif i.mode == "resample":
            need("value", None if i.value is None else _edit_layout(i.site, i.value), leading=2)
        elif i.mode == "directional":
            need_direction(i.direction)
        elif i.mode != "zero":
            raise EmotionCircuitsError(
                f"Ablate at {i.site}: mode must be zero, mean, resample or directional, got {i.mode!r}"
            )
    elif isinstance(i, Clamp):
        need_direction(i.direction)
        if not torch.isfinite(torch.tensor(float(i.value))):
            raise EmotionCircuitsError(f"Clamp at {i.site}: value must be finite, got {i.value}")
    else:
        raise EmotionCircuitsError(f"{type(i).__name__} is not an intervention this model can carry")


def _edit_layout(site: Site, value: Tensor) -> Tensor:
    """Recorded layout to edit layout: scores and pattern become ``[row, query, head, key]``."""
    if site.kind in ("scores", "pattern") and site.head is None and value.dim() == 4:
        return value.transpose(1, 2)
    return value


def _compile(interventions: Sequence[Intervention]) -> list[tuple[Key, Edit]]:
    """Edits in order; neighbouring Adds that share site, positions and time become one addition."""
    edits: list[tuple[Key, Edit]] = []
    pending: list[Add] = []

    def flush() -> None:
        if pending:
            edits.append(((pending[0].site.kind, pending[0].site.layer), _grouped_add(tuple(pending))))
            pending.clear()

    # Additions at different sites commute with one another, so grouping by site keeps the meaning.
    adds: dict[tuple[Site, Positions, When], list[Add]] = {}
    for i in interventions:
        if isinstance(i, Add) and i.positions.kind != "per_row" and i.gate is None:
            adds.setdefault((i.site, i.positions, i.when), []).append(i)
            continue
        for group in adds.values():
            pending.extend(group)
            flush()
        adds.clear()
        edits.append(((i.site.kind, i.site.layer), _single(i)))
    for group in adds.values():
        pending.extend(group)
        flush()
    return edits


def _grouped_add(group: tuple[Add, ...]) -> Edit:
    site, positions, when = group[0].site, group[0].positions, group[0].when
    for_all: Tensor | None = None
    by_row: dict[int, Tensor] = {}
    for add in group:
        delta = _delta(add)
        if add.rows is None:
            for_all = delta if for_all is None else for_all + delta
        else:
            for row in add.rows:
                by_row[row] = delta if row not in by_row else by_row[row] + delta
    named = torch.tensor(sorted(by_row), dtype=torch.long)
    stacked = torch.stack([by_row[int(r)] for r in named]) if by_row else None

    def deltas(batch: int) -> tuple[Int[Tensor, " row"] | None, Float[Tensor, "row feature"]]:
        if stacked is None:
            assert for_all is not None
            return None, for_all[None].expand(batch, *for_all.shape)
        _rows_exist(site, named, batch)
        if for_all is None:
            return (None if len(named) == batch else named), stacked
        full = for_all[None].repeat(batch, *([1] * for_all.dim()))
        full[named] += stacked
        return None, full

    def change(part: Tensor, delta: Tensor, mask: Tensor | None, moment: Moment) -> Tensor:
        delta = _align_keys(site, delta.to(part)[:, None], part, moment, fill=0.0)
        if mask is not None:
            delta = torch.where(mask.view(*mask.shape, *([1] * (part.dim() - 2))), delta, 0.0)
        return part + delta

    def edit(value: Tensor, moment: Moment) -> Tensor:
        rows, delta = deltas(value.shape[0])
        mask = None
        if not moment.covers(positions, when):
            index = torch.arange(value.shape[0]) if rows is None else rows
            mask = moment.select(positions, when, index.to(value.device))
            if not bool(mask.any()):
                return value
        return _put(value, rows, site.head, lambda part: change(part, delta, mask, moment))

    return edit


def _single(i: Intervention) -> Edit:
    how = _how(i)
    rows = None if i.rows is None else torch.tensor(i.rows, dtype=torch.long)

    def edit(value: Tensor, moment: Moment) -> Tensor:
        if rows is not None:
            _rows_exist(i.site, rows, value.shape[0])
        mask: Tensor | None = None
        if not moment.covers(i.positions, i.when):
            index = torch.arange(value.shape[0]) if rows is None else rows
            mask = moment.select(i.positions, i.when, index.to(value.device))
            if not bool(mask.any()):
                return value

        def change(part: Tensor) -> Tensor:
            new = how(part, moment)
            if i.gate is not None:
                new = torch.where(_open(i.gate, part), new, part)
            if mask is None:
                return new
            return torch.where(mask.view(*mask.shape, *([1] * (part.dim() - 2))), new, part)

        return _put(value, rows, i.site.head, change)

    return edit


def _how(i: Intervention) -> Change:
    """What the intervention does to the values it is shown."""
    if isinstance(i, Add):
        delta = _delta(i)
        return lambda part, moment: part + _align_keys(i.site, delta.to(part), part, moment, fill=0.0)
    if isinstance(i, Patch):
        return _from_columns(_edit_layout(i.site, i.value), i)
    if isinstance(i, Clamp):
        return _along(i.direction, float(i.value))
    assert isinstance(i, Ablate)
    if i.mode == "zero":
        return lambda part, _moment: torch.zeros_like(part)
    if i.mode == "mean":
        mean = i.value
        assert mean is not None
        return lambda part, moment: _align_keys(i.site, mean.to(part), part, moment).expand_as(part)
    if i.mode == "resample":
        assert i.value is not None
        return _from_columns(_edit_layout(i.site, i.value), i)
    assert i.direction is not None
    return _along(i.direction, 0.0)


def _projection(direction: Tensor, part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The unit direction, the part in at least float32, and the projection of one on the other."""
    unit = torch.nn.functional.normalize(direction.detach().double(), dim=-1)
    u = unit.to(part.device, torch.promote_types(part.dtype, torch.float32))
    wide = part.to(u.dtype)
    return u, wide, (wide * u).sum(-1, keepdim=True)


def _along(direction: Tensor, value: float) -> Change:
    """Set the component along a direction."""

    def change(part: Tensor, _moment: Moment) -> Tensor:
        u, wide, found = _projection(direction, part)
        return (wide - (found - value) * u).to(part.dtype)

    return change


def _open(gate: Gate, part: Tensor) -> Tensor:
    """``[row, position, (head,) 1]``: where a gate lets its intervention act."""
    _, _, found = _projection(gate.direction, part)
    return found > gate.threshold if gate.side == "above" else found < gate.threshold


def _from_columns(value: Tensor, i: Intervention) -> Change:
    def take(part: Tensor, moment: Moment) -> Tensor:
        source = value.to(part)
        if source.shape[0] not in (1, part.shape[0]):
            raise EmotionCircuitsError(
                f"{type(i).__name__} at {i.site}: value has {source.shape[0]} rows, it acts on {part.shape[0]}"
            )
        if source.shape[1] != 1:
            columns = moment.columns
            inside = columns < source.shape[1]
            taken = source[:, columns.clamp(max=source.shape[1] - 1)]
            taken = _align_keys(i.site, taken, part, moment)
            shape = (1, -1, *([1] * (part.dim() - 2)))
            return torch.where(inside.view(shape), taken.expand_as(part), part)
        return _align_keys(i.site, source, part, moment).expand_as(part)

    return take


def _delta(add: Add) -> Tensor:
    """``alpha * vector``, differentiable; exactly 0 for ``alpha=0``, also where the vector holds -inf."""
    vector = add.vector.float()
    return torch.zeros_like(vector) if add.alpha == 0 else vector * float(add.alpha)


def _align_keys(site: Site, value: Tensor, part: Tensor, moment: Moment, fill: float | None = None) -> Tensor:
    """Scores and patterns on the keys this pass attends to; other sites are left as they are.

    Keys are named by their padded column. A pass with a cache may have more keys than the value knows (they get
    ``fill``; by default no weight: -inf for scores, 0 for a pattern), or, under a sliding window, only the latest.
    """
    if site.kind not in ("scores", "pattern") or value.shape[-1] == part.shape[-1] == int(moment.columns[-1]) + 1:
        return value
    if fill is None:
        fill = float("-inf") if site.kind == "scores" else 0.0
    columns = moment.keys(part.shape[-1]).columns
    known = columns < value.shape[-1]
    return torch.where(known, value[..., columns.clamp(max=value.shape[-1] - 1)], fill)


def _put(value: Tensor, rows: Tensor | None, head: int | None, change: Callable[[Tensor], Tensor]) -> Tensor:
    """``value`` with ``change`` applied to the chosen rows and head, out of place."""
    part = value if rows is None else value[rows.to(value.device)]
    if head is None:
        new = change(part)
    else:
        new = part.clone()
        new[:, :, head] = change(part[:, :, head])
    if rows is None:
        return new
    out = value.clone()
    out[rows.to(value.device)] = new
    return out


def _rows_exist(site: Site, rows: Tensor, batch: int) -> None:
    if int(rows.max()) >= batch:
        raise EmotionCircuitsError(
            f"an intervention at {site} names row {int(rows.max())}, the batch has rows 0 to {batch - 1}"
        )
