"""What a hostile or broken client can send: raw sockets against a real server, which goes on answering the others."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import load_model
from emotion_circuits.serve import guarding
from emotion_circuits.serve.engine import Limits
from emotion_circuits.serve.guarding import Bounds
from emotion_circuits.serve.serving import service_of
from serve_cases import serving, tiny_run

KEY = "a-key-of-the-tests"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = tiny_run(tmp_path_factory.mktemp("attacks"))
    model = load_model(str(run.parent / "tiny-chat"))
    model.__dict__["eos_ids"] = ()  # it never ends a text, so that long ones are long
    return model, run


@pytest.fixture(scope="module")
def at(made):
    bounds = Bounds(body=20_000, seconds=0.6, per_minute=100_000)
    with serving(*made, bounds=bounds, limits=Limits(rows=2, queue=2)) as (service, port):
        yield service, port


def raw(port, data, *, wait=20.0, parts=1, pause=0.0):
    """Send bytes, in so many parts; what came back until the server closed or a whole answer was there."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as sock:
        size = -(-len(data) // parts)
        for start in range(0, len(data), size):
            try:
                sock.sendall(data[start : start + size])
            except OSError:
                break
            time.sleep(pause)
        return received(sock)


def received(sock):
    found = b""
    while True:
        try:
            part = sock.recv(65_536)
        except OSError:
            return found
        if not part:
            return found
        found += part
        head, _, body = found.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:") and len(body) >= int(line.split(b":")[1]):
                return found


def post(port, body, *, path="/v1/completions", headers=None, host=None, **how):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {
        "Host": host or f"127.0.0.1:{port}", "Content-Type": "application/json", "Content-Length": len(body),
        **(headers or {}),
    }  # fmt: skip
    head = "".join(f"{k}: {v}\r\n" for k, v in given.items())
    return raw(port, f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body, **how)


def get(port, path, headers=None):
    given = {"Host": f"127.0.0.1:{port}", **(headers or {})}
    head = "".join(f"{k}: {v}\r\n" for k, v in given.items())
    return raw(port, f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def error_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


GOOD = {"prompt": "It rains", "max_tokens": 3, "temperature": 0}


def whole(port):
    assert status(get(port, "/healthz")) == 200
    assert status(post(port, GOOD)) == 200


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"[]", 400, "valid dictionary"),
        (b'"x"', 400, "valid dictionary"),
        (b'{"prompt": "\xff\xfe"}', 400, "not UTF-8"),
        (b'{"prompt": "\\ud800"}', 400, "half of a character"),
        (b'{"prompt": "x", "prompt": "y"}', 400, "twice"),
        (b'{"prompt": "x", "temperature": NaN}', 400, "NaN"),
        (b'{"prompt": "x", "temperature": 1e999}', 400, ""),
        (b'{"prompt": "x", "steering": {"gratitude": Infinity}}', 400, ""),
        (b'{"prompt": "x", "steering": {"gratitude": -1e400}}', 400, ""),
        (b'{"prompt": "x", "seed": 99999999999999999999999999999999}', 400, ""),
        (b"[" * 9000, 400, ""),
        (b'{"prompt": ' + b'[{"a":' * 1500, 400, ""),
        (b'{"prompt": {"a": ' + b"[" * 70 + b"]" * 70 + b"}}", 400, "nested"),
        (b'{"prompt": "x"} trailing', 400, ""),
        (b'{"prompt": "' + b"a" * 30_000 + b'"}', 413, "larger than"),
    ],
)
def test_bodies_that_are_no_requests(at, body, code, said):
    answer = post(at[1], body)
    assert status(answer) == code
    error = error_of(answer)
    assert said in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    whole(at[1])


def test_a_body_that_says_less_than_it_sends_is_counted_as_it_comes(at):
    port = at[1]
    chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    answer = raw(port, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 4)
    assert status(answer) == 413
    whole(port)


