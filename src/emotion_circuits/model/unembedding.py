"""The unembedding where its logits are used at once and thrown away, or where only a few of them are used at all.

A vocabulary of logits for a full batch is tens of megabytes. On a CPU, products over slabs of the vocabulary that fit the
processor's cache, into one block that is kept, are faster than one product into a block made anew at every token. Where
a few tokens per row are compared, their rows of the matrix are all that is needed, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from emotion_circuits.model.language_model import LanguageModel

__all__ = ["logits_of", "passing_logits"]

_COLUMNS = 1024  # of the vocabulary, in one product


@contextmanager
def passing_logits(model: LanguageModel) -> Iterator[None]:
    """Inside the ``with`` block logits hold only until the next forward pass, which writes over them.

    On other devices than a CPU, and where the unembedding is not a plain linear layer, was replaced, or somebody's hooks see
    its output, the model's own one stays.

    Args:
        model: the model; to be run without gradients.
    """
    module = model.unembedding
    if type(module) is not nn.Linear or module.weight.device.type != "cpu" or _watched(model):
        # The last column of a long prompt is a strided view, on which the product is ten times slower.
        handle = module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].contiguous(), *inputs[1:]))
        try:
            yield
        finally:
            handle.remove()
        return
    module.forward = _in_slabs(module)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del module.forward


@contextmanager
def logits_of(model: LanguageModel, tokens: Int[Tensor, "row token"]) -> Iterator[bool]:
    """Inside the ``with`` block the model gives the logits of some tokens alone, ``[row, position, token]``.

    What a family does to logits behind the unembedding (scaling, capping) is done to each by itself, so these are the
    numbers of the whole vocabulary at those tokens, up to rounding.

    Args:
        model: the model; gradients pass through.
        tokens: ids, for every row its own.

    Yields:
        Whether that is so: where the unembedding is not a plain linear layer, was replaced, or somebody's hooks see its
        output, the model's own one stays, with the whole vocabulary.
    """
    module = model.unembedding
    if type(module) is not nn.Linear or _watched(model):
        yield False
        return

    def forward(hidden: Float[Tensor, "row position d_model"]) -> Float[Tensor, "row position token"]:
        logits = hidden @ module.weight[tokens].mT
        return logits if module.bias is None else logits + module.bias[tokens][:, None]

    module.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield True
    finally:
        del module.forward


def _watched(model: LanguageModel) -> bool:
    parts = (model.unembedding, model.hf)
    return "forward" in vars(model.unembedding) or any(m._forward_hooks or m._forward_pre_hooks for m in parts)


def _in_slabs(linear: nn.Linear) -> Callable[[Tensor], Tensor]:
    buffer: Tensor | None = None

    def forward(hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocabulary"]:
        nonlocal buffer
        flat = hidden.reshape(-1, hidden.shape[-1]).contiguous()
        if buffer is None or len(buffer) < len(flat) or buffer.dtype != flat.dtype:
            buffer = flat.new_empty(len(flat), linear.out_features)
        logits = buffer[: len(flat)]
        for start in range(0, linear.out_features, _COLUMNS):
            part = slice(start, start + _COLUMNS)
            torch.mm(flat, linear.weight[part].t(), out=logits[:, part])
        if linear.bias is not None:
            logits += linear.bias
        return logits.view(*hidden.shape[:-1], linear.out_features)

    return forward
