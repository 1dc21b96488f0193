"""Run only the blocks that matter: start from a stored residual stream, stop early.

A change at layer ``L`` leaves everything before ``L`` as it was. Inside ``resume(model, L, resid_pre)`` the blocks
below ``L`` hand on the stored stream instead of computing it, so that a forward pass costs
``(n_layers - L) / n_layers`` of a full one; the final norm, the unembedding and any soft-capping stay the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.wiring import wiring_of

__all__ = ["resume"]


@contextmanager
def resume(
    model: LanguageModel,
    layer: int,
    resid_pre: Float[Tensor, "batch position d_model"] | None,
    *,
    stop: int | None = None,
) -> Iterator[None]:
    """Forward passes inside the ``with`` block start at ``layer`` from ``resid_pre``.

    Args:
        model: the model.
        layer: first block that is computed; 0 computes all of them (from ``resid_pre`` where it is given).
        resid_pre: the residual stream entering that block, for the batch that will be run; ``None``, with layer 0: the
            model's own embedding.
        stop: blocks from this one on are passed over as well; ``None`` computes to the end.

    Raises:
        EmotionCircuitsError: a layer out of range, no stream or one of another width, or an intervention in a block that is
            not computed (it would silently have no effect). That is checked when the model runs.
    """
    end = model.n_layers if stop is None else stop
    if not 0 <= layer < end <= model.n_layers:
        raise EmotionCircuitsError(
            f"cannot run blocks {layer} to {end - 1}: {model.name} has 0 to {model.n_layers - 1}"
        )
    if resid_pre is None and layer:
        raise EmotionCircuitsError(f"to start at block {layer}, give the residual stream that enters it")
    if resid_pre is not None and (resid_pre.dim() != 3 or resid_pre.shape[-1] != model.d_model):
        raise EmotionCircuitsError(
            f"the residual stream to resume from has shape {list(resid_pre.shape)}, expected [batch, position, "
            f"{model.d_model}]"
        )

    def skip(hidden: Any) -> Any:
        return (hidden, None) if model.family.tuple_blocks else hidden

    def identity(index: int) -> Callable[..., Any]:
        def forward(hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Any:
            edited = [k for k, edits in wiring_of(model).edits.items() if edits and not layer <= k[1] < end]
            if edited:
                raise EmotionCircuitsError(
                    f"an intervention at {edited[0][0]}.L{edited[0][1]} has no effect in a run of blocks "
                    f"{layer} to {end - 1}"
                )
            if index != layer - 1 or resid_pre is None:
                return skip(hidden_states)
            if hidden_states.shape[:2] != resid_pre.shape[:2]:
                raise EmotionCircuitsError(
                    f"the stored residual stream has {list(resid_pre.shape[:2])} rows and positions, the batch "
                    f"{list(hidden_states.shape[:2])}"
                )
            return skip(resid_pre)

        return forward

    replaced: list[Any] = []
    handle = None
    try:
        for index, block in enumerate(model.blocks):
            if not layer <= index < end:
                block.forward = identity(index)  # type: ignore[method-assign]
                replaced.append(block)
        if layer == 0 and resid_pre is not None:
            handle = model.blocks[0].register_forward_pre_hook(
                _replace_input(resid_pre), with_kwargs=True, prepend=True
            )
        yield
    finally:
        if handle is not None:
            handle.remove()
        for block in replaced:
            del block.forward


def _replace_input(resid_pre: Tensor) -> Callable[..., Any]:
    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (resid_pre, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": resid_pre}

    return hook
