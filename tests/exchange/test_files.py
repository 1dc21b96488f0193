"""Every kind of file reads back as it was written, carries its card, and a damaged or foreign one is told in one line."""

import json
import logging
import math
import random
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange import KINDS, PortableVector, as_written, portable, read_vector, write_vector
from emotion_circuits.exchange.control_gguf import write_control_gguf
from emotion_circuits.model import Ablate, Add, Gate, Positions, Site, intervene
from emotion_circuits.steering import interventions_for
from exchange_cases import OPENINGS, condition_of, rows_equal, vector_of, vectors_of, without_card
from families import tiny_model
from fuzz_cases import damaged
from model_cases import model_of


@pytest.fixture(scope="module")
def model():
    return model_of("llama")


@pytest.fixture(scope="module")
def vector(model):
    return vector_of(model)


def told_of(place):
    """What is said of a file; nothing where it reads well. Anything but the program's own error is let through."""
    try:
        read_vector(place)
    except EmotionCircuitsError as error:
        return str(error)
    return ""


def place_of(folder, kind):
    return folder / f"v{KINDS[kind].suffix}"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_reads_back_as_it_was_written(kind, vector, tmp_path):
    written = write_vector(vector, kind, place_of(tmp_path, kind))
    read = read_vector(place_of(tmp_path, kind))
    assert rows_equal(read, written)
    assert read.card == written.card
    assert read.spares_first == written.spares_first == KINDS[kind].whole
    assert (not read.first) == (not KINDS[kind].whole)
    pages = [p.read_text() for p in tmp_path.rglob("*.md")]
    assert len(pages) == 1
    assert vector.card.model.weights_sha256 in pages[0]
    assert "+0.400 | 0.300 to 0.500 | 0.100 | 36" in pages[0]
    assert all(f"- {one}" in pages[0] for one in written.card.cannot)
    first_lost = [one for one in written.card.cannot if "strength of 3 residual norms at the first token" in one]
    assert bool(first_lost) != KINDS[kind].whole


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_vector_is_the_same_bytes(kind, vector, tmp_path):
    found = []
    for name in "ab":
        (tmp_path / name).mkdir()
        write_vector(vector, kind, place_of(tmp_path / name, kind))
        found.append(
            {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        )
    assert found[0] == found[1]


def test_what_is_exported_is_what_the_run_does(model, vector):
    batch = model.tokenize(OPENINGS)
    with intervene(model, interventions_for([condition_of()] * 3, vectors_of(model))):
        steered = model.logits(batch)
    with intervene(model, vector.interventions()):
        exported = model.logits(batch)
    torch.testing.assert_close(exported, steered, rtol=1e-5, atol=1e-5)
    with intervene(model, vector.everywhere().interventions()):
        everywhere = model.logits(batch)
    with intervene(model, interventions_for([condition_of(positions="all", first=0.0)] * 3, vectors_of(model))):
        torch.testing.assert_close(everywhere, model.logits(batch), rtol=1e-5, atol=1e-5)
    assert float((everywhere - steered).abs().max()) > 0.01, "the push at the first token is not nothing"
    with intervene(model, vector.interventions(0.0)):
        torch.testing.assert_close(model.logits(batch), model.logits(batch))


def test_a_mixture_and_one_layer_add_up(model):
    vectors = vectors_of(model)
    mixed = condition_of(mixture=(("anger", 0.75), ("anger", 0.5)), first=0.0, positions="all", layers=(2,))
    found = portable(interventions_for([mixed], vectors))
    assert found.layers == (2,)
    assert not found.spares_first
    torch.testing.assert_close(found.rows[2], vectors.direction("anger", 2) * 1.25 * 0.5 * 2.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operation": "ablate", "first": 0.0}, "ablate"),
        ({"operation": "clamp", "first": 0.0}, "clamp"),
        ({"gate": "anger"}, "gate"),
        ({"when": "prompt"}, "'when'"),
        ({"positions": "last", "first": 0.0}, "'positions'"),
    ],
)
def test_what_no_file_carries_is_refused(model, changes, said):
    with pytest.raises(EmotionCircuitsError, match=said):
        portable(interventions_for([condition_of(**changes)], vectors_of(model)))


