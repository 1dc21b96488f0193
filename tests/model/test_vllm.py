"""vLLM writes what our own engine writes, proves what it did, and refuses what it cannot prove."""

from __future__ import annotations

import http.client
import json
import math
import os
import queue
import time
from contextlib import closing

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LAST, REST, Ablate, Add, Clamp, Gate, Positions, Sampling, Site, generate
from emotion_circuits.model.intervening import for_rows
from emotion_circuits.model.stepping import Along, Stepper, Task
from emotion_circuits.model.vllm import PYTHON, Asking, Writer
from emotion_circuits.record.reading import read_finished
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.study import run_study
from study_cases import small
from vllm_cases import _CHANGES, NEEDED, directions, saved_tiny, service_of

pytestmark = [NEEDED, pytest.mark.timeout(1800)]

PROMPTS = ("Thank you so much for it", "It rains", "Why did the old man walk all the way to the sea and back again?")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny llama and its vLLM: batches of 96 tokens, so that long prompts come in pieces, and room for 16 x 128 tokens, so that
    texts that grow push others out."""
    model = saved_tiny("llama", tmp_path_factory.mktemp("vllm") / "llama")
    with service_of(model, options=("--max-num-batched-tokens", "96", "--num-gpu-blocks-override", "17")) as client:
        save_file(
            {"unit/joy": directions(model)[:1].repeat(model.n_layers, 1), "norms": torch.ones(model.n_layers)},
            client.folder / "named.safetensors",
            {
                "doses": json.dumps(
                    {"joy": {"alpha": 2.0, "first": 4.0, "layers": [1], "positions": "rest", "when": "all"}}
                )
            },
        )
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
@pytest.mark.parametrize("family", [name for name in sorted(_CHANGES) if name not in ("llama", "stablelm")])
def test_families_agree(family, tmp_path):
    model = saved_tiny(family, tmp_path / family)
    tasks = tasks_of(model, tokens=12)
    with service_of(model) as client:
        theirs = written(client, model, tasks)
    ours = own(model, tasks)
    agree(model, ours, theirs, 5e-3)
    same_touch(ours, theirs, 1e-2)


def long_prompt(model, tokens, salt=""):
    """So many tokens, of which the first ones differ by ``salt``."""
    text = f"{salt} " + "It was a long day, and the rain would not end before the night came. " * 20
    return ids_of(model, text[: tokens + 1])[:tokens]


def posted(client, path, body):
    """What the service answers, as any HTTP client sees it."""
    connection = http.client.HTTPConnection(*client.url.removeprefix("http://").split(":"), timeout=120)
    connection.request("POST", path, json.dumps(body), client._headers())
    answer = connection.getresponse()
    return answer.status, [json.loads(line) for line in answer.read().decode().splitlines() if line]


def counted(client, name):
    connection = http.client.HTTPConnection(*client.url.removeprefix("http://").split(":"), timeout=30)
    connection.request("GET", "/metrics", headers=client._headers())
    lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_no_dose_is_doubled_in_prefill_and_the_first_written_token_feels_it(tiny):
    model, client = tiny
    a = directions(model)[0]
    site, how = Site("resid_post", 1), Sampling(max_new_tokens=4, min_new_tokens=4)
    push = Add(site=site, vector=a, alpha=3.0)
    base = Task(ids=ids_of(model, PROMPTS[0]), sampling=how, logprobs=0)
    row, plain = written(client, model, [_with(base, push), base])
    (touched,) = row.touched
    assert touched.tokens == len(base.ids) - 1 + 3
    assert touched.first == 1
    assert math.isclose((touched.after - touched.before) / touched.tokens, 3.0, abs_tol=1e-4)
    assert math.isclose(touched.first_after - touched.first_before, 3.0, abs_tol=1e-4)
    assert (row.tokens[0].id, row.tokens[0].logprob) != (plain.tokens[0].id, plain.tokens[0].logprob)


def _with(task, *done):
    along = tuple(Along(i.site, i.vector) for i in done)
    return Task(
        ids=task.ids, sampling=task.sampling, logprobs=task.logprobs, interventions=done, along=along, stop=task.stop
    )


def test_rows_beside_steered_ones_are_what_they_are_alone(tiny):
    model, client = tiny
    how = Sampling(max_new_tokens=12, min_new_tokens=12)
    plain = [Task(ids=ids_of(model, f"{p} {n}"), sampling=how, logprobs=0) for n in range(4) for p in PROMPTS]
    pushed = [
        _with(t, Add(site=Site("resid_post", 1), vector=directions(model)[0], alpha=2.0 + n))
        for n, t in enumerate(plain)
    ]
    mixed = [task for pair in zip(plain, pushed, strict=True) for task in pair]
    beside = written(client, model, mixed)[::2]
    alone = [written(client, model, [task])[0] for task in plain]
    # Another size of batch rounds products otherwise; what steering leaked would be larger by orders.
    assert (
        max(
            abs(x.logprob - y.logprob)
            for one, other in zip(alone, beside, strict=True)
            for x, y in zip(one.tokens, other.tokens, strict=True)
        )
        < 1e-4
    )
    assert [[t.id for t in row.tokens] for row in alone] == [[t.id for t in row.tokens] for row in beside]


def test_a_prompt_that_comes_in_pieces_is_steered_at_its_own_places(tiny):
    model, client = tiny
    a, b, _ = directions(model)
    ids, how = long_prompt(model, 330, "pieces"), Sampling(max_new_tokens=6, min_new_tokens=6)
    done = (
        Add(site=Site("resid_post", 0), vector=a, alpha=2.0, positions=REST),
        Add(site=Site("resid_post", 0), vector=a, alpha=6.0, positions=Positions.at(0)),
        Add(
            site=Site("resid_post", 2),
            vector=b,
            alpha=4.0,
            positions=Positions.at(0, 95, 96, 97, 191, 192, 329),
            when="prompt",
        ),
        Add(site=Site("resid_post", 1), vector=b, alpha=2.0, positions=LAST),
    )
    along = (Along(done[0].site, a), Along(done[2].site, b), Along(done[3].site, b))
    tasks = [Task(ids=ids, sampling=how, interventions=done, along=along, logprobs=3)]
    ours, theirs = own(model, tasks), written(client, model, tasks)
    agree(model, ours, theirs, 2e-3)
    same_touch(ours, theirs)
    assert [t.tokens + t.first for t in theirs[0].touched] == [330 + 5, 7, 1 + 5]


def test_a_beginning_is_shared_by_texts_of_one_steering_and_by_no_others(tiny):
    model, client = tiny
    ids = long_prompt(model, 300, "cache")

    def asked(**push):
        task = {"prompt": ids, "max_tokens": 6, "logprobs": 0}
        if push:
            task["steering"] = {"vectors": "named", "steering": {"joy": {"layers": [0], **push}}}
        status, lines = posted(client, "/v1/emotion-circuits/write", {"tasks": [task]})
        assert status == 200
        assert lines[-1]["end"] == "length", lines[-1]
        told = [told for line in lines for told in line["logprobs"]]
        return [i for line in lines for i in line["ids"]], [one[0] for one in told], lines[-1]

    fresh = {}
    for name, push in {
        "none": {},
        "3": {"alpha": 3},
        "5": {"alpha": 5},
        "written": {"alpha": 3, "when": "generated"},
    }.items():
        fresh[name] = asked(**push)
        assert fresh[name][2]["from_cache"] == 0  # whatever was computed before, of the very same tokens
    for name, push in {"5": {"alpha": 5}, "none": {}, "3": {"alpha": 3}}.items():
        again = asked(**push)
        assert again[2]["from_cache"] >= 128
        assert again[0] == fresh[name][0]
        assert all(math.isclose(x, y, abs_tol=1e-4) for x, y in zip(again[1], fresh[name][1], strict=True))
    (one,) = asked(alpha=3)[2]["steering"]["touched"]
    assert one["from_cache"] >= 127
    assert one["tokens"] == 300 - 1 - one["from_cache"] + 5
    # All that is chosen came from the cache: proven by the text that computed it.
    (one,) = asked(alpha=4, when="prompt", positions="all")[2]["steering"]["touched"]
    assert one["from_cache"] == 0
    (one,) = asked(alpha=4, when="prompt", positions="all")[2]["steering"]["touched"]
    assert one["from_cache"] >= 128


def test_what_is_computed_again_after_a_preemption_is_steered_again_and_counted_once(tiny):
    model, client = tiny
    a = directions(model)[0]
    how = Sampling(max_new_tokens=40, min_new_tokens=40)
    tasks = [
        _with(
            Task(ids=long_prompt(model, 110, f"{n}"), sampling=how, logprobs=3),
            Add(site=Site("resid_post", 1), vector=a, alpha=1.0 + n / 4, positions=REST),
        )
        for n in range(20)
    ]  # fmt: skip
    before = counted(client, "vllm:num_preemptions_total")
    theirs = written(client, model, tasks)
    assert counted(client, "vllm:num_preemptions_total") > before
    ours = own(model, tasks)
    agree(model, ours, theirs, 2e-3)
    same_touch(ours, theirs)
    assert {row.touched[0].tokens for row in theirs} == {110 - 1 + 39}


def test_a_text_that_was_not_steered_is_an_error_and_not_an_answer(tiny):
    model, client = tiny
    push = Add(site=Site("resid_post", 1), vector=directions(model)[0], alpha=3.0, when="generated")
    task = _with(Task(ids=ids_of(model, PROMPTS[0]), sampling=Sampling(max_new_tokens=1)), push)
    (row,) = written(client, model, [task])
    assert row.reason == "error"
    assert "no token was there to be steered" in row.error
    (row,) = written(client, model, [task], idle=True)  # a sweep's text may end before
    assert row.reason == "length"
    # As OpenAI's clients see it.
    status, (answer,) = posted(
        client,
        "/v1/completions",
        _openai(client, {"joy": {"alpha": 3, "layers": [0], "when": "generated"}}, max_tokens=1),
    )
    assert status == 500
    assert "choices" not in answer


def _openai(client, steering, **body):
    asked = {"vectors": "named", "steering": steering}
    model = client.about()["model"]
    return {
        "model": model,
        "prompt": list(range(5, 40)),
        "temperature": 0,
        "vllm_xargs": {"emotion_circuits": json.dumps(asked)},
        **body,
    }


def test_openai_s_own_interface_steers_and_tells_of_it(tiny):
    client = tiny[1]
    status, (answer,) = posted(client, "/v1/completions", _openai(client, {"joy": 0.5}, max_tokens=8))
    assert status == 200, answer
    (touched,) = answer["kv_transfer_params"]["emotion_circuits"]["touched"]
    assert touched["tokens"] == 35 - 1 + 7
    assert math.isclose(touched["projection_after"] - touched["projection_before"], 1.0, abs_tol=1e-4)
    first = touched["first_token"]
    assert math.isclose(first["projection_after"] - first["projection_before"], 2.0, abs_tol=1e-4)
    status, (stopped,) = posted(
        client, "/v1/completions", _openai(client, {"joy": 0.5}, max_tokens=8, stop=[answer["choices"][0]["text"][3]])
    )
    assert stopped["kv_transfer_params"]["emotion_circuits"]["touched"][0]["tokens"] < touched["tokens"]


@pytest.mark.parametrize(
    ("steering", "body", "why"),
    [
        ({"joy": {"alpha": 1, "layers": [7]}}, {}, "no layer 7"),
        ({"grief": {"alpha": 1, "layers": [0]}}, {}, "no direction"),
        ({"joy": {"alpha": 1}}, {}, "needs 'layers'"),
        ({"joy": {"alpha": 1, "layers": [0], "file": "x"}}, {}, "is not known"),
        ({"joy": {"alpha": 1, "layers": [0]}}, {"n": 2, "temperature": 1}, "one text"),
        ({"joy": {"alpha": 1, "layers": [0]}}, {"n": 2, "use_beam_search": True}, "beam search"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_it_is_begun(tiny, steering, body, why):
    _, client = tiny
    status, (answer,) = posted(client, "/v1/completions", _openai(client, steering, **body))
    assert status == 400
    assert why in answer["error"]["message"]


@pytest.mark.parametrize("name", ["../named", "/etc/passwd", "named.safetensors/", "asked-0", ""])
def test_a_request_names_what_is_registered_and_no_path(tiny, name):
    _, client = tiny
    body = _openai(client, {"joy": {"alpha": 1, "layers": [0]}})
    body["vllm_xargs"]["emotion_circuits"] = json.dumps(
        {"vectors": name, "steering": {"joy": {"alpha": 1, "layers": [0]}}}
    )
    status, (answer,) = posted(client, "/v1/completions", body)
    assert status == 400
    assert "registered" in answer["error"]["message"]


def test_a_stop_ends_a_text_where_our_own_engine_ends_it(tiny):
    model, client = tiny
    push = Add(site=Site("resid_post", 1), vector=directions(model)[0], alpha=3.0, positions=REST)
    free = _with(Task(ids=ids_of(model, PROMPTS[1]), sampling=Sampling(max_new_tokens=30, min_new_tokens=30)), push)
    (whole,) = own(model, [free])
    task = _with(Task(ids=free.ids, sampling=free.sampling, stop=(whole.text[7:9],)), push)
    ours, theirs = own(model, [task]), written(client, model, [task])
    assert theirs[0].text == ours[0].text == whole.text[: whole.text.index(whole.text[7:9])]
    same_touch(ours, theirs)


def test_who_hangs_up_leaves_at_once(tiny):
    model, client = tiny
    how = Sampling(max_new_tokens=400, min_new_tokens=400)
    push = Add(site=Site("resid_post", 1), vector=directions(model)[0], alpha=3.0)
    asking = Asking(client, model, [_with(Task(ids=ids_of(model, f"Leave {n}"), sampling=how), push) for n in range(4)])

    def told(_place, token, _row):
        if token is not None:
            asking.cancel()

    rows = asking.run(told)
    assert {row.reason for row in rows} == {"cancelled"}
    until = time.monotonic() + 20
    while counted(client, "vllm:num_requests_running") and time.monotonic() < until:
        time.sleep(0.2)
    assert counted(client, "vllm:num_requests_running") == 0


def test_equal_seeds_write_equal_texts(tiny):
    model, client = tiny
    how = Sampling(max_new_tokens=20, min_new_tokens=20, temperature=1.0, top_p=0.9)
    tasks = [Task(ids=ids_of(model, PROMPTS[0]), sampling=how, seed=seed) for seed in (1, 1, 2**55, 2**55, 3)]
    rows = written(client, model, tasks)
    assert {row.reason for row in rows} == {"length"}, rows[0].error
    texts = [row.text for row in rows]
    assert texts[0] == texts[1] != texts[2] == texts[3] != texts[4]


def test_texts_drawn_after_prompts_in_pieces_are_those_of_their_seeds(tiny):
    """What vLLM draws after a part of a prompt is thrown away; it takes nothing from the draws of the text."""
    model, client = tiny
    how = Sampling(max_new_tokens=12, min_new_tokens=12, temperature=1.0, top_p=0.9)
    tasks = [Task(ids=long_prompt(model, 150, salt=f"{i} "), sampling=how, seed=i + 1) for i in range(4)]
    together = written(client, model, tasks)
    assert {row.reason for row in together} == {"length"}, together[0].error
    for task, row in zip(tasks, together, strict=True):
        (alone,) = written(client, model, [task])
        assert alone.ids == row.ids


def test_the_server_s_engine_hands_texts_on_and_bounds_them(tiny):
    from emotion_circuits.serve.engine import FullError, Limits
    from emotion_circuits.serve.vllm_engine import VllmEngine

    model, client = tiny
    push = Add(site=Site("resid_post", 1), vector=directions(model)[0], alpha=3.0)
    base = Task(ids=ids_of(model, PROMPTS[0]), sampling=Sampling(max_new_tokens=12, min_new_tokens=12), live=True)
    ended = queue.SimpleQueue()
    with VllmEngine(model, client, Limits(rows=2, tokens=2000, queue=1, seconds=60)) as engine:
        assert engine.alive
        engine.submit(
            [base, _with(base, push)], lambda place, token, row: ended.put((place, row)) if token is None else None
        )
        with pytest.raises(FullError):
            engine.submit([base, base], lambda *_: None)
        rows = dict(ended.get(timeout=60) for _ in range(2))
        assert {row.reason for row in rows.values()} == {"length"}, rows[0].error
        assert (engine.running, engine.waiting) == (0, 0)
        assert engine.tokens_written == 24
        assert [rows[n].text for n in range(2)] == [row.text for row in own(model, [base, _with(base, push)])]
        assert rows[1].touched[0].tokens == len(base.ids) - 1 + 11
        long = Task(ids=base.ids, sampling=Sampling(max_new_tokens=400, min_new_tokens=400))
        ticket = engine.submit([long], lambda place, token, row: ended.put((place, row)) if token is None else None)
        ticket.cancel()
        assert ended.get(timeout=60)[1].reason == "cancelled"
        with pytest.raises(EmotionCircuitsError, match="no states"):
            engine.submit([Task(ids=base.ids, watch=(Site("resid_post", 0),))], lambda *_: None)


@pytest.mark.slow
def test_a_server_that_would_run_unsteered_does_not_start(tmp_path):
    model = saved_tiny("llama", tmp_path / "llama")
    with (
        pytest.raises(EmotionCircuitsError, match="--enforce-eager"),
        service_of(model, options=("--no-enforce-eager",)),
    ):
        pass


@pytest.mark.slow
def test_a_family_whose_stream_cannot_be_measured_is_refused(tmp_path):
    model = saved_tiny("stablelm", tmp_path / "stablelm")
    with pytest.raises(EmotionCircuitsError, match="StableLM's blocks"), service_of(model):
        pass


@pytest.mark.slow
def test_the_writer_writes_what_generate_does(tmp_path):
    model = saved_tiny("llama", tmp_path / "llama")
    push = (Add(site=Site("resid_post", 1), vector=directions(model)[0], alpha=3.0),)
    how = Sampling(max_new_tokens=16)
    with closing(Writer(os.environ[PYTHON])) as writer:
        texts = writer.generate(model, PROMPTS, how, interventions=[push, (), push], seeds=[1, 2, 3])
        assert writer.identity(model)["engine"] == "vllm"
    ours = generate(model, PROMPTS, how, interventions=for_rows(push, (0, 2)))
    assert texts == ours


@pytest.mark.slow
def test_the_command_prints_what_vllm_writes_beside_what_it_writes_unsteered(tmp_path):
    saved_tiny("llama", tmp_path / "llama")
    told = {}
    for writer in ("own", "vllm"):
        asked = [
            "steer", "--model", str(tmp_path / "llama"), "--emotion", "gratitude", "--layer", "1", "--alpha", "2",
            "--temperature", "0", "--dtype", "float32", "--max-new-tokens", "12", "--writer", writer, "--json", *PROMPTS,
        ]  # fmt: skip
        done = CliRunner().invoke(app, asked, catch_exceptions=False)
        told[writer] = json.loads(done.stdout)["rows"]
    assert len(told["own"]) == len(PROMPTS)
    for one, other in zip(told["own"], told["vllm"], strict=True):
        for which in ("base", "steered"):
            assert other[which] == one[which]
            assert math.isclose(other[f"{which}_perplexity"], one[f"{which}_perplexity"], rel_tol=1e-3)
    assert any(row["base"] != row["steered"] for row in told["vllm"])


@pytest.mark.slow
def test_a_study_has_its_continuations_written_and_the_proof_that_steering_acted(tmp_path):
    saved_tiny("llama", tmp_path / "llama")
    asked = small(
        tmp_path / "llama", writer="vllm", dtype="float32", **{"steering.null_prompts": 8, "circuits.emotion_heads": 2}
    )
    done = run_study(asked, tmp_path / "run")
    assert {stage.name: stage.status for stage in done.stages}["steering"] == "ran"
    manifest = read_finished(tmp_path / "run")
    assert manifest["model"]["writer"]["engine"] == "vllm"
    test = SteeringFolder.of(tmp_path / "run").test.read()
    assert set(test["kind"]) >= {"none", "emotion", "random", "shuffled", "prompting"}
    base = test[test["kind"] == "none"].set_index("prompt_id")["text"]
    steered = test[test["kind"] == "emotion"]
    assert (steered["text"] != steered["prompt_id"].map(base)).any()
