"""What a running batch saves where many ask at once, and what steering each of them costs.

python benchmarks/bench_serving.py [--saklas PYTHON] [--vllm PYTHON]

Sixteen requests with sixteen different steerings, written by the server's engine: together, one after another, and together
without steering. Ratios are of process time, taken in turns in one process; times to the first token are by the clock.

Peers are named by the Python of the environment they are in, and left out otherwise. Saklas answers the same sixteen chat
requests over HTTP, all sent at once, each with another strength of a direction that it fits itself; so does our server, whose
requests bring a direction each. A text may end early, so figures are by token. vLLM writes the sixteen texts with our plugin,
steered and unsteered.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import torch

from bench_vllm import session_seconds
from emotion_circuits.model import REST, Add, Sampling, Site, load_model, writing_model
from emotion_circuits.model.replicas import replica
from emotion_circuits.model.stepping import Along, Task
from emotion_circuits.model.vllm import Asking
from emotion_circuits.model.vllm import Service as Vllm
from emotion_circuits.prompts import load_prompts
from emotion_circuits.serve.app import Service, make_app
from emotion_circuits.serve.engine import Engine, Limits
from emotion_circuits.serve.guarding import server_of
from emotion_circuits.serve.tone_desk import Desk
from emotion_circuits.serve.vectors import Served, Shelf
from emotion_circuits.steering import SteeringVectors

NORM = 10.0
"""Length that stands for a residual norm, so that strengths are of the same size in all arms."""
_BUSY = (409, 429)
"""What a server says that writes something else: saklas the one, ours, where its queue is full, the other."""
_AGAIN = 0.1  # seconds until a client asks again
CONCEPT = "warm.clinical"
"""One of those that saklas brings sentences for."""


def written(engine, tasks, together):
    """Process seconds and the median seconds to the first token of requests."""
    firsts = []
    start, clock = time.process_time(), time.monotonic()
    ends = []
    for task in tasks:
        done, seen = threading.Event(), []

        def news(_place, token, row, done=done, seen=seen):
            if token is not None and not seen:
                seen.append(time.monotonic() - clock)
            if token is None:
                assert row.reason in ("stop", "length"), row.error
                firsts.extend(seen)
                done.set()

        engine.submit([task], news)
        ends.append(done)
        if not together:
            done.wait()
    for done in ends:
        done.wait()
    return time.process_time() - start, statistics.median(firsts)


# -- over HTTP -------------------------------------------------------------------------------------------------------------


def streamed(port, body, start):
    """``(seconds to the first token, pieces of text, refusals)`` of a streamed chat; whoever is told to wait asks again."""
    for refused in range(10_000):
        first, pieces = None, 0
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=600)) as connection:
            asked, head = json.dumps({**body, "stream": True}), {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", asked, head)
            answer = connection.getresponse()
            busy = answer.status in _BUSY
            assert busy or answer.status == 200, answer.read()[:300]
            for line in answer:
                said = line.decode().removeprefix("data: ").strip()
                if busy or not said.startswith("{"):
                    continue
                told = json.loads(said)
                if "error" in told:
                    busy = told["error"].get("code") in _BUSY
                    assert busy, told
                for choice in told.get("choices") or ():
                    if choice["delta"].get("content"):
                        first = first or time.monotonic() - start
                        pieces += 1
        if not busy:
            return first, pieces, refused
        time.sleep(_AGAIN)
    raise RuntimeError("it was busy all the time")


def crowd(port, bodies, spent):
    """All at once: seconds and process seconds by token, and the median and longest time to the first token."""
    before, start, found = spent(), time.monotonic(), []
    threads = [threading.Thread(target=lambda body=body: found.append(streamed(port, body, start))) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    firsts = [first for first, *_ in found if first is not None]
    pieces = sum(n for _, n, _ in found)
    assert len(found) == len(bodies), "a request failed"
    return {
        "tokens": pieces, "refused": sum(n for *_, n in found),
        "cpu_seconds_per_token": (spent() - before) / pieces, "seconds_per_token": seconds / pieces,
        "first_token_seconds": statistics.median(firsts), "last_first_token_seconds": max(firsts),
    }  # fmt: skip


def chats(texts, tokens, steerings):
    how = {"max_tokens": tokens, "temperature": 0}
    return [
        {"messages": [{"role": "user", "content": text}], **how, **({} if s is None else {"steering": s})}
        for text, s in zip(texts, steerings, strict=True)
    ]  # fmt: skip


@contextlib.contextmanager
def our_server(model, limits):
    """Our server of a model without a run; requests bring their vectors."""
    rows = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(1))
    vectors = SteeringVectors.from_raw({"any": rows}, torch.full((model.n_layers,), NORM))
    shelf = Shelf((Served(vectors, {}, {"any": "is of no run"}),))
    encoder, scoring = replica(model), replica(model)
    with socket.socket() as sock, Engine(model, limits) as engine:
        sock.bind(("127.0.0.1", 0))
        desk = Desk(model, shelf, scoring, encoder, engine, threading.Lock())
        server = server_of(make_app(Service(model, encoder, shelf, engine, (), "bench", desk)), host="", port=0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.05)
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


@contextlib.contextmanager
def saklas_server(python, folder, home):
    """Saklas with the model: ``(leader of its session, port)``. What it fits is kept in ``home``, or nowhere."""
    command = str(Path(python).with_name("saklas"))
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as sock:
        environment = {**os.environ, "HOME": home or scratch, "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONPATH", None)
        quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": scratch}
        done = subprocess.run([command, "manifold", "fit", CONCEPT, "-m", folder], **quiet)
        if done.returncode:
            raise RuntimeError(f"it could not fit a direction: {done.stderr.decode()[-300:]}")
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        sock.close()
        quiet["stderr"] = subprocess.DEVNULL
        started = subprocess.Popen(
            [command, "serve", folder, "-p", "none", "--no-web", "-d", "cpu", "-H", "127.0.0.1", "-P", str(port)],
            start_new_session=True, **quiet,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 300
            while True:
                with contextlib.suppress(OSError):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    connection.request("GET", "/v1/models")
                    if connection.getresponse().status == 200:
                        break
                if started.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("its server did not start")
                time.sleep(0.5)
            yield started.pid, port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGTERM)
            started.wait(30)


def against_saklas(model, python, home, texts, tokens, repeats):
    """Both servers in turns, with the same requests."""
    generator = torch.Generator().manual_seed(0)
    units = torch.nn.functional.normalize(torch.randn(len(texts), model.d_model, generator=generator), dim=1)
    ours = [
        {"mine": {"alpha": 0.2 + n / 10, "vectors": {str(model.n_layers // 2): unit.tolist()}}}
        for n, unit in enumerate(units)
    ]
    theirs = [f"{0.1 + n / 50:.2f} {CONCEPT}" for n in range(len(texts))]
    limits = Limits(rows=len(texts), queue=len(texts), seconds=3600)
    found = {"ours": [], "saklas": []}
    with our_server(model, limits) as here, saklas_server(python, str(model.source), home) as (pid, there):
        arms = {
            "ours": (here, chats(texts, tokens, ours), time.process_time),
            "saklas": (there, chats(texts, tokens, theirs), lambda: session_seconds(pid)),
        }
        for port, bodies, _ in arms.values():
            streamed(port, {**bodies[0], "max_tokens": 4}, 0.0)  # warms up
        for _ in range(repeats):
            for name, (port, bodies, spent) in arms.items():
                found[name].append(crowd(port, bodies, spent))
    best = {name: min(rows, key=lambda row: row["cpu_seconds_per_token"]) for name, rows in found.items()}
    return {
        **best, "dtype": str(model.dtype).removeprefix("torch."),
        **{
            f"saklas_over_ours_{what}": best["saklas"][what] / best["ours"][what]
            for what in ("cpu_seconds_per_token", "seconds_per_token", "first_token_seconds")
        },
    }  # fmt: skip


def with_vllm(model, python, arms, repeats):
    """The same texts by vLLM with our plugin, together: steered, and unsteered in the same vLLM."""
    service = Vllm(python, model, dtype=str(model.dtype).removeprefix("torch."), rows=16, longest=512)
    cpu, clock, firsts = ({name: [] for name in arms} for _ in range(3))
    with service as client:
        for turn in range(repeats + 1):
            for name, tasks in arms.items():
                before, start, seen = session_seconds(service.pid), time.monotonic(), {}

                def news(place, token, _row, start=start, seen=seen):
                    if token is not None:
                        seen.setdefault(place, time.monotonic() - start)

                rows = Asking(client, model, tasks).run(news)
                assert all(row.reason == "length" for row in rows), [row.error for row in rows if row.error][:1]
                if turn:  # the first warms up
                    cpu[name].append(session_seconds(service.pid) - before)
                    clock[name].append(time.monotonic() - start)
                    firsts[name].append(statistics.median(seen.values()))
    return {
        "dtype": service.dtype, "cpu_seconds": {name: min(times) for name, times in cpu.items()},
        "seconds": {name: min(times) for name, times in clock.items()},
        "steered_over_unsteered": min(cpu["together"]) / min(cpu["unsteered"]),
        "first_token_seconds": {name: min(times) for name, times in firsts.items()},
    }  # fmt: skip


def peer(python, name, measure):
    """What a peer was measured at, or why it was not."""
    if python is None:
        return {"left_out": f"--{name} names no Python of an environment with it"}
    try:
        return measure()
    except (OSError, RuntimeError) as error:
        return {"left_out": str(error)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--saklas", help="Python of an environment with saklas")
    parser.add_argument("--saklas-home", help="folder in which saklas keeps what it fits, for another time")
    parser.add_argument("--vllm", help="Python of an environment with vLLM and our plugin")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    loaded = load_model(options.model)
    model = writing_model(loaded)
    texts = [p.text for p in load_prompts("continuations")[: options.requests]]
    how = Sampling(max_new_tokens=options.tokens, min_new_tokens=options.tokens)
    generator = torch.Generator().manual_seed(0)
    site = Site("resid_post", model.n_layers // 2)
    plain, steered = [], []
    for number, ids in enumerate(model.encode(texts).ids):
        unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=generator), dim=0)
        edit = Add(site=site, vector=unit, alpha=2.0 + number, positions=REST)
        plain.append(Task(ids=ids, sampling=how))
        steered.append(Task(ids=ids, sampling=how, interventions=(edit,), along=(Along(site, unit),)))
    arms = {"together": (steered, True), "one after another": (steered, False), "unsteered": (plain, True)}
    seconds, firsts = {name: [] for name in arms}, []
    limits = Limits(rows=options.requests, queue=options.requests, seconds=3600)
    with Engine(model, limits) as engine:
        written(engine, steered[:2], True)  # warms up
        for _ in range(options.repeats):
            for name, (tasks, together) in arms.items():
                spent, first = written(engine, tasks, together)
                seconds[name].append(spent)
                if name == "together":
                    firsts.append(first)
    # The least, not the median: what others do on the machine only ever adds.
    best = {name: min(times) for name, times in seconds.items()}
    result = {
        "seconds": best,
        "speedup": best["one after another"] / best["together"],
        "steered_over_unsteered": best["together"] / best["unsteered"],
        "first_token_seconds": min(firsts),
        "saklas": peer(
            options.saklas, "saklas",
            lambda: against_saklas(loaded, options.saklas, options.saklas_home, texts, options.tokens, options.repeats),
        ),
        "vllm": peer(
            options.vllm, "vllm",
            lambda: with_vllm(loaded, options.vllm, {"together": steered, "unsteered": plain}, options.repeats),
        ),
        "bars": {"speedup": ">= 4", "steered_over_unsteered": "<= 1.05"},
    }  # fmt: skip
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, spent in best.items():
        print(f"{name:26} {spent:7.2f} s")
    print(f"{options.requests} together               {result['speedup']:7.2f} x (bar: at least 4)")
    print(f"steered / unsteered        {result['steered_over_unsteered']:7.2f}   (bar: at most 1.05)")
    print(f"first token, by the clock  {result['first_token_seconds']:7.2f} s")
    for name in ("saklas", "vllm"):
        print(f"{name}: {json.dumps(result[name], indent=2)}")


if __name__ == "__main__":
    main()
