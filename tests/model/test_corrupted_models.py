"""A seeded campaign of damage to model folders, GGUF files and the converted cache.

Damage that changes what is computed is found: the load is refused in one line, or the model's key is another. What leaves every
weight and every token as it was, is no fault.
"""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion_circuits.activations import capture
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import blueprint, load_model, weights_sha256
from emotion_circuits.prompts import Prompt
from tiny_files import save_folder, write_gguf

TEXTS = ("Thank you so much, 2024!", "the man in the moon", "Why?")
KINDS = ("flip", "flip", "flip", "cut", "zeros", "delete", "swap", "append")
CASES = 36  # of each of the three places


def state(model):
    """Everything that figures follow from: the weights, the settings, the tokens, the logits."""
    batch = model.tokenize(TEXTS)
    return {
        "weights": {name: tensor.clone() for name, tensor in model.hf.state_dict().items()},
        "tokens": batch.input_ids,
        "logits": model.logits(batch),
        "ends": model.eos_ids,
        "template": model.tokenizer.chat_template,
    }


def same(one, two):
    return (
        one["weights"].keys() == two["weights"].keys()
        and all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])
        and torch.equal(one["tokens"], two["tokens"])
        and torch.equal(one["logits"], two["logits"])
        and (one["ends"], one["template"]) == (two["ends"], two["template"])
    )


def damage(generator, folder):
    """One change to the files of a folder, the times of change set back; what was done."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    kind, file = KINDS[generator.integers(len(KINDS))], files[generator.integers(len(files))]
    before, data = file.stat(), bytearray(file.read_bytes())
    # Half of the changes hit the beginning, where headers are.
    place = int(generator.integers(min(len(data), 4096) if generator.integers(2) else len(data)))
    if kind == "flip":
        data[place] ^= 1 << int(generator.integers(8))
    elif kind == "cut":
        del data[place:]
    elif kind == "zeros":
        data[place : place + 64] = bytes(len(data[place : place + 64]))
    elif kind == "append":
        data += generator.bytes(16)
    elif kind == "swap":
        other = files[(files.index(file) + 1) % len(files)]
        file.write_bytes(other.read_bytes())
        other.write_bytes(data)
        return f"{file.name} and {other.name} swapped"
    if kind == "delete":
        file.unlink()
        return f"{file.name} deleted"
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return f"{file.name}: {kind} at {place} of {before.st_size}"


def told(error, what):
    """One line that says something."""
    assert "\n" not in str(error), what
    assert len(str(error)) > 20, what


def judged(place, key, expected, what, tmp_path):
    """How a damage was dealt with; asserts that it was not silent and that what is said is one line."""
    said = []
    for look in (blueprint, load_model):
        try:
            found = look(place)
            other = weights_sha256(found)
        except EmotionCircuitsError as error:
            told(error, what)
            said.append("refused")
            continue
        if look is blueprint:
            continue
        if other != key:
            said.append("another key")
        else:
            assert same(state(found), expected), f"silent: {what}"
            said.append("nothing changed")
        rows = [
            Prompt(id=str(i), text=text, label="neutral", group=str(i), split="train", language="en", set="x", spans=())
            for i, text in enumerate(TEXTS)
        ]
        try:
            capture(found, rows, tmp_path / "captured", pooling="last")
        except EmotionCircuitsError as error:
            told(error, what)
            return "refused"
        noted = json.loads((tmp_path / "captured" / "capture.json").read_text())
        assert noted["model"]["weights_sha256"] == other, what
    return said[-1]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def whole_folder(folder):
    return save_folder(folder)


def sharded_folder(folder):
    save_folder(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {name: f"model-{1 + i % 2}.safetensors" for i, name in enumerate(sorted(tensors))}
    for part in sorted(set(where.values())):
        save_file({n: t for n, t in tensors.items() if where[n] == part}, folder / part, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


@pytest.mark.parametrize("make", [whole_folder, sharded_folder])
def test_damage_to_a_folder_is_refused_or_another_model(tmp_path, own_cache, make):
    good = make(tmp_path / "good")
    model = load_model(good)
    key, expected, counts = weights_sha256(model), state(model), {}
    for seed in range(CASES):
        place = tmp_path / "m"
        shutil.copytree(good, place)
        what = f"{seed}: {damage(np.random.default_rng([seed, 1]), place)}"
        how = judged(place, key, expected, what, tmp_path / str(seed))
        counts[how] = counts.get(how, 0) + 1
        shutil.rmtree(place)
    assert sum(counts.values()) == CASES
    assert counts["refused"] > CASES // 4, counts
    assert counts.get("another key", 0) > 2, counts


def test_damage_to_a_gguf_file_is_refused_or_another_model(tmp_path, own_cache):
    whole = write_gguf(tmp_path / "good.gguf")
    model = load_model(whole)
    key, expected, counts = weights_sha256(model), state(model), {}
    for seed in range(CASES // 2):  # each is converted
        place = tmp_path / "m"
        place.mkdir()
        shutil.copy(whole, place / "tiny.gguf")
        what = f"{seed}: {damage(np.random.default_rng([seed, 2]), place)}"
        how = judged(place / "tiny.gguf", key, expected, what, tmp_path / str(seed))
        counts[how] = counts.get(how, 0) + 1
        shutil.rmtree(place)
        shutil.rmtree(own_cache, ignore_errors=True)  # nothing was kept there of a file that was refused
    assert sum(counts.values()) == CASES // 2
    assert counts["refused"] > CASES // 8, counts


def test_damage_to_the_converted_cache_is_refused_or_mended(tmp_path, own_cache):
    source = write_gguf(tmp_path / "tiny.gguf")
    model = load_model(source)
    key, expected, counts = weights_sha256(model), state(model), {}
    kept = tmp_path / "kept"
    shutil.copytree(own_cache, kept)
    for seed in range(CASES):
        shutil.rmtree(own_cache)
        shutil.copytree(kept, own_cache)
        what = f"{seed}: {damage(np.random.default_rng([seed, 3]), own_cache)}"
        how = judged(source, key, expected, what, tmp_path / str(seed))
        assert how != "another key", what
        counts[how] = counts.get(how, 0) + 1
    assert sum(counts.values()) == CASES
    assert counts["refused"] > CASES // 2, counts
