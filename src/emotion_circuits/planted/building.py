"""The weights of a planted model: features, noise and parts in plain arrays, then in a Hugging Face model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from emotion_circuits.heads.nodes import Node
from emotion_circuits.planted.spec import D_MODEL, HEADS, KV_HEADS, LAYERS, WIDTH, PlantedSpec

__all__ = ["SPACES", "Builder"]

_ONE = ("const", "is_first", "is_emotion", "is_comma", "is_last", "is_topic")
_ORTHOGONAL = 34
_SINK, _ACTIVE = 5.0, 10.0
_STRENGTH = 5.0

SPACES = ("lexical", "lexical2", "found", "carried", "worked", "answer", "nowhere")
"""Feature spaces of a circuit of the emotion alone."""


class Builder:
    """Writes features, noise and parts into plain arrays, then into a Hugging Face model.

    Args:
        spec: architecture, difficulty and languages.
        generator: of features, noise and gains; every draw depends on those before it.
        vocabulary: number of tokens.
        spaces: feature spaces, each of a direction per emotion.
        packed: dimensions into which these directions are packed, as far apart as they go; ``None``: orthogonal directions.
    """

    def __init__(
        self,
        spec: PlantedSpec,
        generator: torch.Generator,
        vocabulary: int,
        *,
        spaces: Sequence[str] = SPACES,
        packed: int | None = None,
    ) -> None:
        self.spec, self.generator = spec, generator
        self.d = D_MODEL
        self.hidden = 4 * self.d
        ones = torch.ones(self.d, 1)
        # Orthogonal to (1, …, 1), which GPT-2's LayerNorm takes away.
        width = _ORTHOGONAL if packed is None else len(_ONE) + packed
        basis = torch.linalg.qr(torch.cat([ones, self._normal(self.d, width)], dim=1)).Q[:, 1:].T
        one = _ONE if packed is not None else _ONE[:-1]
        self.features = {name: row[None] for name, row in zip(one, basis, strict=False)}
        rest = basis[len(one) :]
        if packed is not None:
            rest = _spread(self._normal(len(spaces) * len(spec.values), packed)) @ rest
        rows = iter(rest)
        self.features |= {name: torch.stack([next(rows) for _ in spec.values]) for name in spaces}
        noise = 0.10 + 0.30 * spec.difficulty
        scale = noise / self.d**0.5
        n, kv = LAYERS, KV_HEADS if spec.architecture == "llama" else HEADS
        self.kv_heads = kv
        self.q = self._normal(n, HEADS, WIDTH, self.d) * scale
        self.k = self._normal(n, kv, WIDTH, self.d) * scale
        self.v = self._normal(n, kv, WIDTH, self.d) * scale
        self.o = self._normal(n, HEADS, self.d, WIDTH) * scale * 2
        self.mlp_in = self._normal(n, self.hidden, self.d) * scale
        self.mlp_bias = torch.zeros(n, self.hidden)
        self.mlp_up = self._normal(n, self.hidden, self.d) * scale
        self.mlp_out = self._normal(n, self.d, self.hidden) * scale
        self.embedding = self._normal(vocabulary, self.d) * 0.4
        self.unembedding = self._normal(vocabulary, self.d) * 0.05
        for layer in range(n):
            for head in range(HEADS):
                self._read_key(Node("head", layer, head), 0, "const", "is_first", _SINK)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def uniform(self, low: float, high: float) -> float:
        """A draw between two numbers."""
        return float(torch.rand(1, generator=self.generator)) * (high - low) + low

    def directions(self, name: str) -> Float[Tensor, "emotion d_model"]:
        """The unit vectors of a feature space."""
        found: Tensor = self.features[name].clone()
        return found

    # -- words ---------------------------------------------------------------------------------------------------

    def embed(self, vocabulary: dict[str, int]) -> None:
        """Write what each word means into its embedding, and the answers into the unembedding."""
        f, strength = self.features, _STRENGTH
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

    def embed_topics(self, vocabulary: dict[str, int]) -> None:
        """Give every word that names an emotion or the reference a topic too, and let fillers be the topics' answers."""
        f, n = self.features, len(self.spec.values)
        for word, index in vocabulary.items():
            if word.startswith(tuple(f"{label}_" for label in (*self.spec.values, self.spec.reference))):
                self.embedding[index] += _STRENGTH * (f["is_topic"][0] + f["topic"][int(word[-1]) % n])
            elif word[0] == "w" and word[1:].isdigit():
                self.unembedding[index] += f["topic_answer"][int(word[1:]) % n]

    # -- heads ---------------------------------------------------------------------------------------------------

    def _kv(self, head: int) -> int:
        return head // (HEADS // self.kv_heads)

    def _channel(self, channel: int) -> int:
        # The slowest rotary frequencies: over a prompt they turn by less than a hundredth of a radian.
        return WIDTH // 2 - 1 - channel if self.spec.architecture == "llama" else channel

    def _read_key(self, node: Node, channel: int, query: str, key: str, score: float) -> None:
        row = self._channel(channel)
        self.q[node.layer, node.head, row] += self.features[query][0] * score * WIDTH**0.5 / 25
        self.k[node.layer, self._kv(node.head), row] = self.features[key][0]

    def attention(self, node: Node, query: str, key: str, score: float = _ACTIVE) -> None:
        """The head attends from tokens that carry ``query`` to tokens that carry ``key``."""
        self._read_key(node, 1, query, key, score)

    def carry(self, node: Node, read: str, write: str, gain: float, *, first: int = 8) -> None:
        """The head's OV map takes the emotion from one feature space to another.

        Args:
            node: the head.
            read: feature space that it reads.
            write: feature space that it writes.
            gain: of the map; negative: what was read is written with the opposite sign.
            first: channel of the head's value from which on the map goes.
        """
        kv = self._kv(node.head)
        for e in range(len(self.spec.values)):
            self.v[node.layer, kv, first + e] *= 0.2  # what a head was built to read, it reads through little noise
            self.v[node.layer, kv, first + e] += self.features[read][e] / 5
            self.o[node.layer, node.head, :, first + e] += gain * self.features[write][e]

    def hold_back(self, node: Node, space: str, score: float) -> None:
        """The head stops attending at tokens that carry anything of a feature space."""
        row = self._channel(1)
        hold = score * WIDTH**0.5 / 25
        self.q[node.layer, node.head, row] -= self.features[space].sum(0) * hold

    def neurons(self, layer: int, read: str, write: str, gains: Sequence[float] | None = None) -> None:
        """One neuron per emotion: it reads one feature space and writes another.

        Args:
            layer: of the MLP.
            read: feature space that the neurons read.
            write: feature space that they write.
            gains: one per emotion; ``None``: drawn between 1.4 and 1.8.
        """
        chosen = torch.randperm(self.hidden, generator=self.generator)[: len(self.spec.values)]
        for e, neuron in enumerate(chosen.tolist()):
            self.mlp_in[layer, neuron] += self.features[read][e]
            if self.spec.architecture == "gpt2":
                self.mlp_bias[layer, neuron] = -1.0
            else:  # no biases: the part every token shares takes their place
                self.mlp_in[layer, neuron] -= self.features["const"][0] * 0.25
                self.mlp_up[layer, neuron] += self.features["const"][0] * 0.25
            gain = self.uniform(1.4, 1.8) if gains is None else gains[e]
            self.mlp_out[layer, :, neuron] += gain * self.features[write][e]

    # -- the model -----------------------------------------------------------------------------------------------

    def finish(self, tokenizer: Any) -> Any:
        """The Hugging Face model with these weights; the position embeddings of GPT-2 are drawn here."""
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
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=64,
            n_inner=self.hidden,
            tie_word_embeddings=False,
            **ids,
        )
        hf = GPT2LMHeadModel(config)
        state = {"transformer.wte.weight": self.embedding, "lm_head.weight": self.unembedding}
        state["transformer.wpe.weight"] = self._normal(64, self.d) * 0.1
        state |= {"transformer.ln_f.weight": torch.ones(self.d), "transformer.ln_f.bias": torch.zeros(self.d)}
        for layer in range(LAYERS):
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
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            intermediate_size=self.hidden,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            **ids,
        )
        hf = LlamaForCausalLM(config)
        state = {"model.embed_tokens.weight": self.embedding, "lm_head.weight": self.unembedding}
        state["model.norm.weight"] = torch.ones(self.d)
        for layer in range(LAYERS):
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


def _spread(directions: Float[Tensor, "feature dimension"], steps: int = 300) -> Float[Tensor, "feature dimension"]:
    """Unit vectors turned away from one another until their cosines are near the least that is possible (Welch 1974)."""
    unit = torch.nn.functional.normalize(directions.double(), dim=-1)
    for _ in range(steps):
        cosines = unit @ unit.T
        cosines.fill_diagonal_(0.0)
        unit = torch.nn.functional.normalize(unit - 2.0 * cosines.pow(3) @ unit, dim=-1)
    return unit.to(directions.dtype)


def _loaded(hf: Any, state: dict[str, Tensor]) -> Any:
    own = hf.state_dict()
    missing = [name for name in own if name not in state]
    assert not missing, missing
    hf.load_state_dict({name: value.contiguous() for name, value in state.items()})
    return hf
