"""Small tokenizers of every kind that causal models come with, in which any text has tokens."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from families import tiny_hf

SPECIAL = ("<pad>", "<s>", "</s>")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def _byte_level(trim: bool = False, space: bool = False) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "th"), ("Ġth", "e"), ("ã", "ģ"), ("Ġ", "ð"), ("Ģ", "ã")]
    # The last one ends a character and begins another.
    merges += [("Ģ", "ã")]  # the end of one character and the beginning of another
    vocabulary = dict.fromkeys([*SPECIAL, *alphabet, *(a + b for a, b in merges)])
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    if trim:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def _pieces() -> dict[str, int]:
    characters = ["▁", *map(chr, range(33, 127)), "猫", "あ", "い"]
    words = ["▁t", "▁th", "▁the", "th", "the", "▁S", "▁Sh", "▁She", "Sh", "She", "wa", "walk", "lk"]
    return {t: i for i, t in enumerate(dict.fromkeys(["<unk>", *SPECIAL, *_BYTES, *characters, *words]))}


_MERGES = [
    ("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("t", "h"), ("th", "e"), ("▁", "S"), ("▁S", "h"), ("▁Sh", "e"), ("S", "h"),
    ("Sh", "e"), ("w", "a"), ("l", "k"), ("wa", "lk"),
]  # fmt: skip


def _sentencepiece(how: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(_pieces(), _MERGES, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fallback = [decoders.ByteFallback(), decoders.Fuse()]
    if how == "prepend":  # Llama's normalizer
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), *fallback, decoders.Strip(" ", 1, 0)])
    elif how == "none":  # Gemma's
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), *fallback])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=how, split=False)
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=how)])
    return tokenizer


def _unigram() -> Tokenizer:
    pieces = [(t, 0.0 if t in SPECIAL or t == "<unk>" else -2.0 - (t in _BYTES)) for t in _pieces()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return tokenizer


def _word_pieces() -> Tokenizer:
    characters = [chr(c) for c in range(33, 127)]
    tokens = ["[UNK]", *SPECIAL, *characters, *(f"##{c}" for c in characters), "the", "walk", "##ed"]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(dict.fromkeys(tokens))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _word_ends() -> Tokenizer:
    """The first GPT's kind: a word's last piece carries its end."""
    characters = [chr(c) for c in range(33, 127)]
    tokens = ["<unk>", *SPECIAL, *characters, *(f"{c}</w>" for c in characters)]
    tokenizer = Tokenizer(
        models.BPE(
            {t: i for i, t in enumerate(dict.fromkeys(tokens))}, [], unk_token="<unk>", end_of_word_suffix="</w>"
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder()
    return tokenizer


KINDS = {
    "byte level": _byte_level,
    "byte level, trimmed": lambda: _byte_level(trim=True),
    "byte level, with a space": lambda: _byte_level(trim=True, space=True),
    "metaspace, always": lambda: _sentencepiece("always"),
    "metaspace, first": lambda: _sentencepiece("first"),
    "metaspace, never": lambda: _sentencepiece("never"),
    "prepended": lambda: _sentencepiece("prepend"),
    "replaced": lambda: _sentencepiece("none"),
    "unigram": _unigram,
    "word pieces": _word_pieces,
    "word ends": _word_ends,
}
WHOLE = tuple(name for name in KINDS if not name.startswith("word"))
"""Kinds from whose tokens a text comes back as it was."""


@cache
def tokenizer_of(kind: str, *, begins: bool = False, ends: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer, which may put ``<s>`` before texts and ``</s>`` behind them."""
    tokenizer = KINDS[kind]()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    if begins or ends:
        frame = f"{'<s> ' if begins else ''}$A{' </s>' if ends else ''}"
        own = processors.TemplateProcessing(
            single=frame, special_tokens=[(t, tokenizer.token_to_id(t)) for t in SPECIAL[1:]]
        )
        before = tokenizer.post_processor
        tokenizer.post_processor = own if before is None else processors.Sequence([before, own])
    unknown = next((t for t in ("<unk>", "[UNK]") if tokenizer.token_to_id(t) is not None), None)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token=unknown
    )


@cache
def model_of_kind(kind: str, *, begins: bool = False, ends: bool = False) -> LanguageModel:
    """A tiny random model that reads and writes with it."""
    tokenizer = tokenizer_of(kind, begins=begins, ends=ends)
    hf = tiny_hf(
        "llama",
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        max_position_embeddings=512,
    )
    return LanguageModel(hf, tokenizer, family_of(hf.config), f"tiny {kind}")
