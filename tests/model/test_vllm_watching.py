"""What vLLM's plugin does when the program that started it is killed: real processes, each killed for good."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from emotion_circuits_vllm.watching import WATCHED
from vllm_cases import NEEDED, saved_tiny

psutil = pytest.importorskip("psutil")
ROOT = Path(__file__).parents[2]

# As the service starts vLLM: in a session of its own, the pipe its standard input. It starts a process in turn, as vLLM does.
SERVER = """
import subprocess, sys, time
from emotion_circuits_vllm.watching import watch
of_it = "import time; from emotion_circuits_vllm.watching import watch; watch(); time.sleep(300)"
child = subprocess.Popen([sys.executable, "-c", of_it])
print(watch(), child.pid, flush=True)
time.sleep(300)
"""  # fmt: skip
PARENT = """
import os, subprocess, sys, time
held, kept = os.pipe()
if {forks} and os.fork() == 0:
    time.sleep(300)  # holds the other end of the pipe, too
server = subprocess.Popen(
    [sys.executable, "-c", {server!r}], stdin=held, stdout=subprocess.PIPE, text=True, start_new_session=True,
    env=dict(os.environ, {watched}=str(os.fstat(held).st_ino)),
)
print(server.pid, server.stdout.readline().split()[1], flush=True)
time.sleep({lives})
"""


def until_gone(pids, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(lives, pids)):
        time.sleep(0.1)
    return [pid for pid in pids if lives(pid)]


def lives(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def parent_of(code, **environment):
    """A program in a group of its own, of which nothing is left behind."""
    started = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait(30)
        started.stdout.close()


def paths():
    return os.pathsep.join([str(ROOT / "plugins/vllm/src"), str(ROOT / "tests"), *filter(None, sys.path)])


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_all_that_was_started_ends_with_a_parent_that_was_killed_or_ended(how, forks):
    code = PARENT.format(server=SERVER, watched=WATCHED, lives=300 if how == "killed" else 1, forks=forks)
    with parent_of(code, PYTHONPATH=paths()) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(lives, pids))
        if how == "killed":
            time.sleep(2.5)
            assert all(map(lives, pids))  # as long as the parent lives, so do they
            os.kill(parent.pid, signal.SIGKILL)
        assert until_gone(pids, 20) == []


def test_nobody_who_was_not_asked_to_watch_does():
    code = "from emotion_circuits_vllm.watching import watch; print(watch())"
    held, kept = os.pipe()
    try:
        for pipe, asked in ((held, None), (held, "1"), (subprocess.DEVNULL, str(os.fstat(held).st_ino))):
            environment = {**os.environ, "PYTHONPATH": paths(), **({} if asked is None else {WATCHED: asked})}
            done = subprocess.run(
                [sys.executable, "-c", code], stdin=pipe, capture_output=True, text=True, env=environment, check=True
            )
            assert done.stdout == "False\n"
    finally:
        os.close(held)
        os.close(kept)


@NEEDED
@pytest.mark.timeout(600)
def test_vllm_and_its_own_processes_end_with_a_parent_that_was_killed(tmp_path):
    saved_tiny("llama", tmp_path / "llama")
    code = f"""
        import time
        from emotion_circuits.model import load_model
        from vllm_cases import service_of
        service = service_of(load_model({str(tmp_path / "llama")!r}, dtype="float32"))
        with service as client:
            print(service.pid, flush=True)
            time.sleep(600)
    """
    with parent_of(code, PYTHONPATH=paths()) as parent:
        first = psutil.Process(int(parent.stdout.readline()))
        family = [first, *first.children(recursive=True)]
        assert len(family) > 1  # vLLM's engine is a process of its own
        time.sleep(2.5)
        assert all(lives(p.pid) for p in family)
        os.kill(parent.pid, signal.SIGKILL)
        assert until_gone([p.pid for p in family], 30) == []
