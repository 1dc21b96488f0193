"""What steering costs: perplexity of the continuation, repetition, variety.

Perplexity is that of the continuation's tokens only, given their prompt, under the *unsteered* model (or a second one).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.language_model import Batch
from emotion_circuits.model.unembedding import passing_logits
from emotion_circuits.progress import progress_bar

__all__ = ["Fluency", "distinct", "repetition"]

_SLAB = 256  # states whose logits are held at once
_WORD = re.compile(r"\w+|[^\w\s]", re.UNICODE)


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = [w.lower() for w in _WORD.findall(text)]
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def repetition(text: str, n: int = 2) -> float:
    """Share of n-grams (of words and punctuation marks) that occurred before in the text; 0 where there are none.

    Example:
        >>> round(repetition("thank you thank you"), 3)  # of (thank you)(you thank)(thank you) the last is a repeat
        0.333
    """
    grams = _ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams of several texts (Li et al. 2016, distinct-n); 0 where there are none."""
    grams = [g for text in texts for g in _ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


class Fluency:
    """Perplexity, repetition and distinct-n of continuations.

    Args:
        model: the unsteered model.
        second: another model to read the same text with, for an opinion independent of the one that wrote it.
        batch_tokens: padded tokens per batch.
    """

    name = "fluency"

    def __init__(self, model: LanguageModel, *, second: LanguageModel | None = None, batch_tokens: int = 2048) -> None:
        self.model, self.second, self.batch_tokens = model, second, batch_tokens

    def score(
        self, prompts: Sequence[str], continuations: Sequence[str], *, add_special_tokens: bool = True
    ) -> pd.DataFrame:
        """One row per continuation.

        Columns: ``n_tokens``; ``nats`` (mean negative log-likelihood per token of the continuation); ``perplexity``
        (its exponential); ``repetition`` (share of repeated word bigrams); ``distinct_1``, ``distinct_2``; with a
        second model also ``second_nats`` and ``second_perplexity``. A continuation without tokens has NaN for nats
        and perplexity.

        Args:
            prompts: what each continuation follows.
            continuations: the written text only.
            add_special_tokens: ``False`` for prompts rendered by a chat template.

        Raises:
            EmotionCircuitsError: lists of different length.
        """
        heads, tails = check_texts(prompts, "fluency"), check_texts(continuations, "fluency")
        if len(heads) != len(tails):
            raise EmotionCircuitsError(f"fluency: {len(heads)} prompts for {len(tails)} continuations")
        nats, counts = self._nats(self.model, heads, tails, add_special_tokens)
        table = pd.DataFrame({"n_tokens": counts, "nats": nats})
        table["perplexity"] = torch.tensor(nats, dtype=torch.float64).exp().numpy() if nats else []
        table["repetition"] = [repetition(t) for t in tails]
        table["distinct_1"] = [distinct([t], 1) for t in tails]
        table["distinct_2"] = [distinct([t], 2) for t in tails]
        if self.second is not None:
            other, _ = self._nats(self.second, heads, tails, add_special_tokens)
            table["second_nats"] = other
            table["second_perplexity"] = torch.tensor(other, dtype=torch.float64).exp().numpy() if other else []
        return table

    @torch.inference_mode()
    def _nats(
        self, model: LanguageModel, prompts: list[str], continuations: list[str], special: bool
    ) -> tuple[list[float], list[int]]:
        """Mean nats per continuation token, and the number of those tokens."""
        if not prompts:
            return [], []
        joined = [p + c for p, c in zip(prompts, continuations, strict=True)]
        encoded = model.encode(joined, add_special_tokens=special)
        # A token belongs to the continuation if it ends behind the prompt: byte-level tokens carry their leading space.
        first = []
        for offsets, prompt in zip(encoded.offsets, prompts, strict=True):
            inside = [i for i, (a, b) in enumerate(offsets) if b > len(prompt) and b > a]
            first.append(inside[0] if inside else len(offsets))
        ids = encoded.ids
        if any(start == 0 and row for start, row in zip(first, ids, strict=True)):
            raise EmotionCircuitsError(
                "fluency: a continuation needs a prompt before it (its first token has no context)"
            )
        nats, counts = [float("nan")] * len(joined), [len(row) - start for row, start in zip(ids, first, strict=True)]
        heads = [tuple(row[:start]) for row, start in zip(ids, first, strict=True)]
        order = sorted(
            (i for i in range(len(joined)) if counts[i] > 0), key=lambda i: (first[i], heads[i], counts[i], i)
        )
        with progress_bar("Reading continuations", len(order)) as bar:
            start = 0
            while start < len(order):
                stop, longest = start + 1, counts[order[start]]
                while stop < len(order):
                    longest = max(longest, counts[order[stop]])
                    if (stop + 1 - start) * longest > self.batch_tokens:
                        break
                    stop += 1
                chosen = order[start:stop]
                found = _mean_nats(model, [heads[i] for i in chosen], [ids[i][first[i] :] for i in chosen])
                for i, value in zip(chosen, found, strict=True):
                    nats[i] = value
                bar.advance(len(chosen))
                start = stop
        return nats, counts


def _mean_nats(model: LanguageModel, heads: Sequence[tuple[int, ...]], tails: Sequence[Sequence[int]]) -> list[float]:
    """Mean nats per token of each tail after its head; a head that several tails share is read once."""
    distinct_heads = list(dict.fromkeys(heads))
    place = torch.tensor([distinct_heads.index(head) for head in heads], device=model.device)
    front = model.collate(distinct_heads, side="left")
    cache = DynamicCache(config=model.config)
    last = model.hidden(front, past_key_values=cache, use_cache=True).last_hidden_state[:, -1:]
    cache.batch_select_indices(place)
    back = model.collate(tails, side="right")
    mask = torch.cat([front.attention_mask[place], back.attention_mask], dim=1)
    rest = Batch(back.input_ids, mask)
    hidden = model.hidden(rest, past_key_values=cache, use_cache=True).last_hidden_state
    # The state before each tail token predicts it: the head's last state, then the tail's own.
    before = torch.cat([last[place], hidden[:, :-1]], dim=1)
    inside = back.attention_mask.bool()
    found = _token_nats(model, before[inside], back.input_ids[inside])
    sums = torch.zeros(len(tails), dtype=found.dtype, device=found.device)
    sums.index_add_(0, inside.nonzero()[:, 0], found)
    return (sums / inside.sum(1)).tolist()  # type: ignore[no-any-return]


def _token_nats(
    model: LanguageModel, states: Float[Tensor, "token d_model"], wanted: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """What each wanted token costs in the state before it; a whole text's logits are never held at once."""
    found = []
    with passing_logits(model):
        for some, ids in zip(states.split(_SLAB), wanted.split(_SLAB), strict=True):
            logits = model.capped(model.unembedding(some)).float()
            found.append(torch.logsumexp(logits, -1) - logits.gather(-1, ids[:, None])[:, 0])
    return torch.cat(found)
