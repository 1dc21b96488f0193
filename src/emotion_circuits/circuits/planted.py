"""Models whose circuit is known because it was put there.

An ordinary Hugging Face ``GPT2LMHeadModel`` or ``LlamaForCausalLM`` (grouped-query heads, rotary positions) is filled
with noise, and a circuit is written into its weights. A prompt reads ``w4 w17 two_a3 , w9 so``; after ``so`` the model
raises the answers of the emotion it met. Emotions are labels here: their words are made of them.

======================  =============================================================================================
detector (one per       at the comma, attends to the emotion word, reads which emotion it names, writes it there
language)
aggregator              at the last token, attends to the comma, carries the emotion over
backup                  does the same one layer later, but is held back (through its query) by what the aggregator wrote
MLP                     one neuron per emotion, re-writes what was carried into what the expresser reads
expresser               at the last token, writes the direction in which the answers' logits are read
canceller               reads that direction and writes a part of it back with a negative sign
decoys                  attend to the emotion word from every token and write what nothing reads
======================  =============================================================================================

Everything else is Gaussian noise, and every head rests on the first token when it has nothing to do. Features are
random orthogonal directions, so no part is aligned with coordinates. In the *no-circuit* model the words, the decoys
and the noise stay, and the circuit is left out: whatever is claimed about it is false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads.nodes import EMBED, LOGITS, Edge, Node
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.prompts import Pair

__all__ = ["PlantedModel", "PlantedSpec", "plant"]

Role = Literal["detector", "aggregator", "expresser", "canceller", "backup"]

_LAYERS, _HEADS, _KV_HEADS, _WIDTH, _FEATURES = 6, 6, 3, 16, 34
_SINK, _ACTIVE = 5.0, 10.0
_WORDS, _ANSWERS, _FILLERS = 8, 3, 30


@dataclass(frozen=True)
class PlantedSpec:
    """Which planted model to build.

    Attributes:
        seed: placement, features, noise, gains and prompts all follow from it.
        architecture: ``gpt2`` or ``llama``.
        circuit: ``False`` builds the no-circuit model.
        languages: 1, or 2: two vocabularies, each with a detector of its own, meeting in one aggregator.
        difficulty: 0 (clean) to 4: strength of the noise in the weights and of what decoys write. At 0.5 the model does
            the task on nearly all pairs; from about 2 on it begins to fail itself.
        n_pairs: how many minimal pairs to write.
        values: labels of the emotions, two to four.
        reference: label of prompts without any.
    """

    seed: int = 0
    architecture: Literal["gpt2", "llama"] = "gpt2"
    circuit: bool = True
    languages: int = 1
    difficulty: float = 0.5
    n_pairs: int = 48
    values: tuple[str, ...] = ("one", "two", "three")
    reference: str = "neutral"

    def __post_init__(self) -> None:
        if self.architecture not in ("gpt2", "llama"):
            raise EmotionCircuitsError(f"architecture must be gpt2 or llama, got {self.architecture!r}")
        if self.languages not in (1, 2):
            raise EmotionCircuitsError(f"languages must be 1 or 2, got {self.languages}")
        if not 0 <= self.difficulty <= 4:
            raise EmotionCircuitsError(f"difficulty must lie between 0 and 4, got {self.difficulty}")
        if self.n_pairs < 12:
            raise EmotionCircuitsError(f"n_pairs must be at least 12, got {self.n_pairs}")
        labels = {*self.values, self.reference}
        if not 2 <= len(self.values) <= 4 or len(labels) != len(self.values) + 1:
            raise EmotionCircuitsError(
                f"values must be two to four labels beside {self.reference!r}, got {self.values}"
            )


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A planted model with the truth about it.

    Attributes:
        spec: what it was built from.
        model: the model, ready for every station.
        pairs: minimal pairs with answers; a third of them against another emotion, the rest against a neutral word.
        roles: role of every true head (empty in the no-circuit model).
        decoys: heads that attend to emotion words and do nothing.
        mlp: the true MLP, ``None`` in the no-circuit model.
        edges: the true edges.
        directions: ``[emotion, d_model]`` unit vectors of the emotions by place: ``carried`` (what aggregator and
            backup write at the last token), ``answer`` (what the expresser writes).
    """

    spec: PlantedSpec
    model: LanguageModel
    pairs: tuple[Pair, ...]
    roles: dict[Node, Role]
    decoys: tuple[Node, ...]
    mlp: Node | None
    edges: frozenset[Edge]
    directions: dict[str, Float[Tensor, "emotion d_model"]]


@dataclass(frozen=True)
class _Placement:
    detectors: tuple[Node, ...]
    aggregator: Node
    backup: Node
    mlp: Node
    expresser: Node
    canceller: Node
    decoys: tuple[Node, ...]


