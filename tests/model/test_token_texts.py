"""Tokens that are parts of characters, in the two kinds of vocabulary that have such."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from emotion_circuits.model.token_texts import token_text, token_texts


def byte_level() -> PreTrainedTokenizerFast:
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("ã", "ģ"), ("Ġ", "ð")]  # the first bytes of hiragana; a space and the first byte of an emoji
    vocab |= {a + b: len(vocab) + i for i, (a, b) in enumerate(merges)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def byte_fallback() -> PreTrainedTokenizerFast:
    vocab = {"a": 0, "b": 1, " ": 2, "<unk>": 3} | {f"<0x{i:02X}>": 4 + i for i in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


KINDS = {"byte level": byte_level(), "byte fallback": byte_fallback()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_token_is_its_text_or_its_bytes(kind: str) -> None:
    tokenizer = KINDS[kind]
    ids = tokenizer("aé")["input_ids"]
    assert [token_text(tokenizer, i) for i in ids] == ["a", "<0xC3>", "<0xA9>"]


def test_a_token_may_hold_a_character_and_a_part_of_another() -> None:
    tokenizer = KINDS["byte level"]
    ids = tokenizer("a 😀")["input_ids"]
    assert [token_text(tokenizer, i) for i in ids] == ["a", " <0xF0>", "<0x9F>", "<0x98>", "<0x80>"]
    assert token_texts(tokenizer, ids) == ["a", *(f" 😀[{i}/4]" for i in (1, 2, 3, 4))]


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_character_are_told_by_it(kind: str) -> None:
    tokenizer = KINDS[kind]
    parts = 2 if kind == "byte level" else 3
    found = token_texts(tokenizer, tokenizer("aあb")["input_ids"])
    assert found == ["a", *(f"あ[{i + 1}/{parts}]" for i in range(parts)), "b"]


def test_bytes_that_never_become_a_character_are_shown_as_bytes() -> None:
    tokenizer = KINDS["byte level"]
    ids = tokenizer("あ")["input_ids"][:1] * 2 + tokenizer("b")["input_ids"]
    assert token_texts(tokenizer, ids) == ["<0xE3><0x81>", "<0xE3><0x81>", "b"]


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=12), kind=st.sampled_from(sorted(KINDS)))
def test_one_text_per_token_and_no_replacement_marks(text: str, kind: str) -> None:
    tokenizer = KINDS[kind]
    ids = tokenizer(text)["input_ids"]
    found = token_texts(tokenizer, ids)
    assert len(found) == len(ids)
    assert "\ufffd" in text or not any("\ufffd" in part for part in found)
