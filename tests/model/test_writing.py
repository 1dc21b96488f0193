"""Weights written block by block are the file that safetensors itself writes."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.writing import write_weights

TENSORS = {
    "model.norm.weight": torch.randn(7),
    "model.layers.10.w": torch.randn(5, 3),
    "model.layers.2.w": torch.randn(4, 2, 3),
    "a": torch.randn(1),
}


def shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_the_bytes_are_those_of_safetensors(tmp_path, dtype, rows):
    total = write_weights(tmp_path / "ours", shapes(), lambda name: TENSORS[name].split(rows), dtype)
    save_file({k: v.to(dtype) for k, v in TENSORS.items()}, tmp_path / "theirs", metadata={"format": "pt"})
    ours = (tmp_path / "ours").read_bytes()
    assert ours == (tmp_path / "theirs").read_bytes()
    assert total == hashlib.sha256(ours).hexdigest()
    read = load_file(tmp_path / "ours")
    assert all(torch.equal(read[name], tensor.to(dtype)) for name, tensor in TENSORS.items())


def test_blocks_that_do_not_fill_a_tensor_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"tensor a came with 0 bytes, and its shape \(1,\) needs 4"):
        write_weights(tmp_path / "f", shapes(), lambda name: [] if name == "a" else [TENSORS[name]], torch.float32)


def test_a_full_disk_is_said_as_such(tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(EmotionCircuitsError, match="cannot be written: No space left on device"):
        write_weights(tmp_path / "full", {"w": (4096, 64)}, lambda _: [torch.zeros(4096, 64)], torch.float32)
    with pytest.raises(EmotionCircuitsError, match="cannot be written: No space left on device"):
        write_weights(tmp_path / "full", {"w": (1,)}, lambda _: [torch.zeros(1)], torch.float32)  # still in the buffer
