"""The plugin's pure parts: what a request asks for, which tokens it chooses, what is done to a batch, and what is told of it."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.exchange.tensor_files import write_tensors
from emotion_circuits.model import ALL, LAST, REST, Ablate, Add, Clamp, Gate, Patch, Positions, Site
from emotion_circuits.model.positions import Moment
from emotion_circuits.model.vllm.edits import edits_of, name_of, save_directions
from emotion_circuits_vllm.acting import Acting, Piece, stream
from emotion_circuits_vllm.asking import Asked, AskedWrongError, Edit, read
from emotion_circuits_vllm.places import chosen, how_many
from emotion_circuits_vllm.report import report
from emotion_circuits_vllm.shelf import Shelf, Vectors

WIDTH, LAYERS = 8, 3
WHEN, POSITIONS = ("prompt", "generated", "all"), ("all", "rest", "last", "first", (0, 2, 5))


def vectors(names=("joy", "sadness"), norms=(1.0, 2.0, 4.0), seed=0):
    drawn = torch.randn(len(names), LAYERS, WIDTH, generator=torch.Generator().manual_seed(seed))
    rows = torch.nn.functional.normalize(drawn, dim=-1)
    return Vectors(dict(zip(names, rows, strict=True)), torch.tensor(norms))


def acting():
    return Acting(torch.device("cpu"), torch.float32)


# -- places ----------------------------------------------------------------------------------------------------------------


SOON = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@SOON
@given(
    st.sampled_from(WHEN),
    st.sampled_from(POSITIONS),
    st.integers(1, 8),
    st.integers(0, 8),
    st.lists(st.integers(1, 5), max_size=6),
)
def test_the_places_of_pieces_are_those_of_our_own_engine_in_the_whole_text(when, positions, prompt, written, sizes):
    if when == "generated" and positions in ("first", (0, 2, 5)):
        return
    edit, whole = Edit("joy", 0, 1.0, when=when, positions=positions), prompt + written
    pieces, start = [], 0
    for size in [*sizes, whole]:
        size = min(size, whole - start)
        pieces += chosen(edit, start, size, prompt).tolist()
        start += size
    ours = {"all": ALL, "rest": REST, "last": LAST, "first": Positions.at(0)}.get(positions) or Positions.at(0, 2, 5)
    ends = torch.tensor([whole])
    moment = Moment(torch.arange(whole), torch.tensor([0]), torch.tensor([prompt]), ends, False)
    assert pieces == moment.select(ours, when, torch.tensor([0]))[0].tolist()
    assert how_many([edit], whole, prompt) == sum(pieces)


# -- what is asked -----------------------------------------------------------------------------------------------------------


def asked(**push):
    return read({"vectors": "v", "steering": {"joy": push}})


def test_a_dose_is_what_the_file_says_it_is_and_the_first_token_is_scaled_with_it():
    dose = {"alpha": 0.2, "first": 6.0, "layers": [1, 2], "positions": "rest", "when": "all"}
    found = read({"steering": {"joy": -0.5}}, ["demo"], lambda name: {"joy": dose})
    assert found.vectors == "demo"
    assert [(e.layer, e.alpha, e.positions) for e in found.edits] == [
        (1, -0.1, "rest"), (1, -3.0, "first"), (2, -0.1, "rest"), (2, -3.0, "first"),
    ]  # fmt: skip
    written = read({"steering": {"joy": {"dose": 1, "when": "generated"}}}, ["demo"], lambda name: {"joy": dose})
    assert [(e.when, e.positions) for e in written.edits] == [("generated", "rest")] * 2
    with pytest.raises(AskedWrongError, match="no dose"):
        read({"vectors": "demo", "steering": {"fear": 1}}, ["demo"], lambda name: {"joy": dose})


def test_what_changes_nothing_asks_for_nothing():
    assert asked(alpha=0, layers=[1]).edits == ()
    assert read({"vectors": "v", "edits": []}).edits == ()


def test_json_comes_back_as_it_was_read():
    found = read(
        {"vectors": "v", "edits": [{"vector": "joy", "layer": 1, "alpha": 2, "positions": [5, 1], "when": "prompt"}]}
    )
    assert found.edits[0].positions == (1, 5)
    assert read(found.text()) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[1]", "an object"),
        ('{"vectors": "v", "vectors": "w", "edits": []}', "twice"),
        ('{"vectors": "v", "edits": [{"vector": "joy", "layer": 1, "alpha": NaN}]}', "NaN"),
        ('{"vectors": "v", "edits": [{"vector": "joy", "layer": 1, "alpha": 1e999}]}', "a number"),
        ('{"vectors": "v", "edits": [{"vector": "joy", "layer": 1, "alpha": true}]}', "a number"),
        ('{"vectors": "v", "edits": [{"vector": "joy", "layer": -1}]}', "whole number"),
        ('{"vectors": "v", "edits": [{"vector": "joy", "layer": 1, "path": "/x"}]}', "not known"),
        ('{"vectors": "v", "edits": [{"vector": "joy", "layer": 1, "positions": [], "alpha": 1}]}', "places"),
        ('{"vectors": "v", "edits": [{"vector": "joy", "layer": 1, "positions": [1], "when": "generated"}]}', "go with"),
        ('{"vectors": "../v", "edits": []}', "registered"),
        ('{"vectors": "v"}', "either"),
        ('{"vectors": "v", "steering": {"joy": {"dose": 1, "alpha": 1}}}', "either"),
        ('{"vectors": "v", "steering": {"joy": {"dose": 1, "layers": [1]}}}', "no dose"),
        ("[" * 5000, "no JSON"),
    ],
)  # fmt: skip
def test_a_request_that_says_something_else_is_refused_by_name(text, why):
    with pytest.raises(AskedWrongError, match=why):
        read(text)


def test_a_cache_is_shared_by_equal_steering_and_by_no_other():
    known = vectors()

    def salt(prompt=5, of=known, **push):
        found = read({"vectors": "v", "steering": {"joy": {"layers": [1], **push}}})
        return found.salt(prompt, of.mark(found))

    assert salt(alpha=1) == salt(alpha=1, prompt=9)  # prompt and written tokens are treated alike
    assert salt(alpha=1, when="generated") != salt(alpha=1, when="generated", prompt=9)
    assert salt(alpha=1, positions="last") != salt(alpha=1, positions="last", prompt=9)
    different = [
        salt(alpha=1),
        salt(alpha=2),
        salt(alpha=1, when="prompt"),
        salt(alpha=1, positions="all"),
        salt(alpha=1, first=2),
    ]
    assert len(set(different)) == len(different)
    assert salt(alpha=1) != salt(alpha=1, of=vectors(seed=1))  # other numbers of the same name
    assert salt(alpha=1) == salt(alpha=1, of=vectors(names=("joy", "fear")))  # what is not used does not matter


# -- what a batch becomes ------------------------------------------------------------------------------------------------------


def expected(hidden, edits, known, prompt):
    """Edits done one after the other to the whole text, written down independently."""
    value = hidden.double().clone()
    for e in edits:
        unit, norm = known.row(e.vector, e.layer).double(), float(known.norms[e.layer])
        along = value @ unit
        by = (
            torch.full_like(along, e.alpha * norm)
            if e.operation == "add"
            else (e.alpha if e.operation == "clamp" else 0) * norm - along
        )
        open_ = torch.ones_like(along, dtype=torch.bool)
        if e.gate:
            at = value @ known.row(e.gate, e.layer).double()
            open_ = at > e.threshold * norm if e.side == "above" else at < e.threshold * norm
        where = torch.tensor(chosen(e, 0, len(value), prompt)) & open_
        value = value + (by * torch.ones_like(along) * where)[:, None] * unit
    return value


EDITS = (
    (Edit("joy", 1, 2.0),),
    (Edit("joy", 1, 2.0, positions="rest"), Edit("joy", 1, 5.0, positions="first")),
    (Edit("joy", 1, 1.0, positions="rest"), Edit("sadness", 1, -2.0, positions="rest", when="generated")),
    (Edit("joy", 1, 1.5, operation="clamp", positions="last"), Edit("sadness", 1, 1.0)),
    (Edit("joy", 1, operation="ablate"), Edit("joy", 1, 1.0, gate="sadness", threshold=0.1)),
    (Edit("sadness", 1, 3.0, positions=(0, 2), when="prompt"),),
)  # fmt: skip


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_a_flat_batch_in_pieces_is_steered_as_each_whole_text_and_others_keep_their_bits(fused, seed):
    known, at_work, chance = vectors(), acting(), random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    texts = {}
    for number in range(chance.randint(1, 5)):
        prompt, written = chance.randint(1, 6), chance.randint(0, 4)
        edits = chance.choice([(), *EDITS])
        texts[f"r{number}"] = (torch.randn(prompt + written, WIDTH, generator=generator), prompt, edits)
        if edits:
            at_work.take(f"r{number}", Asked("v", edits), known, prompt)
    done = {name: [] for name in texts}
    place = dict.fromkeys(texts, 0)
    while any(place[name] < len(texts[name][0]) for name in texts):
        pieces = []
        for name in chance.sample(sorted(texts), len(texts)):
            size = min(len(texts[name][0]) - place[name], chance.randint(0, 4))
            if size:
                pieces.append(Piece(name, place[name], size))
        if not pieces:
            continue
        total = torch.cat([texts[p.request][0][p.start : p.start + p.count] for p in pieces])
        residual = torch.randn(total.shape, generator=generator) if fused else None
        hidden = total - residual if fused else total.clone()
        before = hidden.clone()
        at_work.prepare(pieces)
        for layer in range(LAYERS):
            at_work.after_block(layer, (hidden, residual) if fused else hidden)
        start = 0
        for p in pieces:
            rows = slice(start, start + p.count)
            if not texts[p.request][2]:
                assert torch.equal(hidden[rows], before[rows])
            done[p.request].append(hidden[rows] + residual[rows] if fused else hidden[rows])
            place[p.request] += p.count
            start += p.count
    for name, (text, prompt, edits) in texts.items():
        found = torch.cat(done[name]).double()
        torch.testing.assert_close(found, expected(text, edits, known, prompt), atol=1e-4, rtol=1e-4)
        for (vector, _), (row, _, cached, _) in zip(
            Asked("v", edits).entries, at_work.sums([name]).get(name, []), strict=True
        ):
            unit, (n, low, high, first, *_), moved = known.row(vector, 1).double(), row, found - text.double()
            touched = moved.abs().amax(-1) > 1e-4
            assert cached == 0
            assert abs(n + first - int(touched.sum())) <= (
                1 if edits[0].operation != "add" else 0
            )  # one may lie there already
            if edits[0].operation == "add" and not any(e.gate for e in edits):
                assert math.isclose(high - low, float((moved[1:] @ unit).sum()), abs_tol=1e-3)


def test_what_is_computed_again_is_steered_again_and_counted_once():
    known, at_work = vectors(), acting()
    at_work.take("r", Asked("v", EDITS[0]), known, 3)
    for start, count in ((0, 3), (3, 1), (0, 4), (4, 1)):  # read, written, pushed out and read again
        hidden = torch.zeros(count, WIDTH)
        at_work.prepare([Piece("r", start, count)])
        at_work.after_block(1, hidden)
        assert bool((hidden != 0).all())
    ((row, picked, cached, _),) = at_work.sums(["r"])["r"]
    assert (row[0], row[3], picked, cached) == (4, 1, 5, 0)


def test_what_came_from_the_cache_is_proven_by_who_computed_it():
    known, at_work, prompt = vectors(), acting(), 6
    asked = Asked("v", (Edit("joy", 1, 2.0, when="prompt"),))

    def run(name, start, moved=True):
        at_work.take(name, asked, known, prompt)
        at_work.prepare([Piece(name, start, prompt - start)])
        if moved:
            at_work.after_block(1, torch.zeros(prompt - start, WIDTH))
        at_work.prepare([Piece(name, prompt, 1)])
        at_work.after_block(1, torch.zeros(1, WIDTH))
        return report(asked, known, at_work.sums([name])[name])

    assert "did not move" in run("silent", 0, moved=False)["still"]
    at_work.forget(["silent"])
    unproven = run("other", 6)
    assert unproven["still"] is not None
    assert run("first", 0)["still"] is None
    at_work.forget(["first"])
    proven = run("second", 6)
    assert proven["still"] is None
    assert (proven["touched"][0]["tokens"], proven["touched"][0]["from_cache"]) == (0, 6)


def test_slots_are_used_again():
    known, at_work = vectors(), acting()
    for number in range(1000):
        at_work.take(f"r{number}", Asked("v", EDITS[1]), known, 2)
        at_work.forget([f"r{number}"])
    assert len(at_work._sums) <= 64


def test_a_block_that_hands_on_something_else_is_refused():
    whole = torch.zeros(1, 4, WIDTH)
    assert stream((whole,))[0].shape == (4, WIDTH)
    for output in (None, torch.zeros(2, 4, WIDTH), (torch.zeros(4, WIDTH), torch.zeros(4, 2))):
        with pytest.raises(TypeError, match="not a residual stream"):
            stream(output)


# -- what is told --------------------------------------------------------------------------------------------------------------


def sums(tokens=3, before=0.0, after=6.0, looked=3, picked=3, cached=0, proven=False):
    return ([float(tokens), before, after, 0.0, 0.0, 0.0, float(looked)], picked, cached, proven)


def test_an_answer_tells_means_in_residual_norms():
    told = report(Asked("v", EDITS[0]), vectors(), [sums()])
    assert told["still"] is None
    assert told["touched"] == [
        {
            "vector": "joy",
            "layer": 1,
            "norm": 2.0,
            "tokens": 3,
            "from_cache": 0,
            "projection_before": 0.0,
            "projection_after": 1.0,
        }
    ]


@pytest.mark.parametrize(
    ("edits", "given", "idle", "why"),
    [
        (EDITS[0], None, True, "without the plugin"),
        (EDITS[0], [sums(tokens=0, after=0.0, looked=0)], True, "did not move"),
        (EDITS[0], [sums(tokens=0, after=0.0, looked=0, picked=0)], False, "no token was there"),
        (EDITS[0], [sums(tokens=0, after=0.0, looked=0, picked=0)], True, None),
        (EDITS[0], [sums(tokens=0, after=0.0, looked=0, picked=0, cached=4)], True, "did not move"),
        ((Edit("joy", 1, operation="ablate"),), [sums(tokens=0, after=0.0)], False, None),
        ((Edit("joy", 1, operation="ablate"),), [sums(tokens=0, after=0.0, looked=0)], False, "did not move"),
        ((Edit("joy", 1, 1.0, gate="sadness"),), [sums(tokens=0, after=0.0)], False, None),
    ],
)  # fmt: skip
def test_what_did_not_act_is_told(edits, given, idle, why):
    told = report(Asked("v", edits, idle), vectors(), given)["still"]
    assert told is None if why is None else why in told


# -- vectors on the server -----------------------------------------------------------------------------------------------------


def test_a_shelf_has_the_files_of_its_folder_and_no_others(tmp_path):
    inside = tmp_path / "vectors"
    inside.mkdir()
    rows = {"unit/joy": torch.ones(LAYERS, WIDTH), "norms": torch.ones(LAYERS)}
    save_file(rows, tmp_path / "outside.safetensors")
    save_file(rows, inside / "demo.safetensors", {"doses": json.dumps({"joy": {"alpha": 0.1, "layers": [1]}})})
    (inside / "pickled.pt").write_bytes(b"x")
    shelf = Shelf(inside)
    assert shelf.names() == ("demo",)
    assert shelf.doses("demo")["joy"] == {"alpha": 0.1, "first": 0.0, "layers": [1], "positions": "rest", "when": "all"}
    for name in ("../outside", "outside", "pickled", str(tmp_path / "outside")):
        with pytest.raises(AskedWrongError, match="not registered"):
            shelf.get(name)
    assert math.isclose(float(shelf.get("demo").row("joy", 2).norm()), 1, abs_tol=1e-6)
    save_file({**rows, "norms": torch.full((LAYERS,), 2.0)}, inside / "demo.safetensors")
    assert float(shelf.get("demo").norms[0]) == 2  # a file that was changed is read again


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"unit/joy": torch.ones(LAYERS, WIDTH)}, "neither"),
        ({"unit/joy": torch.full((LAYERS, WIDTH), float("nan")), "norms": torch.ones(LAYERS)}, "NaN"),
        ({"unit/joy": torch.ones(2, WIDTH), "norms": torch.ones(LAYERS)}, "not one row"),
        ({"weight": torch.ones(2, 2)}, "neither"),
        ({"layer.1": torch.zeros(WIDTH)}, "alone"),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_refused(tensors, why, tmp_path):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(AskedWrongError, match=why):
        Shelf(tmp_path).get("x")


@pytest.mark.parametrize("first", [None, 3.0])
def test_an_exported_vector_adds_at_dose_1_what_it_holds(first, tmp_path):
    row = torch.randn(WIDTH, generator=torch.Generator().manual_seed(2))
    vector = PortableVector({1: row}, {} if first is None else {1: row * first}, spares_first=first is not None)
    write_tensors(tmp_path / "thanks.safetensors", vector)
    shelf = Shelf(tmp_path / "thanks.safetensors")
    found = read({"steering": {"vector": 1}}, shelf.names(), shelf.doses)
    added = {e.positions: shelf.get("thanks").delta(e) for e in found.edits}
    torch.testing.assert_close(added["all" if first is None else "rest"], row)
    if first is not None:
        torch.testing.assert_close(added["first"], row * first)


# -- interventions as the plugin is told them ----------------------------------------------------------------------------------


def test_interventions_are_told_by_name_and_number(tmp_path):
    a, b = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(3))
    site = Site("resid_post", 1)
    done = [
        Add(site=site, vector=a, alpha=2.0, positions=REST),
        Add(site=site, vector=a * 3, alpha=1.0, positions=Positions.at(0)),
        Add(site=site, vector=b, alpha=1.0, positions=Positions.per_row([(2, -1)]), when="prompt"),
        Add(site=site, vector=b, alpha=0.0),
        Clamp(site=site, direction=b, value=1.5, gate=Gate(direction=a, threshold=0.5, side="below")),
        Ablate(site=site, mode="directional", direction=a),
    ]
    name = save_directions(done, LAYERS, tmp_path)
    shelf = Shelf(tmp_path)
    found = read({"vectors": name, "edits": edits_of(done, tokens=7)}, shelf.names())
    shelf.get(name).check(found, LAYERS, WIDTH)
    assert [(e.operation, e.positions) for e in found.edits] == [
        ("add", "rest"), ("add", "first"), ("add", (2, 6)), ("clamp", "all"), ("ablate", "all"),
    ]  # fmt: skip
    for edit, i in zip(found.edits[:3], done[:3], strict=True):
        torch.testing.assert_close(shelf.get(name).delta(edit), i.vector * i.alpha)
    assert (found.edits[3].alpha, found.edits[3].gate, found.edits[3].side) == (1.5, name_of(a), "below")
    assert name_of(a) == name_of(a.clone()) != name_of(-a)
    assert save_directions([], LAYERS, tmp_path) is None


@pytest.mark.parametrize(
    "i",
    [
        Add(site=Site("attn_out", 1), vector=torch.ones(WIDTH)),
        Add(site=Site("resid_post", 1), vector=torch.ones(WIDTH), rows=(0,)),
        Add(site=Site("resid_post", 1), vector=torch.ones(WIDTH), when="generated", positions=Positions.at(0)),
        Ablate(site=Site("resid_post", 1), mode="zero"),
        Patch(site=Site("resid_post", 1), value=torch.ones(1, 1, WIDTH)),
    ],
)  # fmt: skip
def test_what_the_plugin_does_not_know_is_refused(i):
    with pytest.raises(EmotionCircuitsError):
        edits_of([i], tokens=3)
