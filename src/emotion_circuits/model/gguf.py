"""GGUF files: dequantised once into a folder of safetensors with the tokenizer beside it.

The weights go from file to file in blocks of rows: neither the quantised nor the dequantised model is ever in memory.
Which tensor is which, and what an architecture's tensors need beside dequantising (a Llama's rotary order, a Gemma's
norms), is transformers' own knowledge, asked for here tensor by tensor.
"""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.families import family_of
from emotion_circuits.model.files import RECORD
from emotion_circuits.model.foreign import one_line, understood
from emotion_circuits.model.gguf_header import Header, StoredTensor, read_header
from emotion_circuits.model.gguf_settings import carry_over, carry_over_words, check_settings, check_words, ends
from emotion_circuits.model.precision import LARGE
from emotion_circuits.model.sums import remember_sha256
from emotion_circuits.model.writing import write_weights
from emotion_circuits.paths import cache_dir, file_sha256, make_folder, write_json
from emotion_circuits.progress import Bar, progress_bar
from emotion_circuits.temporaries import scratch_folder

__all__ = ["WEIGHTS", "convert_gguf", "converted_gguf", "write_record"]

WEIGHTS = "model.safetensors"
"""Name of the file of weights in a converted folder."""

_RULES = 3
"""Raised when another folder comes out of the same file."""

_BLOCK = 1 << 23  # values dequantised at a time: 32 MiB in float32, and as much again while they are put together
_BY_ROWS = ("token_embd.weight", "output.weight")  # by far the largest; no architecture mixes their rows


def convert_gguf(file: Path, folder: Path, *, dtype: torch.dtype | None = None, title: str = "") -> dict[str, str]:
    """Write ``folder`` (model.safetensors, config, tokenizer) from a GGUF file.

    Memory: some hundred MiB beside the largest tensor of a block, whatever the size of the model.

    Args:
        file: the GGUF file; its quantised tensors are of any type that the ``gguf`` package dequantises.
        folder: made.
        dtype: of the weights on disk; by default bfloat16 where the model has more than 300 million parameters, else
            float32. bfloat16 keeps 8 significant bits: a dequantised weight moves by at most 1 part in 256.
        title: for the progress bar; by default the file's name.

    Returns:
        SHA-256 by file name of the weights, known from writing them.

    Raises:
        EmotionCircuitsError: the file cannot be read as GGUF, its architecture is unknown to transformers or not supported
            here, or tensors are missing.
    """
    with understood(lambda error: f"{file}: cannot be loaded as a GGUF model: {one_line(error)}"):
        header = read_header(file)
        layers = header.said.get(f"{header.architecture}.block_count", 0)
        if not isinstance(layers, int) or layers > len(header.tensors):  # a module would be made for each
            raise ValueError(f"its block_count is {layers}, and it holds {len(header.tensors)} tensors in all")
        with redirect_stderr(io.StringIO()):  # transformers draws bars of its own there
            config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
            carry_over(config, header.said)
            check_settings(config, header.said)
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
            carry_over_words(tokenizer, header.said)
            tokenizer.save_pretrained(folder)
            check_words(AutoTokenizer.from_pretrained(folder), header.said)
            last = ends(tokenizer, header.said)
        family_of(config)  # refused before the long part
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        kept = dtype or (torch.bfloat16 if sum(p.numel() for p in model.parameters()) > LARGE else torch.float32)
        source = _Source(file, header, model)
        values = sum(torch.Size(shape).numel() for shape in source.shapes.values())
        with progress_bar(title or f"converting {file.name} (million weights)", max(round(values / 1e6), 1)) as bar:
            total = write_weights(folder / WEIGHTS, source.shapes, partial(_counted, source, bar), kept)
    config.architectures, config.dtype = [type(model).__name__], kept
    config.save_pretrained(folder)
    if last:
        model.generation_config.eos_token_id = last if len(last) > 1 else last[0]
    model.generation_config.save_pretrained(folder)
    return {WEIGHTS: total}


