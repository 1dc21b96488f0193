"""A device whose memory is too small for a batch: the work is done in halves, gives the same figures, and it is said."""

import logging
from contextlib import contextmanager

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import station_cases
from emotion_circuits.activations.sinks import measure_sinks
from emotion_circuits.directions.reading import pooled_states
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Fluency
from emotion_circuits.model.halving import in_halves
from families import tiny_model


@contextmanager
def room_for(model, tokens):
    """A device that has room for so many tokens in a forward pass."""

    def check(_module, arguments, given):
        ids = given.get("input_ids", arguments[0] if arguments else None)
        if ids is not None and ids.numel() > tokens:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 1 GiB"
            )

    hook = model.base.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


# Every halving collects garbage, which takes as long as a test process is large.
@settings(max_examples=20)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 40))
def test_every_item_runs_once_and_in_order(items, room):
    def run(some):
        if len(some) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(some)

    found = list(in_halves(items, run, what="items"))
    assert [item for some in found for item in some] == items
    assert all(len(some) <= room for some in found)


def test_what_does_not_fit_alone_is_said_with_what_to_do():
    def run(_some):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has …")

    with pytest.raises(EmotionCircuitsError, match=r"one of the texts alone .*Tried to allocate 1\.00 GiB\).*bfloat16"):
        list(in_halves([1, 2, 3], run, what="texts"))


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        list(in_halves([1, 2], lambda some: 1 / 0, what="texts"))


@pytest.mark.parametrize(
    ("station", "tokens", "what"),
    [("capture", 300, "sentences"), ("sweep", 90, "texts"), ("scan", 60, "variants of the run")],
)
@pytest.mark.parametrize("family", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_figures_are_those_of_a_roomy_device(family, station, tokens, what, tmp_path, caplog):
    model, work = tiny_model(family), station_cases.STATIONS[station]
    roomy, narrow = tmp_path / "roomy", tmp_path / "narrow"
    for folder in (roomy, narrow):
        folder.mkdir()
    work(model, None, roomy, None)
    assert not caplog.records
    with room_for(model, tokens), caplog.at_level(logging.WARNING):
        work(model, None, narrow, None)
    said = {record.getMessage() for record in caplog.records}
    assert said
    assert all(line.endswith("at once do not fit into the device's memory; tried again in halves") for line in said)
    assert any(f"{what} at once" in line for line in said)
    files = sorted(path.relative_to(roomy) for path in roomy.rglob("*.safetensors"))
    for name in files:
        first, second = load_file(roomy / name), load_file(narrow / name)
        assert first.keys() == second.keys()
        for key in first:
            torch.testing.assert_close(first[key], second[key], atol=1e-4, rtol=1e-4, equal_nan=True)
    for table in roomy.rglob("*.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(table), pd.read_parquet(narrow / table.relative_to(roomy)))
    assert files or list(roomy.rglob("*.parquet"))


def test_readings_and_perplexities_are_those_of_a_roomy_device(tmp_path):
    model, texts = tiny_model("qwen2"), [f"Text {i} {'of ' * i}" for i in range(8)]

    def read():
        sinks = measure_sinks(model, texts)
        states = pooled_states(model, texts, kind="resid_post", layers=(0, 2), pooling="mean", sinks=sinks)
        return sinks, states, Fluency(model).score(texts, [" and so on"] * len(texts))

    sinks, states, nats = read()
    with room_for(model, 60):
        again, narrow, other = read()
    assert again == sinks
    torch.testing.assert_close(narrow, states, atol=1e-4, rtol=1e-4)
    pd.testing.assert_frame_equal(nats, other)


def test_a_device_without_room_for_one_row_is_an_error(tmp_path):
    model = tiny_model("llama")
    with (
        room_for(model, 5),
        pytest.raises(EmotionCircuitsError, match="one of the sentences to be measured alone does not fit"),
    ):
        station_cases.states(model, None, tmp_path, None)