def test_a_slow_body_is_not_waited_for(at):
    port = at[1]
    start = time.monotonic()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    answer = raw(port, head.encode() + b"Content-Length: 1000\r\n\r\n{")
    assert status(answer) == 408
    assert time.monotonic() - start < 15
    whole(port)


def test_a_connection_that_says_nothing_is_closed(made, monkeypatch):
    monkeypatch.setattr(guarding, "_HEADERS_S", 0.3)
    with serving(*made) as (_, port):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"POST /v1/completions HT")
            assert received(sock) == b""
        whole(port)


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00" * 50, b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n", b"A" * 70_000])
def test_what_is_no_http_is_answered_or_closed(at, data):
    answer = raw(at[1], data, wait=3)
    assert status(answer) in (None, 400, 403)
    whole(at[1])


def test_many_connections_at_once_and_none_is_lost(at):
    port = at[1]
    held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
    try:
        whole(port)
    finally:
        for sock in held:
            sock.close()
    whole(port)


@pytest.mark.parametrize("path", ["/studio/x", "/v1", "/docs", "/openapi.json", "/v1/../etc/passwd", "/metrics/x"])
def test_there_is_nothing_else(at, path):
    answer = get(at[1], path)
    assert status(answer) == 404
    assert "message" in error_of(answer)


# -- pages of others ---------------------------------------------------------------------------------------------------


def test_other_origins_get_no_answer_and_no_leave(at):
    port = at[1]
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = post(port, GOOD, headers=headers)
        assert status(answer) == 403
        assert b"access-control" not in answer.lower()
    assert status(post(port, GOOD, headers={"Content-Type": "text/plain"})) == 415
    assert status(post(port, GOOD, host="evil.example")) == 403
    assert b"access-control" not in post(port, GOOD).lower()
    assert status(post(port, GOOD, headers={"Origin": f"http://127.0.0.1:{port}"})) == 200


def test_a_page_in_a_text_stays_text(at):
    answer = post(at[1], {**GOOD, "prompt": "<script>alert(1)</script>"})
    assert status(answer) == 200
    assert b"content-type: application/json" in answer.lower()
    assert b"text/html" not in answer.lower()


# -- keys and rates ----------------------------------------------------------------------------------------------------


def test_without_the_key_nothing_but_health_is_answered_and_no_log_holds_a_text(made, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    # A command that ran in this process before keeps the package's notes to itself.
    for name in ("emotion_circuits", "uvicorn", "uvicorn.access", "uvicorn.error"):
        caplog.set_level(logging.DEBUG, logger=name)
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    with serving(*made, key=KEY) as (_, port):
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": KEY},
            {"Authorization": "Bearer \xff"},
        ):
            answer = post(port, GOOD, headers=headers)
            assert status(answer) == 401
        assert error_of(post(port, GOOD))["code"] == "invalid_api_key"
        assert status(get(port, "/metrics")) == 401
        assert status(get(port, "/healthz")) == 200
        assert status(post(port, {**GOOD, "prompt": "sesame"}, headers={"Authorization": f"Bearer {KEY}"})) == 200
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("emotion_circuits", "uvicorn"))]
    assert any("/v1/completions" in line for line in ours)
    assert not any(KEY in line or "sesame" in line for line in ours)


def test_beyond_this_machine_a_key_is_required(made):
    for host in ("0.0.0.0", "::", "192.168.0.7"):
        with pytest.raises(EmotionCircuitsError, match="a key is required"), service_of(made[0], [made[1]], host=host):
            pass
    with (
        pytest.raises(EmotionCircuitsError, match="8 or more"),
        service_of(made[0], [made[1]], host="0.0.0.0", key="short"),
    ):
        pass


def test_more_requests_than_allowed_are_told_when_to_come_back(made):
    with serving(*made, bounds=Bounds(per_minute=5)) as (_, port):
        answers = [get(port, "/v1/models") for _ in range(8)]
        assert [status(a) for a in answers[:5]] == [200] * 5
        assert status(answers[-1]) == 429
        assert b"retry-after:" in answers[-1].lower()
        assert status(get(port, "/healthz")) == 200