def _counted(source: _Source, bar: Bar, name: str) -> Iterator[Tensor]:
    for block in source.blocks(name):
        yield block
        bar.advance(block.numel() / 1e6, name)


class _Source:
    """The tensors of a GGUF file under the names and in the layout of the Hugging Face model.

    Attributes:
        shapes: by Hugging Face name.
    """

    def __init__(self, file: Path, header: Header, model: Any) -> None:
        self._file = file
        self._processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)(config=model.config.to_dict())
        names = get_gguf_hf_weights_map(model, self._processor)
        self._stored = {names[tensor.name]: tensor for tensor in header.tensors if tensor.name in names}
        self.shapes = _needed(model, set(self._stored))
        left = [t.name for t in header.tensors if t.name not in names and not self._says_nothing(t)]
        if left:
            raise ValueError(
                f"{len(left)} of its tensors have no place in the model ({', '.join(left[:3])}), which would compute something "
                "else without them"
            )

    def _says_nothing(self, tensor: StoredTensor) -> bool:
        """Factors of the rotary frequencies that are all 1."""
        return tensor.name == "rope_freqs.weight" and bool((tensor.rows(self._file, 0, tensor.shape[0]) == 1).all())

    def blocks(self, name: str) -> Iterator[Tensor]:
        """One tensor in float32, in consecutive blocks of rows."""
        stored, shape = self._stored[name], self.shapes[name]
        rows = stored.shape[0]
        step = max(_BLOCK // math.prod(shape[1:]), 1) if stored.name in _BY_ROWS else rows
        for start in range(0, rows, step):
            values = self._processed(stored.rows(self._file, start, min(start + step, rows)), stored.name)
            if values.shape[1:] != shape[1:]:
                raise ValueError(f"{stored.name} is of shape {values.shape}, {name} of {shape}")
            yield torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))

    def _processed(self, values: np.ndarray, name: str) -> np.ndarray:
        """What the architecture does to a tensor beside dequantising; some put it aside instead of handing it back."""
        aside: dict[str, dict[str, Tensor]] = {"tensors": {}}
        done = self._processor.process(weights=values, name=name, tensor_key_mapping={}, parsed_parameters=aside)
        found: np.ndarray = next(iter(aside["tensors"].values())).numpy() if done.name is None else done.weights
        return found


def _needed(model: Any, found: set[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that are to be written."""
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    tied = set(model.all_tied_weights_keys) if model.config.tie_word_embeddings else set()
    missing = sorted(set(shapes) - found - tied)
    if missing:
        raise ValueError(f"{len(missing)} tensors are missing, among them {', '.join(missing[:3])}")
    return {name: shape for name, shape in shapes.items() if name in found}


def converted_gguf(file: Path) -> Path:
    """The converted folder of a user's GGUF file, made on first use and found again by the file's SHA-256.

    What was written into it is noted there, so that damage to it is told from damage to the file
    (:func:`emotion_circuits.model.files.check_recorded`).
    """
    if not file.is_file():
        raise EmotionCircuitsError(f"{file}: no such GGUF file")
    total = file_sha256(file)
    folder = cache_dir() / "models" / "gguf" / f"{total[:32]}-{_RULES}"
    make_folder(folder.parent)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / RECORD).exists():
            with scratch_folder(folder.parent, "gguf") as scratch:
                ready = scratch / "ready"
                sums = convert_gguf(file, ready)
                write_record(ready, sums, name=file.name, gguf_sha256=total)
                if folder.exists():
                    shutil.rmtree(folder)
                ready.rename(folder)
                remember_sha256(folder / WEIGHTS, sums[WEIGHTS])
    return folder


def write_record(folder: Path, sums: Mapping[str, str], **about: Any) -> None:
    """Note in a folder what was written there.

    Args:
        folder: finished but for this.
        sums: SHA-256 by name of files, where it is known; the others are read.
        about: what else to note, in JSON.
    """
    files = {p.name: sums.get(p.name) or file_sha256(p) for p in sorted(folder.iterdir()) if p.is_file()}
    write_json(folder / RECORD, {**about, "files": files})