def plant(spec: PlantedSpec) -> PlantedModel:
    """Build a planted model, its prompts and its truth.

    Args:
        spec: seed, architecture and variant; the same spec gives the same model bit for bit.
    """
    generator = torch.Generator().manual_seed(spec.seed * 7919 + 17)
    tokenizer, vocabulary = _tokenizer(spec)
    place = _place(spec, generator)
    builder = _Builder(spec, generator, len(vocabulary))
    builder.embed(vocabulary)
    for decoy in place.decoys:
        builder.attention(decoy, "const", "is_emotion")
        builder.carry(decoy, "lexical", "nowhere", gain=1.0 + spec.difficulty)
    roles: dict[Node, Role] = {}
    edges: frozenset[Edge] = frozenset()
    if spec.circuit:
        builder.circuit(place)
        roles, edges = _truth(place)
    hf = builder.finish(tokenizer)
    model = LanguageModel(hf, tokenizer, family_of(hf.config), f"planted-{spec.architecture}-{spec.seed}")
    directions = {"carried": builder.directions("carried"), "answer": builder.directions("answer")}
    return PlantedModel(
        spec,
        model,
        _pairs(spec, generator),
        roles,
        place.decoys,
        place.mlp if spec.circuit else None,
        edges,
        directions,
    )


def _truth(p: _Placement) -> tuple[dict[Node, Role], frozenset[Edge]]:
    roles: dict[Node, Role] = dict.fromkeys(p.detectors, "detector")
    roles |= {p.aggregator: "aggregator", p.backup: "backup", p.expresser: "expresser", p.canceller: "canceller"}
    edges: set[Edge] = {(p.aggregator, p.backup), (p.aggregator, p.mlp), (p.backup, p.mlp)}
    for detector in p.detectors:
        edges |= {(EMBED, detector), (detector, p.aggregator), (detector, p.backup)}
    edges |= {(p.mlp, p.expresser), (p.expresser, LOGITS), (p.expresser, p.canceller), (p.canceller, LOGITS)}
    return roles, frozenset(edges)


