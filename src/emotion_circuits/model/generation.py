"""Batched generation in which every row may carry its own interventions.

Left-padded and KV-cached. Every row draws from its own random stream, so its text does not depend on which rows share
the batch, as far as floating point allows: matrix products of another batch size may round differently in the last
bit, which can flip a greedy tie or a sample whose draw falls exactly on a boundary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.continuations import continuation
from emotion_circuits.model.decoding import Decoding
from emotion_circuits.model.intervening import Intervention
from emotion_circuits.model.language_model import Batch, LanguageModel

__all__ = ["Generated", "Sampling", "choose", "generate", "row_draws", "row_seed"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: length of the continuation in tokens (shorter where the model ends the text).
        temperature: 0 is greedy; otherwise logits are divided by it.
        top_p: keep the smallest set of tokens with at least this probability.
        top_k: keep this many tokens; 0 keeps all.
        min_new_tokens: an end-of-text token is not chosen before this many tokens.
    """

    max_new_tokens: int = 20
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise EmotionCircuitsError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not self.temperature >= 0:
            raise EmotionCircuitsError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise EmotionCircuitsError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.top_k < 0 or self.min_new_tokens < 0:
            raise EmotionCircuitsError("top_k and min_new_tokens must be 0 or more")


@dataclass(frozen=True)
class Generated:
    """What one row became.

    Attributes:
        prompt: the text given.
        text: the continuation only, without special tokens; it ends with a whole character.
        token_ids: ids of the text, the end-of-text token left out (:mod:`.continuations`).
        finished: whether the model ended the text itself.
    """

    prompt: str
    text: str
    token_ids: tuple[int, ...]
    finished: bool