def test_other_sites_are_refused():
    with pytest.raises(EmotionCircuitsError, match="places"):
        portable([Add(site=Site("mlp_out", 1), vector=torch.ones(4))])
    with pytest.raises(EmotionCircuitsError, match="ablate"):
        portable([Ablate(site=Site("resid_post", 1), mode="zero")])
    with pytest.raises(EmotionCircuitsError, match="others not"):
        portable(
            [
                Add(site=Site("resid_post", 1), vector=torch.ones(4)),
                Add(site=Site("resid_post", 1), vector=torch.ones(4), positions=Positions.at(0)),
            ]
        )
    gated = Add(site=Site("resid_post", 1), vector=torch.ones(4), gate=Gate(direction=torch.ones(4), threshold=0.0))
    with pytest.raises(EmotionCircuitsError, match="gate"):
        portable([gated])


@pytest.mark.parametrize("kind", ["llama.cpp", "repeng", "steering-vectors"])
def test_the_first_token_alone_travels_in_three_kinds_only(kind, model, tmp_path):
    alone = vector_of(model, alpha=0.0)
    assert not alone.rows
    with pytest.raises(EmotionCircuitsError, match="safetensors, hub and easysteer"):
        write_vector(alone, kind, place_of(tmp_path, kind))
    for other in ("safetensors", "hub", "easysteer"):
        (tmp_path / other).mkdir()
        write_vector(alone, other, place_of(tmp_path / other, other))
        read = read_vector(place_of(tmp_path / other, other))
        assert rows_equal(read, alone)
        assert read.spares_first


def test_llama_cpp_has_no_layer_0_and_not_every_architecture(model, tmp_path):
    with pytest.raises(EmotionCircuitsError, match="layer 0"):
        write_vector(vector_of(model, layers=(0, 1)), "llama.cpp", tmp_path / "a.gguf")
    write_vector(vector_of(model, layers=(0, 1)), "repeng", tmp_path / "a.gguf")
    assert read_vector(tmp_path / "a.gguf").layers == (0, 1)
    for name in ("opt", "gptj", "gpt_neo"):
        with pytest.raises(EmotionCircuitsError, match=f"does not run the architecture '{name}'"):
            write_vector(vector_of(model_of(name)), "llama.cpp", tmp_path / "b.gguf")
    with pytest.raises(EmotionCircuitsError, match="does not say of what architecture"):
        write_vector(without_card(vector_of(model)), "llama.cpp", tmp_path / "b.gguf")
    assert not (tmp_path / "b.gguf").exists()


@pytest.mark.parametrize(("name", "hint"), [("gemma3", "gemma3"), ("mistral", "llama"), ("gpt_neox", "gptneox")])
def test_the_hint_is_the_reading_programs_own_name(name, hint, tmp_path):
    vector = vector_of(model_of(name))
    write_vector(vector, "llama.cpp", tmp_path / "a.gguf")
    write_vector(vector, "repeng", tmp_path / "b.gguf")
    read = [read_vector(tmp_path / f"{n}.gguf") for n in "ab"]
    assert [v.hint for v in read] == [hint, model_of(name).config.model_type]
    for one in read:
        one.check_fits(model_of(name))
        without_card(one).check_fits(model_of(name))


def test_a_vector_of_another_model_is_refused_by_hash_or_used_knowingly(model, vector, caplog):
    vector.check_fits(model)
    other = tiny_model("llama", seed=9)
    other.name = "tiny-other"
    with pytest.raises(
        EmotionCircuitsError, match=r"made of tiny-llama \(weights \w{12}\), not of tiny-other .*--other-model"
    ):
        vector.check_fits(other)
    with caplog.at_level(logging.WARNING):
        vector.check_fits(other, other_model=True)
    assert "transfer from one model to another" in caplog.text
    with pytest.raises(EmotionCircuitsError, match="width 32"):
        vector.check_fits(tiny_model("llama", hidden_size=40, head_dim=8), other_model=True)
    with pytest.raises(EmotionCircuitsError, match="layers 0 to 1"):
        vector.check_fits(tiny_model("llama", num_hidden_layers=2), other_model=True)


def test_a_file_without_a_hash_says_so_and_another_architecture_is_refused(model, vector, caplog):
    bare = replace(without_card(vector), hint="gemma2")
    with pytest.raises(EmotionCircuitsError, match="'gemma2', tiny-llama is of kind 'llama'"):
        bare.check_fits(model)
    bare.check_fits(model, other_model=True)
    with caplog.at_level(logging.WARNING):
        replace(bare, hint="llama").check_fits(model)
    assert "does not tell the weights" in caplog.text


