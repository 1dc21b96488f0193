"""The command line in a process of its own, forked from one that has imported everything: imports take seconds, once."""

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "emotion_circuits.cli.app", "emotion_circuits.study", "emotion_circuits.model", "emotion_circuits.model.loading",
        "emotion_circuits.steering", "emotion_circuits.circuits", "emotion_circuits.report.study_page",
    ]
)  # fmt: skip


def _command(arguments, streams, environment, cwd, largest_file):
    for number, path in streams.items():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
    os.environ.clear()
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = ["emotion-circuits", *arguments]
    from emotion_circuits.cli import main

    main()


def call(*arguments, env=None, cwd=None, largest_file=None, timeout=300):
    """As ``subprocess.run(["emotion-circuits", *arguments], capture_output=True, text=True)``.

    Args:
        arguments: of the command.
        env: its environment; this process's by default.
        cwd: where it runs.
        largest_file: bytes a file may have, as ``ulimit -f`` has it.
        timeout: seconds.
    """
    given = [str(a) for a in arguments]
    with tempfile.TemporaryDirectory() as folder:
        streams = {1: f"{folder}/out", 2: f"{folder}/err"}
        environment = dict(os.environ if env is None else env)
        process = FORKS.Process(target=_command, args=(given, streams, environment, cwd, largest_file))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(given, timeout)
        out, err = (Path(path).read_text(encoding="utf-8") for path in streams.values())
    return subprocess.CompletedProcess(given, process.exitcode, out, err)