def row_seed(seed: int, *key: object) -> int:
    """A seed for one row's random stream, from the run's seed and what identifies the row (e.g. prompt and sample).

    Leave the condition out of the key, and both arms of a comparison share their draws.
    """
    digest = hashlib.sha256("\x1f".join([str(seed), *map(str, key)]).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def row_draws(how: Sampling, seed: int) -> Float[Tensor, " step"]:
    """A row's random stream: one number from 0 to 1 for each token."""
    return torch.rand(how.max_new_tokens, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompts: Sequence[str],
    sampling: Sampling | None = None,
    *,
    interventions: Sequence[Intervention] = (),
    seeds: Sequence[int] | int = 0,
    use_cache: bool = True,
    add_special_tokens: bool = True,
) -> list[Generated]:
    """Continue each prompt.

    Args:
        model: the model.
        prompts: one text per row.
        sampling: length and choice of tokens; greedy, 20 tokens by default.
        interventions: what to change while writing; each may name its ``rows``.
        seeds: one per row, or one for all, from which each row's is derived by its prompt and index.
        use_cache: reuse keys and values (``False`` reruns the whole text for each token; slower, same text).
        add_special_tokens: as in :meth:`LanguageModel.tokenize`; ``False`` for text from a chat template.

    Raises:
        EmotionCircuitsError: no prompt, a row without tokens, a prompt that leaves no room, NaN or infinite logits.
    """
    how = sampling or Sampling()
    batch = model.tokenize(prompts, side="left", add_special_tokens=add_special_tokens, room=how.max_new_tokens)
    if isinstance(seeds, Integral):
        seeds = [row_seed(int(seeds), index, prompt) for index, prompt in enumerate(prompts)]
    assert isinstance(seeds, Sequence)
    if len(seeds) != len(prompts):
        raise EmotionCircuitsError(f"{len(seeds)} seeds for {len(prompts)} prompts")
    draws = None
    if how.temperature > 0:
        draws = torch.stack([row_draws(how, int(s)) for s in seeds]).to(model.device)
    with Decoding(model, use_cache=use_cache) as rows:
        written, lengths, finished = _loop(rows, batch, interventions, how, draws)
    found = []
    for i, (prompt, done) in enumerate(zip(prompts, finished.tolist(), strict=True)):
        read = batch.input_ids[i][batch.real[i]].tolist()
        text, ids = continuation(model.tokenizer, read, written[i, : int(lengths[i])].tolist())
        found.append(Generated(prompt, text, ids, bool(done)))
    return found


def _loop(
    rows: Decoding, batch: Batch, interventions: Sequence[Intervention], how: Sampling, draws: Tensor | None
) -> tuple[Int[Tensor, "row step"], Int[Tensor, " row"], Tensor]:
    model, count = rows.model, batch.input_ids.shape[0]
    eos = torch.tensor(model.eos_ids, device=model.device, dtype=torch.long)
    written = torch.full((count, how.max_new_tokens), model.pad_id, device=model.device)
    lengths = torch.zeros(count, dtype=torch.long, device=model.device)
    finished = torch.zeros(count, dtype=torch.bool, device=model.device)
    token: Tensor | None = None
    for step in range(how.max_new_tokens):
        # A finished row goes on with padding-like input; its text is cut at its length.
        found = rows.join(batch, interventions, room=how.max_new_tokens) if token is None else rows.step(token)
        logits = found.float()
        assert rows.last is not None
        model.check_finite(logits[:, None], rows.last, f", step {step}")
        if step < how.min_new_tokens and len(eos):
            logits[:, eos] = float("-inf")
        token = choose(logits, how, None if draws is None else draws[:, step])
        ended = torch.isin(token, eos) if len(eos) else torch.zeros_like(finished)
        newly = ~finished & ~ended
        written[:, step] = torch.where(newly, token, written[:, step])
        lengths += newly.long()
        finished = finished | ended
        if bool(finished.all()):
            break
    return written, lengths, finished


_WIDTHS = (64, 512, 4096)  # tokens sorted first: the draw nearly always falls among them, sorting a vocabulary is slow


def choose(
    logits: Float[Tensor, "row vocabulary"], how: Sampling, draw: Float[Tensor, " row"] | None
) -> Int[Tensor, " row"]:
    """Greedy, or the token whose slice of the (filtered) cumulative distribution holds the row's draw.

    Tokens lie in the distribution from the most probable down, equal ones by their id. A row whose draw (or whose
    filter's edge) falls behind the most probable tokens is sorted further; the answer is the same.

    Args:
        logits: one row each; written over.
        how: temperature and filters.
        draw: from 0 to 1, one per row; ``None``: greedy.
    """
    if draw is None:
        return logits.argmax(-1)
    # In place: no further block of the vocabulary's size.
    weights = logits.sub_(logits.amax(-1, keepdim=True)).div_(how.temperature).exp_()
    mass = weights.sum(-1)
    vocabulary = weights.shape[-1]
    token = torch.empty(len(weights), dtype=torch.long, device=weights.device)
    rest = torch.arange(len(weights), device=weights.device)
    for width in (*(w for w in _WIDTHS if 2 * w < vocabulary), vocabulary):
        some = weights if len(rest) == len(weights) else weights[rest]
        token[rest], settled = _drawn(some, mass[rest], how, draw[rest], width)
        rest = rest[~settled]
        if not len(rest):
            break
    return token


def _drawn(
    weights: Float[Tensor, "row vocabulary"],
    mass: Float[Tensor, " row"],
    how: Sampling,
    draw: Float[Tensor, " row"],
    width: int,
) -> tuple[Int[Tensor, " row"], Tensor]:
    """The drawn token judging by the ``width`` most probable ones, and in which rows those suffice to tell.

    Args:
        weights: probabilities up to a factor.
        mass: their sum.
        how: the filters.
        draw: from 0 to 1.
        width: tokens looked at.
    """
    whole = width == weights.shape[-1]
    if whole:
        ordered, index = weights.sort(dim=-1, descending=True, stable=True)
    else:
        some = weights.topk(width, dim=-1, sorted=False).indices.sort(dim=-1).values
        ordered, order = weights.gather(-1, some).sort(dim=-1, descending=True, stable=True)
        index = some.gather(-1, order)
    ordered = ordered / mass[:, None]
    total = ordered.cumsum(-1)
    keep = (total - ordered) < how.top_p
    if how.top_k:
        keep[:, how.top_k :] = False
    ordered = ordered * keep
    total = ordered.cumsum(-1)
    # The kept tokens end within the head, or all are kept and their mass is known without sorting.
    ends_here = torch.full_like(keep[:, -1], whole) | ~keep[:, -1]
    goal = draw * torch.where(ends_here, total[:, -1], 1.0)
    settled = ends_here | ((how.top_p >= 1 and not how.top_k) & (goal <= total[:, -1]))
    place = (total < goal[:, None]).sum(-1)
    place = torch.minimum(place, keep.sum(-1) - 1)
    return index.gather(-1, place[:, None])[:, 0], settled
