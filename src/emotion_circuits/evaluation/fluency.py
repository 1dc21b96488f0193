"""What steering costs: perplexity of the continuation, repetition, variety.

Perplexity is that of the continuation's tokens only, given their prompt, under the *unsteered* model (or a second one). The
tokens are those that were written, where they are known: the same text can be cut otherwise, and a model finds its own cut far
likelier. A text alone is tokenized together with its prompt, which is another figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.halving import in_halves
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
        self,
        prompts: Sequence[str],
        continuations: Sequence[str],
        *,
        ids: Sequence[Sequence[int]] | None = None,
        add_special_tokens: bool = True,
    ) -> pd.DataFrame:
        """One row per continuation.

        Columns: ``n_tokens``; ``nats`` (mean negative log-likelihood per token of the continuation); ``perplexity``
        (its exponential); ``repetition`` (share of repeated word bigrams); ``distinct_1``, ``distinct_2``; with a
        second model also ``second_nats`` and ``second_perplexity``, of the text as that model tokenizes it. A continuation
        without tokens has NaN for nats and perplexity.

        Args:
            prompts: what each continuation follows.
            continuations: the written text only.
            ids: token ids that the model wrote, as :class:`emotion_circuits.model.generation.Generated` and the table of a
                sweep keep them. Without them the text is tokenized; a token that it shares with its prompt counts to it.
            add_special_tokens: ``False`` for prompts rendered by a chat template.

        Raises:
            EmotionCircuitsError: lists of different length, a continuation without a prompt, one that is longer than the
                model reads.

        Example::

            (out,) = generate(model, ["The bus"], Sampling(max_new_tokens=5))
            Fluency(model).score([out.prompt], [out.text], ids=[out.token_ids])
        """
        heads, tails = check_texts(prompts, "fluency"), check_texts(continuations, "fluency")
        for what, count in (("continuations", len(tails)), ("rows of token ids", len(heads if ids is None else ids))):
            if count != len(heads):
                raise EmotionCircuitsError(f"fluency: {len(heads)} prompts for {count} {what}")
        if ids is None:
            read = _encoded(self.model, heads, tails, add_special_tokens)
        else:
            read = _written(self.model, heads, ids, add_special_tokens)
        nats, counts = self._nats(self.model, *read)
        table = pd.DataFrame({"n_tokens": counts, "nats": nats})
        table["perplexity"] = torch.tensor(nats, dtype=torch.float64).exp().numpy() if nats else []
        table["repetition"] = [repetition(t) for t in tails]
        table["distinct_1"] = [distinct([t], 1) for t in tails]
        table["distinct_2"] = [distinct([t], 2) for t in tails]
        if self.second is not None:
            other, _ = self._nats(self.second, *_encoded(self.second, heads, tails, add_special_tokens))
            table["second_nats"] = other
            table["second_perplexity"] = torch.tensor(other, dtype=torch.float64).exp().numpy() if other else []
        return table

    @torch.inference_mode()
    def _nats(self, model: LanguageModel, heads: _Rows, tails: _Rows) -> tuple[list[float], list[int]]:
        """Mean nats per token of each tail behind its head, and the number of those tokens."""
        counts = [len(tail) for tail in tails]
        for index, (head, count) in enumerate(zip(heads, counts, strict=True)):
            if count and not head:
                raise EmotionCircuitsError(
                    "fluency: a continuation needs a prompt before it (its first token has no context)"
                )
            model.check_length(len(head) + count, what=lambda index=index: f"continuation {index + 1} and its prompt")  # type: ignore[misc]

        def read(rows: Sequence[int]) -> list[float]:
            return _mean_nats(model, [heads[i] for i in rows], [tails[i] for i in rows])

        nats = [float("nan")] * len(heads)
        order = sorted(
            (i for i in range(len(heads)) if counts[i] > 0), key=lambda i: (len(heads[i]), heads[i], counts[i], i)
        )
        with progress_bar("Reading continuations", len(order)) as bar:
            start = 0
            while start < len(order):
                stop, longest = start + 1, counts[order[start]]
                while stop < len(order):
                    longest = max(longest, counts[order[stop]])
                    wide = len(heads[order[stop]]) + longest  # heads come by length
                    if (stop + 1 - start) * longest > self.batch_tokens or wide > (model.context or wide):
                        break
                    stop += 1
                chosen = order[start:stop]

                found = in_halves(chosen, read, what="continuations to be read")
                for i, value in zip(chosen, chain.from_iterable(found), strict=True):
                    nats[i] = value
                bar.advance(len(chosen))
                start = stop
        return nats, counts


_Rows = list[tuple[int, ...]]


def _written(
    model: LanguageModel, prompts: Sequence[str], ids: Sequence[Sequence[int]], special: bool
) -> tuple[_Rows, _Rows]:
    """Ids of each prompt, and those that were written behind it."""
    known = list(dict.fromkeys(prompts))
    heads = dict(zip(known, map(tuple, model.encode(known, add_special_tokens=special).ids), strict=True))
    return [heads[prompt] for prompt in prompts], [tuple(int(i) for i in row) for row in ids]


def _encoded(
    model: LanguageModel, prompts: Sequence[str], continuations: Sequence[str], special: bool
) -> tuple[_Rows, _Rows]:
    """Ids of each text up to the first token that ends behind the prompt, and from that one on."""
    encoded = model.encode([p + c for p, c in zip(prompts, continuations, strict=True)], add_special_tokens=special)
    heads, tails = [], []
    for row, offsets, prompt in zip(encoded.ids, encoded.offsets, prompts, strict=True):
        first = next((i for i, (_, stop) in enumerate(offsets) if stop > len(prompt)), len(row))
        heads.append(tuple(row[:first]))
        tails.append(tuple(row[first:]))
    return heads, tails


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
