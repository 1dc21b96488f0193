"""What is written, what is scored and what is shown are the same, whatever cuts the text into tokens."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Fluency
from emotion_circuits.model import Sampling, generate, load_model
from emotion_circuits.model.blueprint import blueprint
from emotion_circuits.model.continuations import continuation
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.prefixes import neutral_prefix
from emotion_circuits.model.token_texts import ends_within
from emotion_circuits.prompts import tokens_of_span
from emotion_circuits.prompts.tokenizing import load_tokenizer
from families import tiny_model
from tiny_files import save_folder
from tokenizer_cases import KINDS, WHOLE, model_of_kind, tokenizer_of

BROKEN = "\N{REPLACEMENT CHARACTER}"
_PARTS = (
    "the", "She", " walked", " ", "  ", "猫", "あい", "ありがとう。", "谢谢", "👩‍👩‍👧", "🙏🏽", "e\u0301", "한국", "é", "\r\n",
    "\n", "\t", "\0", "a", "7", ".", "<", "▁", "Ġ",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=7).map("".join)
ANY = st.one_of(TEXTS, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=ANY, ends=st.booleans(), begins=st.booleans())
def test_every_token_is_of_its_characters(kind: str, text: str, begins: bool, ends: bool) -> None:
    model = model_of_kind(kind, begins=begins, ends=ends)
    encoded = model.encode([text])
    (ids,), (spans,) = encoded.ids, encoded.offsets
    plain = tokenizer_of(kind)(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert ids == [*([model.tokenizer.bos_token_id] if begins else []), *plain], "begun, and never ended"
    covered = set()
    for start, stop in spans[int(begins) :]:
        assert 0 <= start <= stop <= len(text)
        covered |= set(range(start, stop))
    if kind in WHOLE:  # trimmed spans leave white space out
        assert {i for i, c in enumerate(text) if not c.isspace()} <= covered


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=60, deadline=None)
@given(before=TEXTS, word=st.sampled_from(["She", "猫", "ありがとう", "👩‍👩‍👧", "e\u0301"]), after=TEXTS)
def test_a_marked_word_is_found_among_the_tokens(kind: str, before: str, word: str, after: str) -> None:
    model, text, start = model_of_kind(kind), before + word + after, len(before)
    (ids,), (spans,) = model.encode([text]).ids, model.encode([text]).offsets
    found = tokens_of_span(spans, start, start + len(word))
    decoded = model.tokenizer.decode([ids[i] for i in found], clean_up_tokenization_spaces=False)
    assert found
    assert word in decoded
    assert len(decoded.strip()) <= len((before[-8:] + word + after[:8]).strip()), "and little else"


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, data=st.data())
def test_text_and_ids_of_a_continuation_say_the_same(kind: str, text: str, data: st.DataObject) -> None:
    tokenizer, model = tokenizer_of(kind), model_of_kind(kind)
    (ids,) = model.encode([f"a{text}"]).ids
    whole = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    first = data.draw(st.integers(1, len(ids)).filter(lambda n: not ends_within(tokenizer, ids[:n])))
    last = data.draw(st.integers(first, len(ids)))
    shown, kept = continuation(tokenizer, ids[:first], ids[first:last])
    assert list(kept) == ids[first : first + len(kept)]
    assert last - first - len(kept) <= 3, "bytes of one character"
    before = tokenizer.decode(ids[:first], clean_up_tokenization_spaces=False)
    assert whole.startswith(before + shown), "what is shown stands behind the prompt as it was written"
    assert BROKEN not in shown
    missing = ids[first + len(kept) : last]
    assert not missing or ends_within(tokenizer, ids[first:last])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begins", [False, True])
def test_what_is_scored_is_what_was_written(kind: str, begins: bool) -> None:
    model = model_of_kind(kind, begins=begins, ends=begins)
    prompts = ["the walk", "She"] * 4
    written = generate(model, prompts, Sampling(max_new_tokens=9, temperature=3.0), seeds=list(range(8)))
    table = Fluency(model).score(prompts, [g.text for g in written], ids=[g.token_ids for g in written])
    for prompt, out, row in zip(prompts, written, table.itertuples(), strict=True):
        (head,) = model.encode([prompt]).ids
        whole = [*head, *out.token_ids]
        logp = torch.log_softmax(model.hf(input_ids=torch.tensor([whole])).logits[0].float(), -1)
        costs = [-float(logp[i - 1, whole[i]]) for i in range(len(head), len(whole))]
        assert row.n_tokens == len(out.token_ids) == len(costs)
        if costs:
            assert row.nats == pytest.approx(sum(costs) / len(costs), abs=1e-3)
        decode = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        assert model.tokenizer.decode(whole, **decode) == model.tokenizer.decode(head, **decode) + out.text


FAMILIES = (
    "👩‍👩‍👧",
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🧑🏽‍🚀",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "می‌خواهم",
    "क्‍ष",
)
"""Characters joined by what is invisible: families, flags, skin colours, joiners of Persian and Hindi."""


@pytest.mark.parametrize("joined", FAMILIES)
@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_joined_stays_joined(kind: str, joined: str) -> None:
    model, text = model_of_kind(kind), f"She {joined} walked"
    (ids,) = model.encode([text]).ids
    (prompt,) = model.encode(["She"]).ids
    assert model.tokenizer.decode(ids, clean_up_tokenization_spaces=False).lstrip() == text
    written = ids[len(prompt) :]
    assert continuation(model.tokenizer, prompt, written) == (f" {joined} walked", tuple(written))
    # Wherever the length given ends: what is shown is what is kept, the joiners too.
    for length in range(len(written) + 1):
        shown, kept = continuation(model.tokenizer, prompt, written[:length])
        assert text.startswith("She" + shown)
        assert kept == tuple(written[: len(kept)])
    (row,) = Fluency(model).score(["She"], [f" {joined} walked"], ids=[tuple(written)]).itertuples()
    assert row.n_tokens == len(written)


def test_a_continuation_keeps_its_leading_space() -> None:
    for kind in ("metaspace, always", "prepended", "unigram"):
        tokenizer = tokenizer_of(kind)
        she, walked = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("She", "walk"))
        assert tokenizer.decode(walked) == "walk"
        assert continuation(tokenizer, she, walked) == (" walk", tuple(walked))


@pytest.mark.parametrize(("text", "shown"), [("猫い", "猫"), ("a🙏", "a"), ("い", "")])
@pytest.mark.parametrize("kind", ["byte level", "replaced"])
def test_a_text_ends_with_a_whole_character(kind: str, text: str, shown: str) -> None:
    tokenizer = tokenizer_of(kind)
    ids = [i for c in text for i in tokenizer(f"\x7f{c}", add_special_tokens=False)["input_ids"][1:]]
    if kind == "replaced" and text[-1] != "🙏":
        pytest.skip("a token of its own")
    assert continuation(tokenizer, [], ids[:-1])[0] == shown
    # Bytes that nothing can complete were written so, and are shown and scored.
    if kind == "byte level":
        wrong = tokenizer.convert_tokens_to_ids(["a", "Ł"])  # a byte from the middle of a character
        assert continuation(tokenizer, [], wrong) == (f"a{BROKEN}", tuple(wrong))


def test_a_token_may_end_one_character_and_begin_another() -> None:
    tokenizer = tokenizer_of("byte level")
    ids = tokenizer.convert_tokens_to_ids(["a", "â", "Ģ", "Ģã"])  # a quarter space and the first byte of あ
    assert "Ģã" in tokenizer.get_vocab()
    assert continuation(tokenizer, [], ids) == ("a", (ids[0],))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unigram"])
def test_a_special_token_that_a_person_spells_is_read_as_characters(kind: str) -> None:
    model = model_of_kind(kind)
    special = set(model.tokenizer.all_special_ids) - {model.tokenizer.unk_token_id}
    (row,) = model.encode(["the </s> walk <s>"]).ids
    assert special.isdisjoint(row)
    (rendered,) = model.encode(["<s>the</s>"], add_special_tokens=False).ids
    assert [i for i in rendered if i in special] == [model.tokenizer.bos_token_id, model.tokenizer.eos_token_id]


def test_a_special_token_that_cannot_be_read_as_characters_is_refused() -> None:
    with pytest.raises(EmotionCircuitsError, match=r"sentence g2 spells '</s>', which this tokenizer can only read"):
        model_of_kind("unigram").encode(["fine", "the </s> walk"], names=["g1", "g2"])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", "half \ud83d a pair"], r"text 2 \('half .*half of a surrogate pair"),
        (["fine", None], "text 2 is a NoneType, not a string"),
        ([float("nan")], "text 1 is a float, not a string"),
    ],
)
def test_what_is_no_text_is_refused_by_its_number(texts: list[str], message: str) -> None:
    with pytest.raises(EmotionCircuitsError, match=message):
        model_of_kind("byte level").encode(texts)


def test_a_pattern_that_gives_up_is_one_line_that_names_the_text(tmp_path) -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "<s>": 2}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    model = LanguageModel(
        tiny_model("llama").hf, PreTrainedTokenizerFast(tokenizer_object=tokenizer), tiny_model("llama").family, "x"
    )
    with pytest.raises(EmotionCircuitsError, match=r"tokenizer cannot read sentence s2 \('aaa"):
        model.encode(["ab", "a" * 40 + "b"], names=["s1", "s2"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenize = load_tokenizer(tmp_path)
    with pytest.raises(EmotionCircuitsError, match=r"tokenizer cannot read a text \('aaa"):
        tokenize("a" * 40 + "b")


def test_a_tokenizer_from_its_file_reads_special_tokens_as_characters_too(tmp_path) -> None:
    tokenizer_of("byte level", begins=True, ends=True).save_pretrained(tmp_path)
    tokenize = load_tokenizer(tmp_path)
    assert list(tokenize("a</s>").offsets) == [(i, i + 1) for i in range(5)]
    with pytest.raises(EmotionCircuitsError, match="half of a surrogate pair"):
        tokenize("\ud83d")


@pytest.mark.parametrize("kind", ["byte level", "prepended", "unigram", "word pieces"])
def test_an_answer_is_tokenized_as_it_continues_a_text(kind: str) -> None:
    model = model_of_kind(kind)
    for text in (" walk", " She"):
        (behind,) = model.continuing([text])
        (whole,) = model.encode([f"a{text}"]).ids
        (alone,) = model.encode(["a"]).ids
        assert whole == [*alone, *behind]
    assert model.continuing([]) == []


def test_which_tokenizers_begin_texts_themselves() -> None:
    for ends in (False, True):
        assert neutral_prefix(tokenizer_of("byte level", begins=True, ends=ends)) == ()
        assert neutral_prefix(tokenizer_of("byte level", ends=ends)) == (1,)


# -- ids and lengths against the model -------------------------------------------------------------------------------

LEARNED_AND_ROTARY = ("gpt2", "opt", "gpt_neo", "llama", "gptj")


@pytest.mark.parametrize("family", LEARNED_AND_ROTARY)
def test_a_text_beyond_the_positions_is_refused_by_name(family: str) -> None:
    model = tiny_model(family)
    assert model.logits(model.tokenize(["x" * 128])).shape[1] == 128
    with pytest.raises(EmotionCircuitsError, match=rf"sentence s7: 129 tokens exceed tiny-{family}'s context of 128"):
        model.encode(["short", "x" * 129], names=["s1", "s7"])
    with pytest.raises(EmotionCircuitsError, match=r"text 2 \('x{40}…'\): 127 tokens and 2 new ones exceed"):
        model.tokenize(["short", "x" * 127], room=2)
    with pytest.raises(EmotionCircuitsError, match="continuation 1 and its prompt: 130 tokens exceed"):
        Fluency(model).score(["x" * 100], ["y" * 30], ids=[model.continuing(["y" * 30])[0]])


@pytest.mark.parametrize("family", LEARNED_AND_ROTARY)
def test_ids_that_came_another_way_are_not_read_beyond_the_positions(family: str) -> None:
    model = tiny_model(family)
    padded = model.collate([[5] * 20, [5] * 128], side="left")
    wider = replace(
        padded,
        input_ids=torch.nn.functional.pad(padded.input_ids, (9, 0)),
        attention_mask=torch.nn.functional.pad(padded.attention_mask, (9, 0)),
    )
    if family == "gpt_neo":  # its attention has a mask of 128 columns
        with pytest.raises(EmotionCircuitsError, match="137 tokens exceed"):
            model.logits(wider)
    else:
        torch.testing.assert_close(model.logits(wider)[:, 9:][padded.real], model.logits(padded)[padded.real])
    with pytest.raises(EmotionCircuitsError, match="a text: 129 tokens exceed"):
        model.hidden(model.collate([[5] * 129]))


@pytest.mark.parametrize("family", LEARNED_AND_ROTARY)
def test_rows_that_fit_are_scored_together_or_not_at_all(family: str) -> None:
    model = tiny_model(family)
    prompts, tails = ["x" * 100, "x" * 20], ["y" * 20, "z" * 100]
    together = Fluency(model).score(prompts, tails)["nats"]
    alone = [float(Fluency(model).score([p], [t])["nats"].iloc[0]) for p, t in zip(prompts, tails, strict=True)]
    assert together.tolist() == pytest.approx(alone, abs=2e-4)


def test_a_prefix_counts() -> None:
    model = tiny_model("gpt2")
    model.prefix = (1,)
    model.encode(["x" * 127])
    with pytest.raises(EmotionCircuitsError, match="129 tokens exceed"):
        model.encode(["x" * 128])


def test_a_tokenizer_of_another_model_is_found_at_load(tmp_path) -> None:
    folder = save_folder(tmp_path, vocab_size=90)
    for load in (load_model, blueprint):
        with pytest.raises(
            EmotionCircuitsError, match=r"no embedding for \('w', 'x', 'y' and 3 more; it has embeddings for 90"
        ):
            load(folder)


@pytest.mark.parametrize("rows", [96, 100])
def test_an_embedding_at_least_as_large_as_the_tokenizer_is_fine(tmp_path, rows: int) -> None:
    assert load_model(save_folder(tmp_path, vocab_size=rows)).tokenize(["a"]).input_ids.shape == (1, 1)


def test_special_tokens_without_an_embedding_are_fine_until_they_are_used(tmp_path) -> None:
    model = tiny_model("llama")
    model.tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    model.tokenizer.pad_token = "<image>"
    model.hf.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.logits(loaded.tokenize(["ab", "abc"])).isfinite().all(), "padded with a token that it has"
    loaded.encode(["an <image>"])
    with pytest.raises(EmotionCircuitsError, match=r"text 1 .* has the token '<image>' \(number 96\)"):
        loaded.encode(["an <image>"], add_special_tokens=False)


# -- what the files of a tokenizer say ----------------------------------------------------------------------------------


def saved(folder, kind, change=None, **config):
    """A tiny model's folder with a tokenizer of some kind, its files edited."""
    save_folder(folder, "llama", vocab_size=700)
    for file in [*folder.glob("*token*"), *folder.glob("special*")]:
        file.unlink()
    tokenizer_of(kind).save_pretrained(folder)
    for name, edit in (("tokenizer.json", change), ("tokenizer_config.json", lambda held: held.update(config))):
        held = json.loads((folder / name).read_text())
        if edit is not None:
            edit(held)
        (folder / name).write_text(json.dumps(held))
    return folder


