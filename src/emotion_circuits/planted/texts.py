"""The words of planted models, their tokenizer, and minimal pairs of prompts with answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.prompts import Pair

__all__ = ["Sentences", "planted_pairs", "planted_tokenizer"]

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


@dataclass(frozen=True)
class Sentences:
    """Token ids of prompts like those of :func:`planted_pairs`, for training.

    Attributes:
        spec: of labels and languages.
        vocabulary: word → token id.
    """

    spec: PlantedSpec
    vocabulary: dict[str, int]

    def _ids(self, name: str) -> Int[Tensor, " word"]:
        return torch.tensor([self.vocabulary[word] for word in _words(self.spec)[name]])

    def draw(
        self, rows: int, language: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "row position"], Int[Tensor, " row"], int]:
        """Prompts of one layout: token ids, the emotion that each names (the reference is the last), its word's position."""
        low, high = torch.tensor([1, 0, 1]), torch.tensor([3, 2, 3])
        before, middle, after = (low + (torch.rand(3, generator=generator) * (high - low + 1)).long()).tolist()
        labels = (*self.spec.values, self.spec.reference)
        words = torch.stack([self._ids(f"{label}/{'ab'[language]}") for label in labels])
        emotion = torch.randint(len(labels), (rows,), generator=generator)
        fillers = self._ids("fillers")
        ids = fillers[torch.randint(len(fillers), (rows, before + middle + after + 4), generator=generator)]
        ids[:, 0] = self.vocabulary["<s>"]
        ids[:, before + 1] = words[emotion, torch.randint(_WORDS, (rows,), generator=generator)]
        ids[:, before + middle + 2] = self.vocabulary[","]
        ids[:, -1] = self.vocabulary["so"]
        return ids, emotion, before + 1

    def targets(self, left: float) -> Float[Tensor, "emotion vocabulary"]:
        """Next-word probabilities: evenly over an emotion's answers, but for ``left``, evenly over all other answers."""
        labels = (*self.spec.values, self.spec.reference)
        answers = torch.stack([self._ids(f"answers/{label}") for label in labels])
        found = torch.zeros(len(labels), len(self.vocabulary))
        found[:, answers.flatten()] = left / (answers.numel() - answers.shape[1])
        for label, own in enumerate(answers):
            found[label, own] = (1 - left) / len(own)
        return found
