"""The seams: where hooks are attached to a Hugging Face model, and taken off again.

One :class:`Wiring` per model holds what is being edited and what is being watched. Hooks exist only while something
is edited or watched; a model nobody looks at runs untouched. At every site edits run first, watchers see the result.

Inside attention the seam is transformers' own ``AttentionInterface`` (``_attn`` for GPT-Neo and GPT-J). The
registered function always calls the attention the model would have used (``sdpa`` or ``eager``), so that watching
cannot change a bit of the output. Edits of q, k, v, scores or pattern run two explicit computations, with and without
the edits: where they agree the model's own output stays, where they differ the edited one takes its place.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.families import at_path
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.positions import Moment
from emotion_circuits.model.sites import ATTENTION_KINDS, SiteKind

__all__ = ["Edit", "Watcher", "Wiring", "wiring_of"]

Edit = Callable[[Tensor, Moment], Tensor]
"""``(value [batch, position, (head,) feature], moment) -> value`` of the same shape; scores and pattern are passed
as ``[batch, query, head, key]`` so that position is always axis 1 and head axis 2."""

Watcher = Callable[[Tensor], None]
"""Receives the value in the same layout as edits do."""

Key = tuple[SiteKind, int]


@dataclass
class _Attachment:
    handles: list[Any]


class Wiring:
    """Edits and watchers of one model, and the hooks that serve them."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.edits: defaultdict[Key, list[Edit]] = defaultdict(list)
        self.watchers: defaultdict[Key, list[Watcher]] = defaultdict(list)
        self.prompt_end: Int[Tensor, " batch"] | None = None
        self._moment: Moment | None = None
        self._attached: dict[str, _Attachment] = {}
        self._restore_attention: str | None = None

    # -- what contexts call --------------------------------------------------------------------------------------

    def add(self, edits: Iterable[tuple[Key, Edit]] = (), watchers: Iterable[tuple[Key, Watcher]] = ()) -> None:
        """Attach edits and watchers: all of them, or none where the model cannot carry one."""
        edits, watchers = list(edits), list(watchers)
        for key, edit in edits:
            self.edits[key].append(edit)
        for key, watcher in watchers:
            self.watchers[key].append(watcher)
        try:
            self._sync()
        except BaseException:
            self.remove(edits, watchers)
            raise

    def remove(self, edits: Iterable[tuple[Key, Edit]] = (), watchers: Iterable[tuple[Key, Watcher]] = ()) -> None:
        """Detach them again; the last one out takes the hooks off."""
        for key, edit in edits:
            self.edits[key].remove(edit)
        for key, watcher in watchers:
            self.watchers[key].remove(watcher)
        self._sync()

    @property
    def first_layer(self) -> int | None:
        """The first layer at which anything is edited or watched; ``None``: nothing is."""
        return min((layer for _, layer in self._live()), default=None)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Inside the ``with`` block nothing is edited or watched but what is added there."""
        held = self.edits, self.watchers, self.prompt_end
        self.edits, self.watchers, self.prompt_end = defaultdict(list), defaultdict(list), None
        self._sync()
        try:
            yield
        finally:
            self.edits, self.watchers, self.prompt_end = held
            self._sync()

    @property
    def moment(self) -> Moment:
        """What the current forward pass looks at."""
        if self._moment is None:
            raise EmotionCircuitsError(
                "the model's blocks ran outside of a forward pass of the model: call the model, not its parts"
            )
        return self._moment

    # -- hooks ---------------------------------------------------------------------------------------------------

    def _live(self) -> set[Key]:
        return {k for table in (self.edits, self.watchers) for k, entries in table.items() if entries}

    def _sync(self) -> None:
        live = self._live()
        wanted: dict[str, Callable[[], list[Any]]] = {}
        if live:
            wanted["moment"] = self._attach_moment
        for kind, layer in live:
            if kind in ATTENTION_KINDS:
                wanted[f"attention.{layer}"] = lambda layer=layer: self._attach_attention(layer)  # type: ignore[misc]
            else:
                wanted[f"{kind}.{layer}"] = lambda kind=kind, layer=layer: self._attach_site(kind, layer)  # type: ignore[misc]
        for name in [n for n in self._attached if n not in wanted]:
            for handle in self._attached.pop(name).handles:
                handle.remove()
        for name, attach in wanted.items():
            if name not in self._attached:
                self._attached[name] = _Attachment(attach())
        if not live:
            self._moment = None
        self._switch_attention(any(kind in ATTENTION_KINDS for kind, _ in live))

    def _attach_moment(self) -> list[Any]:
        return [self.model.base.register_forward_pre_hook(self._before_forward, with_kwargs=True)]

    def _before_forward(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            ids = kwargs["inputs_embeds"]
        batch, length, device = ids.shape[0], ids.shape[1], ids.device
        cache = kwargs.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        columns = torch.arange(past, past + length, device=device)
        mask = kwargs.get("attention_mask")
        total = past + length
        if isinstance(mask, Tensor) and mask.dim() == 2:
            real = mask.bool()
            first = real.long().argmax(-1)
            end = total - real.flip(-1).long().argmax(-1)
            padded = not bool(real.all())
        else:
            first, end = torch.zeros(batch, dtype=torch.long, device=device), torch.full((batch,), total, device=device)
            padded = False
        if self.prompt_end is not None:
            prompt_end = self.prompt_end.to(device)
            if prompt_end.shape[0] != batch:
                raise EmotionCircuitsError(
                    f"prompt lengths were given for {prompt_end.shape[0]} rows, the model is run on {batch}"
                )
        elif past == 0:
            prompt_end = end
        elif self._moment is not None and self._moment.batch == batch:
            prompt_end = self._moment.prompt_end
        else:  # a cache filled before the context was entered: what it holds is the prompt
            prompt_end = torch.full((batch,), past, device=device)
        self._moment = Moment(columns, first, prompt_end, end, padded)

    def _attach_site(self, kind: SiteKind, layer: int) -> list[Any]:
        family, block = self.model.family, self.model.blocks[layer]
        key: Key = (kind, layer)
        if kind == "resid_pre":
            return [block.register_forward_pre_hook(self._on_input(key, in_place=False), with_kwargs=True)]
        if kind == "resid_mid":
            module = at_path(block, family.mid)
            # The block keeps this same tensor as its residual, so an edit is written into it.
            return [module.register_forward_pre_hook(self._on_input(key, in_place=True), with_kwargs=True)]
        if kind == "z":
            module = at_path(block, family.out_proj)
            return [module.register_forward_pre_hook(self._on_input(key, in_place=False), with_kwargs=True)]
        module = block if kind == "resid_post" else at_path(block, getattr(family, kind))
        return [module.register_forward_hook(self._on_output(key))]

    def _edited(self, key: Key, value: Tensor, moment: Moment) -> Tensor:
        for edit in self.edits[key]:
            value = edit(value, moment)
        return value

    def _pass_through(self, key: Key, value: Tensor) -> Tensor:
        if self.edits[key]:
            value = self._edited(key, value, self.moment)
        for watcher in self.watchers[key]:
            watcher(value)
        return value

    def _folded(self, value: Tensor) -> Tensor:
        """Some blocks (OPT) flatten batch and position before the MLP."""
        return value.view(self.moment.batch, -1, value.shape[-1]) if value.dim() == 2 else value

    def _on_input(self, key: Key, *, in_place: bool) -> Callable[..., Any]:
        heads = self.model.n_heads if key[0] == "z" else None

        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            value: Tensor = args[0] if args else kwargs["hidden_states"]
            seen = self._folded(value)
            if heads is not None:
                seen = seen.unflatten(-1, (heads, -1))
            new = self._pass_through(key, seen.clone() if in_place and self.edits[key] else seen)
            if new is seen or not self.edits[key]:
                return None
            new = new.reshape(value.shape)
            if in_place:
                value.copy_(new)
                return None
            if args:
                return (new, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": new}

        return hook

    def _on_output(self, key: Key) -> Callable[..., Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            value: Tensor = output[0] if isinstance(output, tuple) else output
            seen = self._folded(value)
            new = self._pass_through(key, seen)
            if new is seen:
                return None
            new = new.reshape(value.shape)
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return hook

    # -- inside attention ----------------------------------------------------------------------------------------

    def _attach_attention(self, layer: int) -> list[Any]:
        module = at_path(self.model.blocks[layer], self.model.family.attention)
        if self.model.family.seam == "method":
            return [_MethodSeam(self, layer, module)]
        return [_InterfaceSeam(self, layer, module)]

    def _switch_attention(self, needed: bool) -> None:
        if self.model.family.seam != "interface":
            return
        current = self.model.config._attn_implementation
        if needed and self._restore_attention is None:
            if current not in ("sdpa", "eager"):
                raise EmotionCircuitsError(
                    f"sites inside attention need attention implementation 'sdpa' or 'eager', not {current!r}: "
                    f"load the model with attn_implementation='sdpa'"
                )
            self._restore_attention = current
            _set_attention(self.model, f"emotion_circuits_{current}")
        elif not needed and self._restore_attention is not None:
            _set_attention(self.model, self._restore_attention)
            self._restore_attention = None

    def has_attention_edits(self, layer: int) -> bool:
        """Whether anything inside this layer's attention is edited."""
        return any(self.edits[(kind, layer)] for kind in ATTENTION_KINDS)

    def attention(self, layer: int, plain: _Explicit, output: Tensor) -> Tensor:
        """Show watchers the inside of attention; return its output ``[batch, head, position, d_head]`` as edited."""
        moment = self.moment
        n_keys = plain.k.shape[2]
        keys = moment.keys(n_keys)
        if not self.has_attention_edits(layer):
            for kind, value in (("q", plain.q), ("k", plain.k), ("v", plain.v)):
                for watcher in self.watchers[(kind, layer)]:  # type: ignore[index]
                    watcher(value.transpose(1, 2))
            if self.watchers[("scores", layer)] or self.watchers[("pattern", layer)]:
                scores = plain.scores(plain.q, plain.k)
                for watcher in self.watchers[("scores", layer)]:
                    watcher(scores.transpose(1, 2))
                for watcher in self.watchers[("pattern", layer)]:
                    watcher(plain.pattern(scores).transpose(1, 2))
            return output

        def through(kind: SiteKind, value: Tensor, when: Moment, masked: float | None = None) -> Tensor:
            key: Key = (kind, layer)
            value = self._edited(key, value.transpose(1, 2), when).transpose(1, 2)
            if masked is not None and self.edits[key]:
                value = plain.masked(value, masked)
            for watcher in self.watchers[key]:
                watcher(value.transpose(1, 2))
            return value

        q = through("q", plain.q, moment)
        k = through("k", plain.k, keys)
        v = through("v", plain.v, keys)
        # Edits act inside the mask: whatever they write, no query sees the future or padding.
        scores = through("scores", plain.scores(q, k), moment, masked=float("-inf"))
        pattern = through("pattern", plain.pattern(scores), moment, masked=0.0)
        before = plain.mixed(plain.pattern(plain.scores(plain.q, plain.k)), plain.v).to(output.dtype)
        edited = plain.mixed(pattern, v).to(output.dtype)
        if edited.requires_grad:  # differentiable in the edit also where it changes nothing (yet)
            return output + (edited - before)
        # Not the difference: a head cut out must be exactly 0, or a norm that follows would blow its rounding up.
        return torch.where(edited == before, output, edited)