# -- files of other programs ------------------------------------------------------------------------------------------


def controls(file, tensors, architecture="controlvector", hint="llama", kind=None):
    """As repeng and llama.cpp's own generator write them."""
    writer = gguf.GGUFWriter(str(file), architecture)
    if hint is not None:
        writer.add_string(f"{architecture}.model_hint", hint)
    writer.add_uint32(f"{architecture}.layer_count", len(tensors))
    for name, values in tensors.items():
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


ROW = np.arange(4, dtype=np.float32)


def test_control_vectors_of_others(tmp_path):
    rows = {f"direction.{n}": ROW + n for n in (1, 2, 30)}
    read = read_vector(controls(tmp_path / "a.gguf", rows))
    assert read.card is None
    assert read.hint == "llama"
    assert {layer: row.tolist() for layer, row in read.rows.items()} == {n: (ROW + n).tolist() for n in (1, 2, 30)}
    assert read_vector(controls(tmp_path / "b.gguf", rows, hint=None)).hint == ""
    half = read_vector(controls(tmp_path / "c.gguf", {"direction.3": ROW.astype(np.float16)}))
    assert half.rows[3].tolist() == ROW.tolist()


def test_tensors_of_others(tmp_path):
    save_file({"layer.3": torch.ones(4), "layer.5": torch.full((4,), 2.0)}, tmp_path / "a.safetensors")
    read = read_vector(tmp_path / "a.safetensors")
    assert read.layers == (3, 5)
    assert not read.spares_first
    save_file({"layer.3": torch.ones(4, dtype=torch.bfloat16)}, tmp_path / "b.safetensors")
    assert read_vector(tmp_path / "b.safetensors").rows[3].dtype == torch.float32


def test_steering_vectors_needs_three_lines(vector, tmp_path):
    """The lines of docs/howto/export.md, without the package."""
    write_vector(vector, "steering-vectors", tmp_path / "a.safetensors")
    rows = {int(name.split(".")[1]): row for name, row in load_file(tmp_path / "a.safetensors").items()}
    assert {layer: row.tolist() for layer, row in rows.items()} == {
        layer: row.tolist() for layer, row in vector.rows.items()
    }


BAD_GGUF = {
    "a model": (dict(tensors={"direction.1": ROW}, architecture="llama"), "its architecture is 'llama'"),
    "another tensor": (dict(tensors={"blk.0.attn_q.weight": ROW}), "holds a tensor 'blk.0.attn_q.weight'"),
    "a layer that is none": (dict(tensors={"direction.-1": ROW}), "holds a tensor 'direction.-1'"),
    "a leading 0": (dict(tensors={"direction.01": ROW}), "holds a tensor 'direction.01'"),
    "two axes": (dict(tensors={"direction.1": ROW[None].repeat(2, 0)}), "2 axes"),
    "whole numbers": (dict(tensors={"direction.1": ROW.astype(np.int32)}), "kind I32"),
    "two widths": (dict(tensors={"direction.1": ROW, "direction.2": ROW[:3]}), "not one width"),
    "zeros": (dict(tensors={"direction.1": ROW * 0}), "all of its numbers are 0, so it would change nothing"),
    "infinity": (dict(tensors={"direction.1": ROW + np.float32(math.inf)}), "layer 1 holds NaN or infinity"),
    "nothing": (dict(tensors={}), "no vector of any layer"),
}


@pytest.mark.parametrize("case", BAD_GGUF)
def test_bad_control_vectors(case, tmp_path):
    fields, said = BAD_GGUF[case]
    file = controls(tmp_path / "a.gguf", **fields)
    with pytest.raises(EmotionCircuitsError, match=said) as told:
        read_vector(file)
    assert str(told.value).startswith(f"{file}: ")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["llama.cpp", "safetensors", "easysteer", "hub"])