# -- the queue ---------------------------------------------------------------------------------------------------------

LONG = {"prompt": "It rains", "max_tokens": 900, "temperature": 0, "n": 2, "stream": True}


def filled(service, port):
    """Requests whose rows fill the batch and the queue: two of two rows each, sent and not read."""
    held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(2)]
    for sock in held:
        body = json.dumps(LONG).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        sock.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    deadline = time.monotonic() + 20
    while (service.engine.running, service.engine.waiting) != (2, 2) and time.monotonic() < deadline:
        time.sleep(0.001)
    return held


def test_a_full_queue_says_when_and_those_who_leave_make_room(at):
    service, port = at
    # The tiny model may be through with its long texts before the next request has arrived: then it is tried again.
    for _ in range(5):
        held = filled(service, port)
        try:
            answer = post(port, GOOD)
        finally:
            for sock in held:
                sock.close()
        if status(answer) == 429:
            break
    assert status(answer) == 429
    assert error_of(answer)["code"] == "queue_full"
    assert b"retry-after:" in answer.lower()
    deadline = time.monotonic() + 20
    while (service.engine.running or service.engine.waiting) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (service.engine.running, service.engine.waiting) == (0, 0)
    whole(port)


def test_who_does_not_wait_for_a_whole_answer_leaves_the_batch_too(at):
    service, port = at
    body = json.dumps({**LONG, "stream": False}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        deadline = time.monotonic() + 20
        while not service.engine.running and time.monotonic() < deadline:
            time.sleep(0.005)
    written = service.engine.tokens_written
    deadline = time.monotonic() + 20
    while service.engine.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.engine.running == 0
    assert service.engine.tokens_written - written < 2 * 900
    whole(port)


def test_what_takes_too_long_is_ended(made):
    with serving(*made, limits=Limits(seconds=0.2)) as (_, port):
        answer = post(port, {**LONG, "stream": False, "max_tokens": 1000})
        assert status(answer) == 504
        assert error_of(answer)["code"] == "timeout"


def test_more_than_is_ever_written_at_once_is_refused(at):
    answer = post(at[1], {**GOOD, "n": 3})
    assert status(answer) == 400
    assert "2 texts" in error_of(answer)["message"]


def test_figures_for_prometheus(at):
    whole(at[1])
    post(at[1], b"{")
    body = get(at[1], "/metrics").partition(b"\r\n\r\n")[2].decode()
    samples = dict(line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
    assert float(samples['emotion_circuits_requests_total{path="/v1/completions",status="200"}']) >= 1
    assert float(samples['emotion_circuits_requests_total{path="/v1/completions",status="400"}']) >= 1
    assert float(samples['emotion_circuits_tokens_total{kind="written"}']) >= 3
    assert samples["emotion_circuits_running"] == "0"
    assert float(samples['emotion_circuits_request_seconds_bucket{le="+Inf"}']) == float(
        samples["emotion_circuits_request_seconds_count"]
    )


def test_mixed_clients_each_get_their_own_answer(at):
    port = at[1]
    expected = {i: post(port, {**GOOD, "prompt": f"Number {i}"}) for i in range(4)}
    texts = {i: json.loads(a.partition(b"\r\n\r\n")[2])["choices"][0]["text"] for i, a in expected.items()}
    wrong = []

    def good(i):
        for _ in range(40):
            answer = post(port, {**GOOD, "prompt": f"Number {i % 4}"})
            if status(answer) == 200:
                break
            time.sleep(0.1)
        if json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["text"] != texts[i % 4]:
            wrong.append(i)

    def broken(i):
        post(port, [b"{", b"\xff", b'{"prompt": 1}', b""][i % 4])

    threads = [threading.Thread(target=good if i % 2 else broken, args=(i // 2,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