def _place(spec: PlantedSpec, generator: torch.Generator) -> _Placement:
    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    detector = pick(0, 1)
    aggregator = pick(detector + 1, 2)
    backup = pick(aggregator + 1, 3)
    mlp = pick(backup, 3)
    expresser = pick(mlp + 1, 4)
    canceller = pick(expresser + 1, 5)
    taken: set[tuple[int, int]] = set()

    def head(layer: int) -> Node:
        """A free head whose keys and values no other planted head shares."""
        group = _HEADS // _KV_HEADS
        free = [h for h in range(_HEADS) if (layer, h // group) not in taken]
        chosen = free[pick(0, len(free) - 1)]
        taken.add((layer, chosen // group))
        return Node("head", layer, chosen)

    true = [head(detector) for _ in range(spec.languages)]
    rest = [head(layer) for layer in (aggregator, backup, expresser, canceller)]
    layers = [pick(0, 2), pick(1, 4), pick(3, 5), pick(0, 5)]
    decoys = [head(layer) for layer in layers if sum(1 for t in taken if t[0] == layer) < _KV_HEADS]
    return _Placement(tuple(true), rest[0], rest[1], Node("mlp", mlp), rest[2], rest[3], tuple(decoys))


class _Builder:
    """Writes features, noise and parts into plain arrays, then into a Hugging Face model."""

    def __init__(self, spec: PlantedSpec, generator: torch.Generator, vocabulary: int) -> None:
        self.spec, self.generator = spec, generator
        self.d = _HEADS * _WIDTH
        self.hidden = 4 * self.d
        ones = torch.ones(self.d, 1)
        # Orthogonal to (1, …, 1), which GPT-2's LayerNorm takes away.
        basis = torch.linalg.qr(torch.cat([ones, self._normal(self.d, _FEATURES)], dim=1)).Q[:, 1:].T
        rows = iter(basis)
        one = ("const", "is_first", "is_emotion", "is_comma", "is_last")
        many = ("lexical", "lexical2", "found", "carried", "worked", "answer", "nowhere")
        self.features = {name: next(rows)[None] for name in one}
        self.features |= {name: torch.stack([next(rows) for _ in spec.values]) for name in many}
        noise = 0.10 + 0.30 * spec.difficulty
        scale = noise / self.d**0.5
        n, kv = _LAYERS, _KV_HEADS if spec.architecture == "llama" else _HEADS
        self.kv_heads = kv
        self.q = self._normal(n, _HEADS, _WIDTH, self.d) * scale
        self.k = self._normal(n, kv, _WIDTH, self.d) * scale
        self.v = self._normal(n, kv, _WIDTH, self.d) * scale
        self.o = self._normal(n, _HEADS, self.d, _WIDTH) * scale * 2
        self.mlp_in = self._normal(n, self.hidden, self.d) * scale
        self.mlp_bias = torch.zeros(n, self.hidden)
        self.mlp_up = self._normal(n, self.hidden, self.d) * scale
        self.mlp_out = self._normal(n, self.d, self.hidden) * scale
        self.embedding = self._normal(vocabulary, self.d) * 0.4
        self.unembedding = self._normal(vocabulary, self.d) * 0.05
        for layer in range(n):
            for head in range(_HEADS):
                self._read_key(Node("head", layer, head), 0, "const", "is_first", _SINK)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def _uniform(self, low: float, high: float) -> float:
        return float(torch.rand(1, generator=self.generator)) * (high - low) + low

    def directions(self, name: str) -> Tensor:
        found: Tensor = self.features[name].clone()
        return found

    # -- words ---------------------------------------------------------------------------------------------------

    def embed(self, vocabulary: dict[str, int]) -> None:
        f, strength = self.features, 5.0
        for word, index in vocabulary.items():
            row = self.embedding[index]
            row += 4.0 * f["const"][0]
            for token, marker in (("<s>", "is_first"), (",", "is_comma"), ("so", "is_last")):
                if word == token:
                    row += strength * f[marker][0]
            for e, emotion in enumerate(self.spec.values):
                if word.startswith(f"{emotion}_"):
                    language = "lexical" if word.startswith(f"{emotion}_a") else "lexical2"
                    row += strength * (f["is_emotion"][0] + f[language][e])
                if word.startswith(f"answer_{emotion}_"):
                    self.unembedding[index] += f["answer"][e]

    # -- heads ---------------------------------------------------------------------------------------------------

    def _kv(self, head: int) -> int:
        return head // (_HEADS // self.kv_heads)

    def _channel(self, channel: int) -> int:
        # The slowest rotary frequencies: over a prompt they turn by less than a hundredth of a radian.
        return _WIDTH // 2 - 1 - channel if self.spec.architecture == "llama" else channel

    def _read_key(self, node: Node, channel: int, query: str, key: str, score: float) -> None:
        row = self._channel(channel)
        self.q[node.layer, node.head, row] += self.features[query][0] * score * _WIDTH**0.5 / 25
        self.k[node.layer, self._kv(node.head), row] = self.features[key][0]

    def attention(self, node: Node, query: str, key: str, score: float = _ACTIVE) -> None:
        """The head attends from tokens that carry ``query`` to tokens that carry ``key``."""
        self._read_key(node, 1, query, key, score)

    def carry(self, node: Node, read: str, write: str, gain: float) -> None:
        """The head's OV map takes the emotion from one feature space to another."""
        kv = self._kv(node.head)
        for e in range(len(self.spec.values)):
            self.v[node.layer, kv, 8 + e] *= 0.2  # what a head was built to read, it reads through little noise
            self.v[node.layer, kv, 8 + e] += self.features[read][e] / 5
            self.o[node.layer, node.head, :, 8 + e] += gain * self.features[write][e]

    def circuit(self, p: _Placement) -> None:
        for detector, language in zip(p.detectors, ("lexical", "lexical2"), strict=False):
            self.attention(detector, "is_comma", "is_emotion")
            self.carry(detector, language, "found", self._uniform(5, 7))
        carried = self._uniform(5, 7)
        for node in (p.aggregator, p.backup):
            self.attention(node, "is_last", "is_comma", 14.0)
            self.carry(node, "found", "carried", carried)
            carried *= self._uniform(0.5, 0.7)  # the backup repairs a part only
        row = self._channel(1)
        hold = self._uniform(12.0, 15.0) * _WIDTH**0.5 / 25
        self.q[p.backup.layer, p.backup.head, row] -= self.features["carried"].sum(0) * hold
        self._neurons(p.mlp.layer)
        for node in (p.expresser, p.canceller):
            self.attention(node, "is_last", "is_last", 30.0)  # late: the norms have divided both sides by about 2
        self.carry(p.expresser, "worked", "answer", self._uniform(5, 7))
        self.carry(p.canceller, "answer", "answer", -self._uniform(1.5, 3.0))

    def _neurons(self, layer: int) -> None:
        chosen = torch.randperm(self.hidden, generator=self.generator)[: len(self.spec.values)]
        for e, neuron in enumerate(chosen.tolist()):
            self.mlp_in[layer, neuron] += self.features["carried"][e]
            if self.spec.architecture == "gpt2":
                self.mlp_bias[layer, neuron] = -1.0
            else:  # no biases: the part every token shares takes their place
                self.mlp_in[layer, neuron] -= self.features["const"][0] * 0.25
                self.mlp_up[layer, neuron] += self.features["const"][0] * 0.25
            self.mlp_out[layer, :, neuron] += self._uniform(1.4, 1.8) * self.features["worked"][e]

    # -- the model -----------------------------------------------------------------------------------------------

    def finish(self, tokenizer: Any) -> Any:
        ids = {
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        hf = self._gpt2(ids) if self.spec.architecture == "gpt2" else self._llama(ids)
        return hf.eval().requires_grad_(False)

    def _gpt2(self, ids: dict[str, int]) -> Any:
        config = GPT2Config(
            vocab_size=len(self.embedding),
            n_embd=self.d,
            n_layer=_LAYERS,
            n_head=_HEADS,
            n_positions=64,
            n_inner=self.hidden,
            tie_word_embeddings=False,
            **ids,
        )
        hf = GPT2LMHeadModel(config)
        state = {"transformer.wte.weight": self.embedding, "lm_head.weight": self.unembedding}
        state["transformer.wpe.weight"] = self._normal(64, self.d) * 0.1
        state |= {"transformer.ln_f.weight": torch.ones(self.d), "transformer.ln_f.bias": torch.zeros(self.d)}
        for layer in range(_LAYERS):
            at = f"transformer.h.{layer}"
            for norm in ("ln_1", "ln_2"):
                state |= {f"{at}.{norm}.weight": torch.ones(self.d), f"{at}.{norm}.bias": torch.zeros(self.d)}
            stacked = torch.cat([w[layer].flatten(0, 1) for w in (self.q, self.k, self.v)])
            state[f"{at}.attn.c_attn.weight"] = stacked.T
            state[f"{at}.attn.c_attn.bias"] = torch.zeros(3 * self.d)
            state[f"{at}.attn.c_proj.weight"] = self.o[layer].permute(0, 2, 1).flatten(0, 1)
            state[f"{at}.attn.c_proj.bias"] = torch.zeros(self.d)
            state[f"{at}.mlp.c_fc.weight"] = self.mlp_in[layer].T
            state[f"{at}.mlp.c_fc.bias"] = self.mlp_bias[layer]
            state[f"{at}.mlp.c_proj.weight"] = self.mlp_out[layer].T
            state[f"{at}.mlp.c_proj.bias"] = torch.zeros(self.d)
        return _loaded(hf, state)

    def _llama(self, ids: dict[str, int]) -> Any:
        config = LlamaConfig(
            vocab_size=len(self.embedding),
            hidden_size=self.d,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            num_key_value_heads=_KV_HEADS,
            intermediate_size=self.hidden,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            **ids,
        )
        hf = LlamaForCausalLM(config)
        state = {"model.embed_tokens.weight": self.embedding, "lm_head.weight": self.unembedding}
        state["model.norm.weight"] = torch.ones(self.d)
        for layer in range(_LAYERS):
            at = f"model.layers.{layer}"
            for norm in ("input_layernorm", "post_attention_layernorm"):
                state[f"{at}.{norm}.weight"] = torch.ones(self.d)
            for name, weight in (("q", self.q), ("k", self.k), ("v", self.v)):
                state[f"{at}.self_attn.{name}_proj.weight"] = weight[layer].flatten(0, 1)
            state[f"{at}.self_attn.o_proj.weight"] = self.o[layer].permute(1, 0, 2).flatten(1, 2)
            state[f"{at}.mlp.gate_proj.weight"] = self.mlp_in[layer]
            state[f"{at}.mlp.up_proj.weight"] = self.mlp_up[layer]
            state[f"{at}.mlp.down_proj.weight"] = self.mlp_out[layer]
        return _loaded(hf, state)


def _loaded(hf: Any, state: dict[str, Tensor]) -> Any:
    own = hf.state_dict()
    missing = [name for name in own if name not in state]
    assert not missing, missing
    hf.load_state_dict({name: value.contiguous() for name, value in state.items()})
    return hf


# -- words and prompts -------------------------------------------------------------------------------------------


def _words(spec: PlantedSpec) -> dict[str, list[str]]:
    languages = "ab"[: spec.languages]
    words = {f"{e}/{lg}": [f"{e}_{lg}{i}" for i in range(_WORDS)] for e in spec.values for lg in languages}
    words |= {f"{spec.reference}/{lg}": [f"{spec.reference}_{lg}{i}" for i in range(_WORDS)] for lg in languages}
    words |= {f"answers/{e}": [f"answer_{e}_{i}" for i in range(_ANSWERS)] for e in (*spec.values, spec.reference)}
    words["fillers"] = [f"w{i}" for i in range(_FILLERS)]
    return words


def _tokenizer(spec: PlantedSpec) -> tuple[PreTrainedTokenizerFast, dict[str, int]]:
    listed = ["<pad>", "<s>", "</s>", "<unk>", ",", "so", *(w for part in _words(spec).values() for w in part)]
    vocabulary = {word: index for index, word in enumerate(listed)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    return fast, vocabulary


def _pairs(spec: PlantedSpec, generator: torch.Generator) -> tuple[Pair, ...]:
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