def test_cut_and_flipped_files_are_one_line_or_read_well(kind, vector, tmp_path):
    write_vector(vector, kind, place_of(tmp_path, kind))
    files = [f for f in tmp_path.rglob("*") if f.is_file() and f.suffix != ".md"]
    for file in files:
        whole = file.read_bytes()
        cuts = [whole[:n] for n in (0, 3, 11, 40, len(whole) // 2, len(whole) - 1)]
        flips = [whole[:n] + bytes([whole[n] ^ 0xFF]) + whole[n + 1 :] for n in range(0, min(len(whole), 900), 41)]
        for content in (*cuts, *flips):
            file.write_bytes(content)
            assert "\n" not in told_of(place_of(tmp_path, kind))
        file.write_bytes(whole)


@pytest.mark.parametrize("kind", ["llama.cpp", "safetensors", "easysteer"])
def test_a_thousand_damaged_files_are_one_line_or_read_well(kind, vector, tmp_path):
    write_vector(vector, kind, place_of(tmp_path, kind))
    file = tmp_path / "v" / "steering.json" if kind == "easysteer" else place_of(tmp_path, kind)
    whole = file.read_bytes()
    # Of a file of numbers almost all is numbers: what stands before them is what can be damaged in a way that matters.
    head, tail = whole[:2600], whole[2600:]
    for number in range(350):
        file.write_bytes(damaged(head, random.Random(f"{kind} {number}")) + tail)
        assert "\n" not in told_of(place_of(tmp_path, kind))


def test_huge_counts_in_a_header_ask_for_no_memory(tmp_path):
    file = controls(tmp_path / "a.gguf", {"direction.1": ROW})
    data = bytearray(file.read_bytes())
    place = data.index(b"direction.1") + len("direction.1") + 4
    data[place : place + 8] = (2**40).to_bytes(8, "little")
    file.write_bytes(data)
    with pytest.raises(EmotionCircuitsError, match=r"ends within tensor direction\.1"):
        read_vector(file)


BAD_TENSORS = {
    "a model's": ({"model.embed_tokens.weight": torch.ones(2, 2)}, None, "is no steering vector"),
    "two axes": ({"layer.1": torch.ones(2, 2)}, None, r"shape \[2, 2\]"),
    "whole numbers": ({"layer.1": torch.ones(2, dtype=torch.int64)}, None, "int64"),
    "no JSON": ({"layer.1": torch.ones(2)}, "{", "is not JSON"),
    "no object": ({"layer.1": torch.ones(2)}, "3", "not those of a steering vector"),
    "no card": ({"layer.1": torch.ones(2)}, '{"card": {"format": 1}}', "its card cannot be read"),
    "a later card": ({"layer.1": torch.ones(2)}, '{"card": {"format": 9, "made_by": "x 9"}}', r"format 9.*x 9"),
    "half a truth": ({"layer.1": torch.ones(2)}, '{"spares_first": "yes"}', "neither true nor false"),
    "first without sparing": ({"first.1": torch.ones(2)}, '{"spares_first": false}', "need spares_first"),
    "nothing": ({}, None, "no vector of any layer"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_bad_tensor_files(case, tmp_path):
    tensors, said, message = BAD_TENSORS[case]
    save_file(tensors, tmp_path / "a.safetensors", metadata=None if said is None else {"emotion_circuits": said})
    with pytest.raises(EmotionCircuitsError, match=message) as told:
        read_vector(tmp_path / "a.safetensors")
    assert "a.safetensors" in str(told.value)


def test_a_card_of_another_model_than_the_vectors_is_refused(vector, tmp_path):
    file = tmp_path / "a.safetensors"
    write_vector(vector, "safetensors", file)
    said = {"spares_first": True, "card": vector.card.model_dump(mode="json")}
    save_file({"layer.7": torch.ones(32)}, file, metadata={"emotion_circuits": json.dumps(said)})
    with pytest.raises(EmotionCircuitsError, match="layer 7, and its card tells of a model of width 32 with 3 layers"):
        read_vector(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.update(vectors=[]), "vectors"),
        (lambda s: s["vectors"][0].update(source="../rest.gguf"), "not the name of a file in this folder"),
        (lambda s: s["vectors"][0].update(source="/etc/passwd"), "not the name of a file in this folder"),
        (lambda s: s["vectors"][0].update(source="gone.gguf"), "gone.gguf"),
        (lambda s: s["vectors"][0].update(algorithm="erase"), "algorithm"),
        (lambda s: s["vectors"][0].update(normalize=True), "normalize"),
        (lambda s: s["vectors"][0].update(apply={"generation": "all"}), "apply"),
        (lambda s: s["vectors"][0].update(apply=["all"]), "apply"),
        (lambda s: s["vectors"][0].update(scale="big"), "scale"),
        (lambda s: s["vectors"][0].update(scale=True), "scale"),
        (lambda s: s["vectors"][0].update(layers="1"), "layers"),
        (lambda s: s["vectors"].append(s["vectors"][0]), "a second vector for the same tokens"),
        (lambda s: s["vectors"][0].update(apply={"prompt": "all", "generation": "all"}), "exclude position 0"),
    ],
)
def test_bad_easysteer_folders(change, said, vector, tmp_path):
    write_vector(vector, "easysteer", tmp_path / "v")
    file = tmp_path / "v" / "steering.json"
    spec = json.loads(file.read_text())
    change(spec)
    file.write_text(json.dumps(spec))
    with pytest.raises(EmotionCircuitsError, match=said):
        read_vector(tmp_path / "v")


def test_easysteer_scales_and_layers_are_taken_as_they_are_said(vector, tmp_path):
    write_vector(vector, "easysteer", tmp_path / "v")
    file = tmp_path / "v" / "steering.json"
    spec = json.loads(file.read_text())
    assert [one["apply"] for one in spec["vectors"]] == [
        {"prompt": "all", "generation": "all", "exclude_prompt_positions": [0]},
        {"prompt_positions": [0]},
    ]
    spec["vectors"][0] |= {"scale": -2, "layers": [2]}
    file.write_text(json.dumps(spec))
    read = read_vector(tmp_path / "v")
    assert list(read.rows) == [2]
    torch.testing.assert_close(read.rows[2], vector.rows[2] * -2)
    torch.testing.assert_close(read.first[1], vector.first[1])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.pt", "unpickling can run code"), ("a.pkl", "unpickling"), ("none.gguf", "no such file"),
        ("none.safetensors", "no such file"), ("./none", "no such file or folder"), (".", "holds neither"), ("a.txt", "ends in"),
    ],
)  # fmt: skip
def test_what_is_no_vector_is_one_line(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(b"x")
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(EmotionCircuitsError, match=said):
        read_vector(name)


def test_places_that_do_not_fit_the_kind(vector, tmp_path):
    (tmp_path / "file").write_text("")
    for kind, place, said in (
        ("llama.cpp", "v.bin", "ends in .gguf"), ("safetensors", "v.gguf", "ends in .safetensors"),
        ("repeng", ".", "is a folder"), ("hub", "file", "name a folder"), ("onnx", "v", "there are: llama.cpp"),
    ):  # fmt: skip
        with pytest.raises(EmotionCircuitsError, match=said):
            write_vector(vector, kind, tmp_path / place)


def test_a_chain_of_kinds_loses_the_first_token_once_and_says_so(vector, tmp_path):
    write_vector(vector, "hub", tmp_path / "hub")
    assert rows_equal(read_vector(tmp_path / "hub"), vector)
    write_vector(read_vector(tmp_path / "hub"), "llama.cpp", tmp_path / "a.gguf")
    last = write_vector(read_vector(tmp_path / "a.gguf"), "safetensors", tmp_path / "b.safetensors")
    assert rows_equal(last, vector.everywhere())
    assert sum("at the first token" in one for one in last.card.cannot) == 1


def test_the_neutral_token_of_a_run_is_told(model):
    found = vector_of(model)
    card = found.card.model_copy(update={"model": found.card.model.model_copy(update={"prefix": "auto"})})
    for kind in (*KINDS, "weights"):
        assert "neutral token" in as_written(replace(found, card=card), kind).card.cannot[0]


def test_a_width_of_one_layer_and_bad_values_are_refused():
    for rows in ({-1: torch.ones(2)}, {1: torch.ones(2, 2)}, {1: torch.tensor([math.nan])}, {1: torch.ones(0)}):
        with pytest.raises(EmotionCircuitsError):
            PortableVector(rows)


def test_the_card_of_a_gguf_file_is_passed_over_by_others(vector, tmp_path):
    write_control_gguf(tmp_path / "a.gguf", vector.everywhere(), "llama")
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    assert str(bytes(reader.get_field("general.architecture").parts[-1]), "utf-8") == "controlvector"
    assert [t.name for t in reader.tensors] == ["direction.1", "direction.2"]
    assert reader.tensors[0].data.tolist() == vector.rows[1].tolist()
    assert reader.tensors[0].data.shape == (32,)
