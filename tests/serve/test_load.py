"""Thousands of requests of every kind at once: none is lost, none gets another's text, and the server stays as large as it was.

The server is a process of its own, so that its memory is its own. Each request's text is known beforehand: the same request was
answered alone, and completions by :func:`generate` in this process as well.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from emotion_circuits.model import Sampling, generate, load_model
from emotion_circuits.serve.vectors import of_run
from emotion_circuits.steering.injecting import layer_interventions
from serve_cases import tiny_run

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read from /proc")

SERVER = """
import sys, time
from emotion_circuits.model import load_model
from emotion_circuits.serve.engine import Limits
from emotion_circuits.serve.guarding import Bounds
from pathlib import Path
from serve_cases import Signs, serving
run = Path(sys.argv[1])
bounds = Bounds(body=20_000, seconds=float(sys.argv[2]), per_minute=10_000_000)
with serving(
    load_model(str(run.parent / "tiny-chat")), run, judge=Signs(), limits=Limits(rows=16, queue=4), bounds=bounds
) as (_, port):
    print(port, flush=True)
    sys.stdin.read()
"""
CLIENTS = 28
"""At once; more than are written and may wait, so that some are sent away."""
LENGTH = 8
"""Tokens of a text that is compared."""
PATIENCE = 60.0
"""Seconds for a body while it is found out how fast this machine is."""
GROWTH = 16 * 2**20
"""Bytes by which the server may have grown from request 2,000 to request 10,000: 2 KiB for each."""
BROKEN = (
    (b"{", 400), (b"", 400), (b"[]", 400), (b'{"prompt": "\xff\xfe"}', 400), (b'{"prompt": "\\ud800"}', 400),
    (b'{"prompt": "x", "prompt": "y"}', 400), (b'{"prompt": "x", "temperature": NaN}', 400), (b"[" * 9000, 400),
    (b'{"prompt": "x", "steering": {"grief": 1}}', 400), (b'{"prompt": "x", "steering": {"gratitude": Infinity}}', 400),
    (b'{"prompt": "x", "suffix": "y"}', 400), (b'{"prompt": "' + b"a" * 30_000 + b'"}', 413),
)  # fmt: skip
STEERINGS = (
    {}, {"gratitude": 0.3}, {"gratitude": 1.0}, {"gratitude": -0.5}, {"apology": 0.4}, {"gratitude": 0.5, "apology": -0.3},
    {"anger": {"alpha": 1.5, "layers": [0, 2], "when": "generated", "positions": "all"}},
    {"gratitude": {"dose": 1.0, "gate": {"value": "anger", "above": 0.0}}},
    {"mine": {"alpha": 2.0, "vectors": {"1": [0.6, -0.8, *[0.0] * 30]}}},
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("load"))


@contextlib.contextmanager
def server_of(run, seconds):
    """A server's process that waits so long for bodies: ``(pid, port)``."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(run), str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        yield started.pid, int(started.stdout.readline())
        assert started.poll() is None
    finally:
        started.stdin.close()
        try:
            started.wait(30)
        finally:
            started.kill()
            started.wait()
            started.stdout.close()


# -- a client that can misbehave ---------------------------------------------------------------------------------------------