@dataclass(frozen=True)
class _Explicit:
    """Attention written out, as the family's eager implementation does it; heads expanded to query heads."""

    q: Float[Tensor, "batch head query d_head"]
    k: Float[Tensor, "batch head key d_head"]
    v: Float[Tensor, "batch head key d_head"]
    mask: Tensor | None
    scaling: float
    softcap: float | None

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        # Contiguous, so that an edit that changes nothing meets the same kernels and rounds alike.
        scores = (q.float().contiguous() @ k.float().contiguous().transpose(-1, -2)) * self.scaling
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        return self.masked(scores, float("-inf"))

    def masked(self, value: Tensor, fill: float) -> Tensor:
        allowed = self.allowed(value.shape[-2], value.shape[-1], value.device)
        return value if allowed is None else value.masked_fill(~allowed, fill)

    def allowed(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        if self.mask is None:  # the fast path's convention: causal, the single query of a decoding step sees all
            if queries == 1:
                return None
            full = torch.ones(queries, keys, dtype=torch.bool, device=device)
            return full.tril(keys - queries)
        mask = self.mask[..., -keys:]
        return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2

    def pattern(self, scores: Tensor) -> Tensor:
        # A padding query has nothing to attend to: its row is 0 instead of NaN.
        return torch.softmax(scores, dim=-1).nan_to_num(0.0).to(self.v.dtype)

    def mixed(self, pattern: Tensor, v: Tensor) -> Tensor:
        return pattern.contiguous() @ v.contiguous()


def _expand(kv: Tensor, heads: int) -> Tensor:
    return kv if kv.shape[1] == heads else kv.repeat_interleave(heads // kv.shape[1], dim=1)


_ACTIVE: WeakKeyDictionary[nn.Module, tuple[Wiring, int]] = WeakKeyDictionary()


class _InterfaceSeam:
    """Marks an attention module as looked at; the registered function does the rest."""

    def __init__(self, wiring: Wiring, layer: int, module: nn.Module) -> None:
        self.module = module
        _ACTIVE[module] = (wiring, layer)

    def remove(self) -> None:
        _ACTIVE.pop(self.module, None)


class _MethodSeam:
    """GPT-Neo and GPT-J: the instance's ``_attn`` is shadowed while it is looked at."""

    def __init__(self, wiring: Wiring, layer: int, module: Any) -> None:
        self.module = module
        original, family = module._attn, wiring.model.family
        scaling = 1.0 if family.score_divisor is None else 1.0 / float(getattr(module, family.score_divisor))
        buffer: Tensor | None = None if family.own_mask is None else getattr(module, family.own_mask)

        def attend(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None) -> Any:
            output, weights = original(query, key, value, attention_mask)
            local = _local_mask(buffer, query.shape[-2], key.shape[-2], attention_mask)
            plain = _Explicit(query, key, value, local, scaling, None)
            return wiring.attention(layer, plain, output), weights

        module._attn = attend

    def remove(self) -> None:
        with suppress(AttributeError):
            del self.module._attn


def _local_mask(buffer: Tensor | None, queries: int, keys: int, mask: Tensor | None) -> Tensor | None:
    """What the mask allows, with the module's own causal or local buffer applied."""
    allowed = None if mask is None else (mask[..., -keys:] > torch.finfo(mask.dtype).min / 2)
    if buffer is not None:
        own = buffer[:, :, keys - queries : keys, :keys].bool()
        allowed = own if allowed is None else own & allowed
    return allowed


def _registered(base: str) -> Callable[..., Any]:
    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> Any:
        if base == "sdpa":
            plain_forward: Callable[..., Any] = sdpa_attention_forward
        else:
            plain_forward = sys.modules[type(module).__module__].eager_attention_forward
        output, weights = plain_forward(module, query, key, value, attention_mask, **kwargs)
        active = _ACTIVE.get(module)
        if active is None:
            return output, weights
        wiring, layer = active
        scaling = kwargs.get("scaling")
        scaling = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
        heads = query.shape[1]
        plain = _Explicit(
            query, _expand(key, heads), _expand(value, heads), attention_mask, scaling, kwargs.get("softcap")
        )
        return wiring.attention(layer, plain, output.transpose(1, 2)).transpose(1, 2), weights

    return attention


for _base, _mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
    AttentionInterface.register(f"emotion_circuits_{_base}", _registered(_base))
    AttentionMaskInterface.register(f"emotion_circuits_{_base}", _mask)


def _set_attention(model: LanguageModel, name: str) -> None:
    model.hf.set_attn_implementation(name)
    if model.config._attn_implementation != name:
        raise EmotionCircuitsError(
            f"{model.name}: the attention implementation could not be switched to {name!r}; sites inside attention "
            "are not available for this model class"
        )


def wiring_of(model: LanguageModel) -> Wiring:
    """The model's wiring (created on first use)."""
    if model.wiring is None:
        model.wiring = Wiring(model)
    wiring: Wiring = model.wiring
    return wiring
