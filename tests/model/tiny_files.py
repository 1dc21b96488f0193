"""Files the loading tests need: a saved folder, a tiny GGUF, a wheel."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np

from families import tiny_hf, tiny_tokenizer


def save_folder(folder: Path, name: str = "llama", **changes) -> Path:
    """What ``save_pretrained`` writes: safetensors, config, tokenizer."""
    tiny_hf(name, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_gguf(file: Path, seed: int = 0, architecture: str = "llama") -> Path:
    """A two-layer Llama with random float32 weights and a byte-level tokenizer of 256 + 4 tokens."""
    generator = np.random.default_rng(seed)
    byte_tokens = [chr(b) if 33 <= b <= 126 else chr(256 + b) for b in range(256)]
    tokens = ["<|endoftext|>", *byte_tokens, "th", "the", "an"]
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
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["t h", "th e", "a n"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def tensor(name: str, *shape: int) -> None:
        scale = 1.0 if len(shape) == 1 else 0.0
        values = generator.normal(0, 0.15, shape) + scale
        writer.add_tensor(name, values.astype(np.float32))

    tensor("token_embd.weight", len(tokens), 32)
    tensor("output.weight", len(tokens), 32)
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