def head_of(port, path, length):
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def answer_of(reader):
    """``(status, headers, body)``; chunks are put together."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
    if "content-length" in headers:
        return int(lines[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return int(lines[0].split()[1]), headers, body


@contextlib.asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def told(path, body):
    """What must be the same whenever it is asked: texts, or readings."""
    if path == "/v1/readings":
        return json.dumps([[row["label"], {k: round(v, 3) for k, v in row["scores"].items()}] for row in body["data"]])
    if path == "/v1/tone":
        return json.dumps([body["text"], body["stopped"], body["doses"]])
    choices = sorted(body["choices"], key=lambda c: c["index"])
    return json.dumps([c["message"]["content"] if "message" in c else c["text"] for c in choices])


def streamed(raw):
    """Pieces put together, as :func:`told` tells whole answers; an error is raised."""
    lines = [line.removeprefix("data: ") for line in raw.decode().split("\n\n") if line]
    assert lines.pop() == "[DONE]", lines[-1:]
    texts = collections.defaultdict(str)
    for chunk in map(json.loads, lines):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "") if "delta" in choice else choice["text"]
    return json.dumps([texts[i] for i in sorted(texts)])


@dataclass(frozen=True)
class Known:
    """A request and what it is answered."""

    path: str
    body: dict
    answer: str


class Crowd:
    """All clients, and what they saw."""

    def __init__(self, pid, port, known, seed, *, leaving_out=()):
        self.pid, self.port, self.known, self.random = pid, port, known, random.Random(seed)
        self.seen, self.wrong, self.sent, self.leaving_out = collections.Counter(), [], 0, leaving_out
        self.slowest = 0.0
        """Seconds that the slowest refusal of a body took, which waits for nothing but the body."""

    def _asked(self, kind):
        return self.random.choice([k for k in self.known if (k.path == "/v1/tone") == (kind == "tone")])

    def memory(self):
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def open_files(self):
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    async def requests(self, count):
        left = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client(left))

    async def _client(self, left):
        kinds = {
            "whole": 40, "stream": 20, "tone": 1, "broken": 12, "slow": 3, "too slow": 1, "cancelled": 8, "gone": 8, "mute": 2,
        }  # fmt: skip
        kinds = {kind: weight for kind, weight in kinds.items() if kind not in self.leaving_out}
        for _ in left:
            (kind,) = self.random.choices(list(kinds), list(kinds.values()))
            try:
                async with asyncio.timeout(120):
                    await getattr(self, f"_{kind.replace(' ', '_')}")()
            except (OSError, AssertionError, KeyError, ValueError, asyncio.IncompleteReadError) as error:
                self.wrong.append((kind, repr(error)[:300]))
            self.seen[kind] += 1

    async def _until_answered(self, one, *, stream=False, pieces=1):
        """Ask again whenever the queue is full, as a client does that is told when to come back."""
        body = json.dumps({**one.body, "stream": True} if stream else one.body).encode()
        size = -(-len(body) // pieces)
        while True:
            async with connected(self.port) as (reader, writer):
                self.sent += 1
                writer.write(head_of(self.port, one.path, len(body)))
                for start in range(0, len(body), size):
                    await writer.drain()
                    await asyncio.sleep(0.05 if pieces > 1 else 0)
                    writer.write(body[start : start + size])
                status, headers, found = await answer_of(reader)
            if status != 429:
                break
            assert int(headers["retry-after"]) >= 1
            assert json.loads(found)["error"]["code"] == "queue_full"
            self.seen["queue full"] += 1
            await asyncio.sleep(self.random.uniform(0.1, 0.5))
        assert status == 200, found
        answer = streamed(found) if stream else told(one.path, json.loads(found))
        assert answer == one.answer, (one.path, one.body, answer, one.answer)

    async def _whole(self):
        await self._until_answered(self._asked("whole"))

    async def _tone(self):
        await self._until_answered(self._asked("tone"))

    async def _slow(self):
        await self._until_answered(self._asked("whole"), pieces=4)

    async def _stream(self):
        one = self._asked("whole")
        await self._until_answered(one, stream=one.path != "/v1/readings")

    async def _broken(self):
        body, status = self.random.choice(BROKEN)
        start = time.monotonic()
        async with connected(self.port) as (reader, writer):
            self.sent += 1
            writer.write(head_of(self.port, "/v1/completions", len(body)) + body)
            found, _, said = await answer_of(reader)
        self.slowest = max(self.slowest, time.monotonic() - start)
        assert found == status, said
        assert json.loads(said)["error"]["message"]

    async def _too_slow(self):
        async with connected(self.port) as (reader, writer):
            self.sent += 1
            writer.write(head_of(self.port, "/v1/completions", 1000) + b'{"prompt": "It ')
            assert (await answer_of(reader))[0] == 408

    async def _cancelled(self):
        """Begins a long stream and leaves in the midst of it."""
        body = json.dumps({"prompt": "It rains", "max_tokens": 120, "temperature": 0, "stream": True}).encode()
        async with connected(self.port) as (reader, writer):
            self.sent += 1
            writer.write(head_of(self.port, "/v1/completions", len(body)) + body)
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(self.random.randrange(1, 2000))

    async def _gone(self):
        """Asks for a whole answer and does not wait for it."""
        one = self._asked("whole")
        body = json.dumps({**one.body, **({} if one.path == "/v1/readings" else {"max_tokens": 60})}).encode()
        async with connected(self.port) as (_, writer):
            self.sent += 1
            writer.write(head_of(self.port, one.path, len(body)) + body)
            await writer.drain()
            await asyncio.sleep(self.random.uniform(0, 0.05))

    async def _mute(self):
        async with connected(self.port) as (_, writer):
            writer.write(head_of(self.port, "/v1/completions", 10)[: self.random.randrange(60)])
            await writer.drain()


def posted(port, path, body):
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=120) as answer:
        return json.load(answer)


def figures(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(number) for name, number in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def settled(choices):
    """Whether every token was chosen by more than another size of batch could round away."""
    for choice in choices:
        told = choice["logprobs"]
        each = (
            [[alternative["logprob"] for alternative in token["top_logprobs"]] for token in told["content"]]
            if "content" in told
            else [list(top.values()) for top in told["top_logprobs"]]
        )
        if any(len(top) > 1 and abs(top[0] - top[1]) < 1e-3 for top in each):
            return False
    return True


def known_of(port, run, texts):
    """Requests of every path, with answers that no two of them share."""
    model, vectors, ranges = load_model(str(run.parent / "tiny-chat")), of_run(run).vectors, of_run(run).ranges
    how = {"max_tokens": LENGTH, "temperature": 0, "seed": 1}
    found = {}
    for number, steering in itertools.product(range(texts), STEERINGS):
        text = f"Number {number} of it"
        for path, body in (
            ("/v1/completions", {"prompt": text, "logprobs": 2}),
            ("/v1/completions", {"prompt": [text, f"And {text}"], "n": 2, "logprobs": 2}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "logprobs": True, "top_logprobs": 2}),
        ):  # fmt: skip
            answer = posted(port, path, {**body, **how, "steering": steering})
            without = {k: v for k, v in body.items() if "logprobs" not in k}
            if not settled(answer["choices"]):
                continue
            one = Known(path, {**without, **how, "steering": steering}, told(path, answer))
            found.setdefault(one.answer, one)
            if path == "/v1/completions" and "n" not in body and all(isinstance(d, float) for d in steering.values()):
                done = [
                    i for value, dose in steering.items() for i in layer_interventions(ranges[value].at(dose), vectors)
                ]
                (expected,) = generate(model, [text], Sampling(max_new_tokens=LENGTH), interventions=done)
                assert answer["choices"][0]["text"] == expected.text
    for number in range(5):
        body = {"input": [f"Number {number}", "Thank you"]}
        one = Known("/v1/readings", body, told("/v1/readings", posted(port, "/v1/readings", body)))
        found.setdefault(one.answer, one)
        body = {
            "messages": [{"role": "user", "content": f"Why {number}?"}], "targets": {"gratitude": 0.2 + 0.15 * number},
            "fluency": 50, "similarity": 0, "tries": 4, "n": 1, "max_tokens": 10, "temperature": 0,
        }  # fmt: skip
        one = Known("/v1/tone", body, told("/v1/tone", posted(port, "/v1/tone", body)))
        found.setdefault(one.answer, one)
    return list(found.values())


def crowded(run, count, seed, *, parts, texts):
    """So many requests, in so many parts; the crowd, and by part the memory and open files of the server."""
    with server_of(run, PATIENCE) as (pid, port):
        known = known_of(port, run, texts)
        rehearsal = Crowd(pid, port, known, seed, leaving_out=("too slow",))
        asyncio.run(rehearsal.requests(150))
        assert rehearsal.wrong == []
    # Bodies that come slowly must be in time where the machine is busy, too; those that never come wait so long in vain.
    seconds = 0.5 + 4 * rehearsal.slowest
    print(f"slowest refusal {rehearsal.slowest:.2f} s, so bodies may take {seconds:.2f} s", flush=True)
    with server_of(run, seconds) as (pid, port):
        kinds = collections.Counter(one.path for one in known)
        assert min(kinds[path] for path in ("/v1/completions", "/v1/chat/completions")) >= 2 * texts, kinds
        assert min(kinds[path] for path in ("/v1/readings", "/v1/tone")) >= 2, kinds
        crowd = Crowd(pid, port, known, seed)
        grown = []
        for _ in range(parts):
            asyncio.run(crowd.requests(count // parts))
            grown.append((crowd.memory(), crowd.open_files()))
            print(len(grown), grown[-1], dict(crowd.seen), crowd.wrong[:3], flush=True)
        asyncio.run(_idle(port))
        told = figures(port)
        assert (told["emotion_circuits_running"], told["emotion_circuits_waiting"]) == (0, 0)
        every = {name: n for name, n in told.items() if name.startswith("emotion_circuits_requests_total{")}
        assert sum(n for name, n in every.items() if "/metrics" not in name) == crowd.sent
        for one in known:
            assert told_again(port, one) == one.answer
    return crowd, grown


def told_again(port, one):
    return told(one.path, posted(port, one.path, one.body))


async def _idle(port):
    async with asyncio.timeout(60):
        while any(figures(port)[f"emotion_circuits_{name}"] for name in ("running", "waiting")):
            await asyncio.sleep(0.1)


def check(crowd, count):
    assert crowd.wrong == []
    assert sum(n for kind, n in crowd.seen.items() if kind != "queue full") == count
    assert crowd.seen["queue full"] > 0
    print(dict(crowd.seen), "sent:", crowd.sent)


def test_hundreds_of_requests_of_every_kind(run):
    crowd, _ = crowded(run, 300, 1, parts=1, texts=2)
    check(crowd, 300)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_requests_of_every_kind_leave_the_server_as_it_was(run):
    crowd, grown = crowded(run, 10_000, 2, parts=5, texts=7)
    print("MiB and files:", [(round(memory / 2**20, 1), files) for memory, files in grown])
    check(crowd, 10_000)
    assert grown[-1][0] - grown[0][0] < GROWTH
    assert max(files for _, files in grown) < grown[0][1] + CLIENTS
