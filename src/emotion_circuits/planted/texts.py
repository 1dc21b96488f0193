"""The words of planted models, their tokenizer, and minimal pairs of prompts with answers."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.prompts import Pair

__all__ = ["planted_pairs", "planted_tokenizer"]

_WORDS, _ANSWERS, _FILLERS = 8, 3, 30


def _words(spec: PlantedSpec) -> dict[str, list[str]]:
    languages = "ab"[: spec.languages]
    words = {f"{e}/{lg}": [f"{e}_{lg}{i}" for i in range(_WORDS)] for e in spec.values for lg in languages}
    words |= {f"{spec.reference}/{lg}": [f"{spec.reference}_{lg}{i}" for i in range(_WORDS)] for lg in languages}
    words |= {f"answers/{e}": [f"answer_{e}_{i}" for i in range(_ANSWERS)] for e in (*spec.values, spec.reference)}
    words["fillers"] = [f"w{i}" for i in range(_FILLERS)]
    return words


def planted_tokenizer(spec: PlantedSpec) -> tuple[PreTrainedTokenizerFast, dict[str, int]]:
    """A tokenizer of whole words, and word → token id."""
    listed = ["<pad>", "<s>", "</s>", "<unk>", ",", "so", *(w for part in _words(spec).values() for w in part)]
    vocabulary = {word: index for index, word in enumerate(listed)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    return fast, vocabulary


def planted_pairs(spec: PlantedSpec, generator: torch.Generator) -> tuple[Pair, ...]:
    """Minimal pairs: two thirds of an emotion against a neutral word, a third against another emotion.

    Args:
        spec: how many, in how many languages.
        generator: of words and lengths.
    """
    words = _words(spec)

    def some(options: list[str], count: int) -> list[str]:
        return [options[int(i)] for i in torch.randint(len(options), (count,), generator=generator)]

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    pairs: list[Pair] = []
    for index in range(spec.n_pairs):
        emotion = spec.values[index % len(spec.values)]
        language = "ab"[(index // len(spec.values)) % spec.languages]
        turn = index // (len(spec.values) * spec.languages)
        others = [e for e in spec.values if e != emotion]
        other = others[turn // 3 % len(others)] if turn % 3 == 2 else spec.reference
        before = " ".join(some(words["fillers"], between(1, 3)))
        after = " ".join([*some(words["fillers"], between(0, 2)), ",", *some(words["fillers"], between(1, 3)), "so"])
        word, replaced = some(words[f"{emotion}/{language}"], 1)[0], some(words[f"{other}/{language}"], 1)[0]
        start = len(before) + 1
        pairs.append(
            Pair(
                id=f"planted-{spec.seed}-{index}",
                text=f"{before} {word} {after}",
                label=emotion,
                group=f"planted-{index}",
                split=("train", "validation", "test")[index % 2 if index % 4 < 3 else 2],
                language={"a": "en", "b": "fr"}[language],
                set="planted",
                spans=((start, start + len(word)),),
                answers=tuple(f" {a}" for a in words[f"answers/{emotion}"]),
                corrupted=f"{before} {replaced} {after}",
                corrupted_label=other,
                corrupted_spans=((start, start + len(replaced)),),
                corrupted_answers=tuple(f" {a}" for a in words[f"answers/{other}"]),
            )
        )
    return tuple(pairs)
