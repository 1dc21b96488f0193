"""vLLM writes what our own engine writes, proves what it did, and refuses what it cannot prove."""

from __future__ import annotations

import http.client
import json
import math

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import ALL, LAST, REST, Ablate, Add, Clamp, Gate, Positions, Sampling, Site
from emotion_circuits.model.stepping import Along, Stepper, Task
from emotion_circuits.model.vllm import Asking
from vllm_cases import _CHANGES, NEEDED, directions, saved_tiny, service_of

pytestmark = [NEEDED, pytest.mark.timeout(1800)]

PROMPTS = ("Thank you so much for it", "It rains", "Why did the old man walk all the way to the sea and back again?")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny llama and its vLLM, whose batches hold 96 tokens, so that long prompts come in pieces."""
    model = saved_tiny("llama", tmp_path_factory.mktemp("vllm") / "llama")
    with service_of(model, options=("--max-num-batched-tokens", "96", "--max-num-seqs", "64")) as client:
        yield model, client


def written(client, model, tasks, **options):
    return Asking(client, model, tasks, **options).run(lambda *_: None)


def own(model, tasks):
    """The same by our own engine, each text alone."""
    rows = []
    for task in tasks:
        with Stepper(model) as batch:
            (row,) = batch.join([task])
            while batch.rows:
                batch.step()
            rows.append(row)
    return rows


def ids_of(model, text):
    return model.encode([text]).ids[0]


def manners(model):
    """Every manner of steering that is asked for, by name."""
    a, b, c = directions(model)
    last = model.n_layers - 1

    def site(layer):
        return Site("resid_post", layer)

    return {
        "nothing": (),
        "all": (Add(site=site(1), vector=a, alpha=3.0),),
        "rest and first": (
            Add(site=site(1), vector=a, alpha=2.0, positions=REST),
            Add(site=site(1), vector=a, alpha=5.0, positions=Positions.at(0)),
        ),
        "last": (Add(site=site(0), vector=b, alpha=-3.0, positions=LAST),),
        "generated": (Add(site=site(last), vector=b, alpha=4.0, when="generated"),),
        "prompt": (Add(site=site(1), vector=b, alpha=4.0, when="prompt"),),
        "places": (Add(site=site(1), vector=c, alpha=6.0, positions=Positions.at(1, 3, -2), when="prompt"),),
        "two values, two layers": tuple(
            Add(site=site(layer), vector=v, alpha=s, positions=REST) for layer in (0, last) for v, s in ((a, 2.0), (c, -1.5))
        ),
        "ablate": (Ablate(site=site(1), mode="directional", direction=a),),
        "clamp": (Clamp(site=site(0), direction=c, value=2.0, positions=REST),),
        "gate": (Add(site=site(1), vector=a, alpha=4.0, gate=Gate(direction=b, threshold=0.2)),),
        "order": (
            Add(site=site(1), vector=a, alpha=3.0),
            Clamp(site=site(1), direction=a, value=1.0),
            Add(site=site(1), vector=b, alpha=2.0),
        ),
    }  # fmt: skip


def tasks_of(model, *, tokens=16, logprobs=3):
    how = Sampling(max_new_tokens=tokens, min_new_tokens=tokens)
    found = []
    for prompt in PROMPTS:
        for done in manners(model).values():
            along = tuple(
                Along(i.site, i.vector if isinstance(i, Add) else i.direction)
                for i in {
                    (i.site, id(getattr(i, "vector", None)), id(getattr(i, "direction", None))): i for i in done
                }.values()
            )
            found.append(
                Task(ids=ids_of(model, prompt), sampling=how, interventions=done, along=along, logprobs=logprobs)
            )
    return found


def agree(model, ours, theirs, tolerance):
    """Greedy texts are equal, up to ties: where they part, both tokens were equally probable. Returns the largest difference."""
    worst, parted = 0.0, 0
    for one, other in zip(ours, theirs, strict=True):
        assert other.reason == one.reason, other.error
        for mine, yours in zip(one.tokens, other.tokens, strict=True):
            if mine.id != yours.id:
                assert math.isclose(dict(mine.top)[yours.id], mine.logprob, abs_tol=tolerance)
                parted += 1
                break
            worst = max(worst, abs(mine.logprob - yours.logprob))
    assert worst <= tolerance
    return worst, parted


def same_touch(ours, theirs, tolerance=1e-3):
    for one, other in zip(ours, theirs, strict=True):
        if [t.id for t in one.tokens] != [t.id for t in other.tokens]:
            continue
        for mine, yours in zip(one.touched, other.touched, strict=True):
            assert (mine.tokens, mine.first) == (yours.tokens, yours.first)
            for name in ("before", "after", "first_before", "first_after"):
                assert math.isclose(getattr(mine, name), getattr(yours, name), abs_tol=tolerance * max(1, mine.tokens))


def test_every_manner_of_steering_writes_and_touches_what_our_own_engine_does_in_one_mixed_batch(tiny):
    model, client = tiny
    tasks = tasks_of(model)
    ours, theirs = own(model, tasks), written(client, model, tasks)
    worst, parted = agree(model, ours, theirs, 2e-3)
    assert parted <= 1
    assert worst > 0  # it is another program
    same_touch(ours, theirs)
    names = list(manners(model))
    texts = dict(zip(names, ([t.id for t in row.tokens] for row in theirs), strict=False))
    assert sum(texts[name] != texts["nothing"] for name in names) >= 8  # steering turns texts


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in sorted(_CHANGES) if name != "llama"])
def test_families_agree(family, tmp_path):
    model = saved_tiny(family, tmp_path / family)
    tasks = tasks_of(model, tokens=12)
    with service_of(model) as client:
        theirs = written(client, model, tasks)
    ours = own(model, tasks)
    agree(model, ours, theirs, 5e-3)
    same_touch(ours, theirs, 1e-2)
