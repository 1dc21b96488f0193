"""A loaded model with its tokenizer, its family row and its dimensions: what every station works on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from emotion_circuits.errors import EmotionCircuitsError, SiteUnavailableError
from emotion_circuits.model import encoding
from emotion_circuits.model.encoding import Encoded
from emotion_circuits.model.families import Family, at_path
from emotion_circuits.model.sites import Site
from emotion_circuits.model.token_texts import token_text

__all__ = ["Batch", "Encoded", "LanguageModel", "position_ids_from_mask"]


def position_ids_from_mask(attention_mask: Int[Tensor, "batch position"]) -> Int[Tensor, "batch position"]:
    """Positions counted over real tokens only; padding gets 0.

    Without them a left-padded forward of GPT-2 or GPT-Neo is wrong (learned positions would count the padding).
    """
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


@dataclass(frozen=True)
class Batch:
    """Token ids with their mask; padding is on the side the mask says.

    Attributes:
        input_ids: ``[batch, position]``.
        attention_mask: ``[batch, position]``, 1 on real tokens.
        offsets: per row, the character span of each *real* token in its text (specials are ``(0, 0)``).
    """

    input_ids: Int[Tensor, "batch position"]
    attention_mask: Int[Tensor, "batch position"]
    offsets: tuple[tuple[tuple[int, int], ...], ...] = ()

    @property
    def real(self) -> Bool[Tensor, "batch position"]:
        """True on real tokens."""
        return self.attention_mask.bool()


@dataclass(eq=False)
class LanguageModel:
    """A Hugging Face causal language model, ready to be observed and changed.

    Attributes:
        hf: the Hugging Face model, in evaluation mode.
        tokenizer: its (fast) tokenizer.
        family: where its parts live.
        name: what the user called it.
        source: folder the weights were read from, where there is one.
        revision: hub commit or requested revision, where there is one.
        refused: site kinds the self-check refused, with the reason.
        writes: dtype in which sweeps of continuations are written; ``None``: as its own.
        prefix: token ids put before every text, so that the attention sink is never a text's first word; none where the
            tokenizer begins texts with a token of its own (:mod:`emotion_circuits.model.prefixes`).
        adapter: folder of the adapter that was merged into its weights, where there is one.
        wiring: the seams, held by :func:`emotion_circuits.model.wiring.wiring_of`.
        written_by: what writes its continuations instead of itself (:class:`emotion_circuits.model.vllm.Writer`), where a study
            is written elsewhere.
        sums: SHA-256 by name of the files it was read from, held by :func:`emotion_circuits.model.loading.load_model`.
        writer: its copy in another dtype, held by :func:`emotion_circuits.model.replicas.writing_model`.
    """

    hf: Any
    tokenizer: Any
    family: Family
    name: str
    source: Path | None = None
    revision: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    writes: torch.dtype | None = None
    prefix: tuple[int, ...] = ()
    adapter: Path | None = None
    wiring: Any = field(default=None, repr=False)
    writer: Any = field(default=None, repr=False)
    written_by: Any = field(default=None, repr=False)
    sums: dict[str, str] | None = field(default=None, repr=False)

    @property
    def config(self) -> Any:
        """The Hugging Face config."""
        return self.hf.config

    @cached_property
    def base(self) -> nn.Module:
        """The transformer without its unembedding."""
        return at_path(self.hf, self.family.base)

    @cached_property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The decoder blocks in order."""
        return tuple(at_path(self.base, self.family.blocks))  # type: ignore[arg-type]

    @cached_property
    def unembedding(self) -> nn.Module:
        """The output embedding."""
        return self.hf.get_output_embeddings()  # type: ignore[no-any-return]

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def n_heads(self) -> int:
        """Number of query heads per layer."""
        return int(self.config.num_attention_heads)

    @property
    def n_kv_heads(self) -> int:
        """Number of key/value heads per layer (fewer than query heads with grouped-query attention)."""
        return int(getattr(self.config, "num_key_value_heads", None) or self.n_heads)

    @property
    def d_head(self) -> int:
        """Width of one head's output ``z``."""
        return int(getattr(self.config, "head_dim", None) or self.d_model // self.n_heads)

    @property
    def device(self) -> torch.device:
        """Where inputs go (the embedding's device)."""
        return self.hf.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """Parameter dtype."""
        return self.hf.get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    @property
    def context(self) -> int | None:
        """Tokens a text may have; ``None`` where the config sets no limit.

        Rotary positions of kind ``longrope`` have two sets of frequencies, and the longest text of a batch decides for all of
        them, also for what is cached: only texts are taken for which it is the same set in every batch.
        """
        limit = getattr(self.config, "max_position_embeddings", None)
        rope = getattr(self.config, "rope_parameters", None) or {}
        return rope["original_max_position_embeddings"] if rope.get("rope_type") == "longrope" else limit

    @property
    def window(self) -> float:
        """Columns a token of a local layer sees back; infinite where every layer sees everything."""
        width = getattr(self.config, self.family.window, None)
        return float("inf") if width is None else width

    @cached_property
    def has_resid_mid(self) -> bool:
        """False where attention and MLP run in parallel."""
        return not self.family.is_parallel(self.config)

    @cached_property
    def _keeps_last_logits(self) -> bool:
        return "logits_to_keep" in inspect.signature(self.hf.forward).parameters

    def check_site(self, site: Site) -> None:
        """Raise if this model has no such site.

        Raises:
            SiteUnavailableError: layer or head out of range, no ``resid_mid`` in a parallel block, or a kind that
                the self-check refused.
        """
        if site.layer >= self.n_layers:
            raise SiteUnavailableError(f"site {site}: {self.name} has layers 0 to {self.n_layers - 1}")
        if site.head is not None and site.head >= self.n_heads:
            raise SiteUnavailableError(f"site {site}: {self.name} has heads 0 to {self.n_heads - 1}")
        if site.kind == "resid_mid" and not self.has_resid_mid:
            raise SiteUnavailableError(
                f"site {site}: {self.family.name} blocks run attention and MLP in parallel, so there is no residual "
                "stream between them; use resid_pre, attn_out or mlp_out"
            )
        if site.kind in self.refused:
            raise SiteUnavailableError(
                f"site '{site.kind}' is not available for {self.name}: {self.refused[site.kind]}"
            )

    def sites(self, *kinds: str) -> list[Site]:
        """All sites of the given kinds, layer by layer."""
        return [Site(kind, layer) for layer in range(self.n_layers) for kind in kinds]  # type: ignore[arg-type]

    def out_projection(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        """The weights that take each head's ``z`` to what it adds (before the family's ``post_norm``, if it has one)."""
        weight: Tensor = at_path(self.blocks[layer], self.family.out_proj).weight  # type: ignore[assignment]
        oriented = weight if self.family.conv1d else weight.T
        by_head: Tensor = oriented.unflatten(0, (self.n_heads, self.d_head))
        return by_head

    def capped(self, logits: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch vocabulary"]:
        """What the model makes of its unembedding's output: a soft cap where the family has one (Gemma 2)."""
        cap = getattr(self.config, self.family.logit_cap, None) if self.family.logit_cap else None
        return logits if cap is None else torch.tanh(logits / cap) * cap

    # -- text to tokens ------------------------------------------------------------------------------------------

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return encoding.special_ids(self.tokenizer)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Special tokens as they are spelled."""
        marked = {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        return tuple(sorted((marked | set(self.tokenizer.all_special_tokens)) - {""}))

    def encode(
        self,
        texts: Sequence[str],
        *,
        add_special_tokens: bool = True,
        room: int = 0,
        names: Sequence[str] | None = None,
    ) -> Encoded:
        """Token ids of texts, the prefix first; every text that goes through the model is tokenized here.

        Args:
            texts: any texts, read as characters: one that spells a special token (``<s>``) does not become it. One without
                tokens has the prefix only.
            add_special_tokens: begin texts as the tokenizer does (e.g. Gemma's ``<bos>``) and with the prefix; what it would
                put behind them (``</s>``) is left out. ``False`` for text from a chat template, which brings its own
                beginning, and whose special tokens are meant.
            room: tokens that will follow each text.
            names: of the texts, for messages.

        Raises:
            EmotionCircuitsError: a text that is longer than the model reads, that has a token the model has no embedding
                for, or that cannot be tokenized.
        """
        found = encoding.encode(
            self.tokenizer, texts, special=self._special_ids, rendered=not add_special_tokens, names=names
        )
        if add_special_tokens and self.prefix:
            lead = list(self.prefix)
            found = Encoded(
                [[*lead, *row] for row in found.ids], [[*((0, 0) for _ in lead), *row] for row in found.offsets]
            )
        for index, row in enumerate(found.ids):
            self.check_length(len(row), room, lambda index=index: encoding.called(texts, names, index))  # type: ignore[misc]
            if row and max(row) >= self._embeddings:
                token = self.tokenizer.convert_ids_to_tokens(max(row))
                raise EmotionCircuitsError(
                    f"{encoding.called(texts, names, index)} has the token {token!r} (number {max(row)}), but {self.name} "
                    f"has embeddings for {self._embeddings} tokens only; its tokenizer is another model's"
                )
        return found

    def continuing(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts as they stand behind another text, e.g. of answers (:func:`.encoding.continuing`)."""
        return encoding.continuing(self.tokenizer, texts)

    def check_length(self, tokens: int, room: int = 0, what: Callable[[], str] = lambda: "a text") -> None:
        """Refuse what is longer than the model reads: learned positions end there, rotary ones were never trained beyond.

        Args:
            tokens: how many it has.
            room: how many more will follow.
            what: how messages call it.

        Raises:
            EmotionCircuitsError: naming it, its tokens and the limit.
        """
        if self.context is not None and tokens + room > self.context:
            more = f" and {room} new ones" if room else ""
            raise EmotionCircuitsError(
                f"{what()}: {tokens} tokens{more} exceed {self.name}'s context of {self.context}; shorten the text or leave "
                "it out"
            )

    def tokenize(
        self,
        texts: Sequence[str],
        *,
        side: str = "left",
        add_special_tokens: bool = True,
        room: int = 0,
        names: Sequence[str] | None = None,
    ) -> Batch:
        """Tokenize a batch of texts.

        Args:
            texts: non-empty strings.
            side: padding side, ``left`` (default, as generation needs) or ``right``.
            add_special_tokens: as in :meth:`encode`.
            room: as in :meth:`encode`.
            names: as in :meth:`encode`.

        Raises:
            EmotionCircuitsError: no text, a text without any token, or as :meth:`encode`.
        """
        if isinstance(texts, str):
            raise EmotionCircuitsError(f"a list of texts, not one string, is needed: [{texts[:40]!r}]")
        if not texts:
            raise EmotionCircuitsError("nothing to tokenize: the list of texts is empty")
        encoded = self.encode(texts, add_special_tokens=add_special_tokens, room=room, names=names)
        lead = len(self.prefix) if add_special_tokens else 0
        for index, row in enumerate(encoded.ids):
            if len(row) <= lead:
                raise EmotionCircuitsError(f"text {index} ({texts[index]!r}) has no tokens for {self.name}")
        return self.collate(encoded.ids, side=side, offsets=encoded.offsets)

    def collate(self, rows: Sequence[Sequence[int]], *, side: str = "left", offsets: Any = ()) -> Batch:
        """Pad rows of token ids to one width."""
        if side not in ("left", "right"):
            raise EmotionCircuitsError(f"the padding side must be 'left' or 'right', got {side!r}")
        width = max(len(row) for row in rows)
        pad = self.pad_id
        ids = torch.full((len(rows), width), pad, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for index, row in enumerate(rows):
            where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
            ids[index, where] = torch.tensor(row, dtype=torch.long)
            mask[index, where] = 1
        spans = tuple(tuple((int(a), int(b)) for a, b in row) for row in offsets)
        return Batch(ids.to(self.device), mask.to(self.device), spans)

    @property
    def pad_id(self) -> int:
        """Any id that has an embedding; padded positions are masked everywhere."""
        for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
            value = getattr(self.tokenizer, name, None)
            if value is not None and int(value) < self._embeddings:
                return int(value)
        return 0

    @cached_property
    def _embeddings(self) -> int:
        """Tokens that have an embedding."""
        return int(self.hf.get_input_embeddings().weight.shape[0])

    def check_tokenizer(self) -> None:
        """Refuse a tokenizer that makes tokens of text that the model has no embedding for; fewer than that are fine.

        Raises:
            EmotionCircuitsError: naming some of them.
        """
        beyond = encoding.unreadable(self.tokenizer, self._embeddings)
        if beyond:
            some = ", ".join(map(repr, beyond[:3])) + (f" and {len(beyond) - 3} more" if len(beyond) > 3 else "")
            raise EmotionCircuitsError(
                f"{self.name}: the tokenizer has tokens that the model has no embedding for ({some}; it has embeddings for "
                f"{self._embeddings}); the tokenizer is another model's"
            )

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Token ids that end a generated text."""
        found: list[int] = []
        for holder in (getattr(self.hf, "generation_config", None), self.config, self.tokenizer):
            value = getattr(holder, "eos_token_id", None)
            found += value if isinstance(value, list | tuple) else [] if value is None else [value]
        return tuple(dict.fromkeys(int(v) for v in found))

    # -- forward passes ------------------------------------------------------------------------------------------

    def hidden(self, batch: Batch, *, finite: bool = True, **extra: Any) -> Any:
        """Run the transformer **without** the unembedding; returns the Hugging Face base output.

        Args:
            batch: tokens and mask.
            finite: refuse NaN and infinity (:func:`check_finite`).
            **extra: passed to the base model (``past_key_values``, ``use_cache`` …).

        Raises:
            EmotionCircuitsError: NaN or infinity at a real token.
        """
        out = self.base(**self._inputs(batch, extra))
        if finite:
            self.check_finite(out.last_hidden_state, batch)
        return out

    def logits(
        self, batch: Batch, *, last_only: bool = False, finite: bool = True
    ) -> Float[Tensor, "batch position vocabulary"]:
        """Next-token logits.

        Args:
            batch: tokens and mask.
            last_only: return ``[batch, vocabulary]`` at the last column only (left padding: the last real token)
                and skip the unembedding elsewhere.
            finite: refuse NaN and infinity (:func:`check_finite`).

        Raises:
            EmotionCircuitsError: NaN or infinity at a real token.
        """
        out = self.forward(batch, last_only=last_only, use_cache=False).logits
        out = out[:, -1:] if last_only else out
        if finite:
            self.check_finite(out, batch)
        return out[:, -1] if last_only else out  # type: ignore[no-any-return]

    def check_finite(self, values: Float[Tensor, "batch position feature"], batch: Batch, when: str = "") -> None:
        """Refuse NaN and infinity, which any later figure would hide: a mean of NaN is NaN, a comparison with it false.

        Args:
            values: what came out at the last positions of the batch.
            batch: whose padding may hold anything.
            when: more to say of the moment, e.g. ``", step 3"``.

        Raises:
            EmotionCircuitsError: naming the row, the place and the token there.
        """
        # The largest of a row is NaN or infinite where any is; minus infinity is how a token is ruled out.
        bad = ~torch.isfinite(values.detach().amax(-1))
        bad &= batch.attention_mask[:, -bad.shape[1] :].bool().to(bad.device)
        if not bool(bad.any()):
            return
        row, column = (int(v) for v in bad.nonzero()[0])
        column += batch.input_ids.shape[1] - bad.shape[1]
        token = token_text(self.tokenizer, int(batch.input_ids[row, column]))
        raise EmotionCircuitsError(
            f"{self.name} gives NaN or infinity in row {row} of a batch of {len(bad)}, first at token {column} "
            f"({token!r}){when}. With float16 use dtype 'bfloat16' or 'float32'; with a large alpha a smaller one; else the "
            "weights are damaged ('emotion-circuits models check' says in which layer)"
        )

    def forward(self, batch: Batch, *, last_only: bool = False, **extra: Any) -> Any:
        """The Hugging Face causal-LM forward with explicit positions."""
        inputs = self._inputs(batch, extra)
        if last_only and self._keeps_last_logits:
            # Picked, not sliced: on a strided view the product with the vocabulary is done row by row, several times slower.
            length = batch.input_ids.shape[1]
            inputs["logits_to_keep"] = torch.arange(length - 1, length, device=batch.input_ids.device)
        return self.hf(**inputs)

    def _inputs(self, batch: Batch, extra: dict[str, Any]) -> dict[str, Any]:
        if self.context is not None and batch.attention_mask.shape[1] > self.context:  # else no row can be longer
            # Where attention has a mask of its own (GPT-Neo), padding takes a place in it too.
            own = self.family.own_mask is not None
            self.check_length(batch.attention_mask.shape[1] if own else int(batch.attention_mask.sum(-1).max()))
        positions = position_ids_from_mask(batch.attention_mask)[:, -batch.input_ids.shape[1] :]
        inputs = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "position_ids": positions,
            "use_cache": False,
        }
        return {**inputs, **extra}
