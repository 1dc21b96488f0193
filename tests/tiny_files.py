"""Files the loading tests need: a saved folder, a tiny GGUF, a wheel."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig, Qwen2Config
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from families import tiny_hf, tiny_tokenizer


def save_folder(folder: Path, name: str = "llama", **changes) -> Path:
    """What ``save_pretrained`` writes: safetensors, config, tokenizer."""
    tiny_hf(name, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_gguf(file: Path, seed: int = 0, architecture: str = "llama", more=None, tensors=None, pre="smollm") -> Path:
    """A two-layer Llama with random float32 weights and a byte-level tokenizer of 256 + 4 tokens.

    ``more`` is called with the writer, to add settings; ``tensors`` are further ones.
    """
    generator = np.random.default_rng(seed)
    tokens = 260
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(tokens)
    add_byte_tokenizer(writer, tokens, pre)
    if more is not None:
        more(writer)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values)

    def tensor(name: str, *shape: int) -> None:
        scale = 1.0 if len(shape) == 1 else 0.0
        values = generator.normal(0, 0.15, shape) + scale
        writer.add_tensor(name, values.astype(np.float32))

    tensor("token_embd.weight", tokens, 32)
    tensor("output.weight", tokens, 32)
    tensor("output_norm.weight", 32)
    for layer in range(2):
        tensor(f"blk.{layer}.attn_norm.weight", 32)
        tensor(f"blk.{layer}.ffn_norm.weight", 32)
        tensor(f"blk.{layer}.attn_q.weight", 32, 32)
        tensor(f"blk.{layer}.attn_k.weight", 16, 32)
        tensor(f"blk.{layer}.attn_v.weight", 16, 32)
        tensor(f"blk.{layer}.attn_output.weight", 32, 32)
        tensor(f"blk.{layer}.ffn_gate.weight", 48, 32)
        tensor(f"blk.{layer}.ffn_up.weight", 48, 32)
        tensor(f"blk.{layer}.ffn_down.weight", 32, 48)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


ARCHITECTURES = {"llama": LlamaConfig, "qwen2": Qwen2Config, "gemma3": Gemma3TextConfig, "gpt2": GPT2Config}
"""GGUF architecture → configuration: rotary rows permuted, biases, norms stored with one added, weights transposed."""


def tiny_config(architecture: str):
    """A configuration whose rows are as long as the blocks of K-quants, 256 values."""
    if architecture == "gpt2":
        return GPT2Config(n_layer=2, n_embd=256, n_head=4, n_positions=1024, n_inner=1024, vocab_size=260)
    sizes = {"num_hidden_layers": 2, "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"intermediate_size": 512, "max_position_embeddings": 64, "vocab_size": 260, "head_dim": 64}
    return ARCHITECTURES[architecture](**sizes, tie_word_embeddings=architecture == "gemma3")


def write_quantised_gguf(file: Path, architecture: str, kinds: list[str], seed: int = 0) -> Path:
    """A two-layer model whose matrices are stored in the given kinds by turns, its vectors in float32."""
    generator = np.random.default_rng(seed)
    config = tiny_config(architecture)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    names = get_gguf_hf_weights_map(
        model, TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=config.to_dict())
    )
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}  # of tied tensors only the first
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_name("tiny")
    writer.add_context_length(1024 if architecture == "gpt2" else 64)
    writer.add_embedding_length(256)
    writer.add_block_count(2)
    writer.add_feed_forward_length(1024 if architecture == "gpt2" else 512)
    writer.add_head_count(4)
    writer.add_head_count_kv(4 if architecture == "gpt2" else 2)
    writer.add_key_length(64)
    writer.add_value_length(64)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10_000.0)
        writer.add_rope_dimension_count(64)
    if architecture == "gemma3":
        writer.add_sliding_window(16)
    writer.add_vocab_size(260)
    add_byte_tokenizer(writer, 260)
    for index, (stored, name) in enumerate(sorted((g, h) for g, h in names.items() if h in shapes)):
        shape = shapes[name]
        if architecture == "gpt2" and len(shape) == 2 and ".h." in name:
            shape = shape[::-1]
        kind = gguf.GGMLQuantizationType[kinds[index % len(kinds)] if len(shape) == 2 else "F32"]
        writer.add_tensor(stored, random_values(generator, shape, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


_SCALES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
"""Where the float16 factors stand in a block of a kind that the gguf package reads and cannot write."""


def random_values(generator: np.random.Generator, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType):
    """What a tensor of this kind holds: quantised random values, or random blocks of codes with small factors."""
    if kind.name not in _SCALES:
        values = generator.normal(float(len(shape) == 1), 0.15, shape).astype(np.float32)
        return gguf.quantize(values, kind)
    size, width = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (shape[0], shape[1] // size, width), dtype=np.uint8)
    for place in _SCALES[kind.name]:
        factors = generator.uniform(1e-4, 1e-3, blocks.shape[:2]).astype(np.float16)
        blocks[..., place : place + 2] = factors[..., None].view(np.uint8)
    return blocks.reshape(shape[0], -1)


def add_byte_tokenizer(writer: gguf.GGUFWriter, count: int, pre: str | None = "smollm") -> None:
    """A byte-level tokenizer of ``count`` tokens, at least 260."""
    byte_tokens = [chr(b) if 33 <= b <= 126 else chr(256 + b) for b in range(256)]
    tokens = ["<|endoftext|>", *byte_tokens, "th", "the", "an"][:count]
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["t h", "th e", "a n"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)


def write_wheel(folder: Path, package: str, version: str, files: dict[str, bytes]) -> Path:
    """A wheel as pip accepts it."""
    stem = f"{package.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in members.items()
    ]
    members[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return wheel