def test_a_text_has_the_same_tokens_every_time(tmp_path):
    model = blueprint(saved(tmp_path / "m", "byte level", lambda held: held["model"].update(dropout=0.5)))
    (whole,) = blueprint(saved(tmp_path / "plain", "byte level")).encode(["the the the the the"]).ids
    assert all(model.encode(["the the the the the"]).ids == [whole] for _ in range(10))


def test_lengths_that_a_tokenizer_was_saved_with_cut_and_pad_nothing(tmp_path):
    def change(held):
        held["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
        held["padding"] = {
            "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "<pad>",
        }  # fmt: skip

    model = blueprint(saved(tmp_path / "m", "byte level", change))
    plain = tokenizer_of("byte level")("the quick brown fox", add_special_tokens=False)["input_ids"]
    assert model.encode(["the quick brown fox"]).ids == [plain]
    assert model.continuing(["the quick brown fox"]) == [plain]


@pytest.mark.parametrize(
    ("kind", "called"),
    [("metaspace, always", "GPT2Tokenizer"), ("byte level", "LlamaTokenizer"), ("replaced", "GPT2Tokenizer")],
)
def test_a_class_does_not_overrule_the_file_of_its_tokenizer(tmp_path, kind, called):
    folder = saved(tmp_path / "m", kind, tokenizer_class=called)
    said = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "Hello  there,\n\nin 2024 don't"
    assert blueprint(folder).encode([text]).ids == [said.encode(text, add_special_tokens=False).ids]


def test_a_beginning_that_two_files_say_differently_is_told(tmp_path, caplog):
    blueprint(saved(tmp_path / "m", "byte level", add_bos_token=True))
    assert "add_bos_token is true; tokenizer.json does the opposite" in caplog.text
    caplog.clear()
    blueprint(saved(tmp_path / "n", "byte level", add_bos_token=False))
    assert not caplog.text
