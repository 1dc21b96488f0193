"""What holds for every station whose work is kept in parts: killed, damaged, run twice at once or by workers, the same bytes."""

import multiprocessing
import random
import signal
import time

import pytest
import torch
from filelock import FileLock, Timeout

from computing import flip
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.replicas import torch_threads
from emotion_circuits.record.engines.inline import Inline
from emotion_circuits.record.engines.processes import Processes
from emotion_circuits.record.parts import PARTS
from station_cases import STATIONS, artefacts, committed, prepared, run
from study_cases import save_tiny

NAMES = list(STATIONS)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stations")
    save_tiny(folder / "tiny")
    prepared(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(root):
    found = {}

    def of(name):
        if name not in found:
            out = root / name.replace(" ", "-")
            run(name, root, out)
            assert not (out / PARTS).exists()
            found[name] = artefacts(out)
        return found[name]

    return of


@pytest.fixture(scope="module")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["station_cases"])
    return context


def held(path):
    """Whether a living process holds this lock."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


class Interrupted:
    """This process, interrupted after so many parts."""

    def __init__(self, after):
        self.after, self.done = after, 0

    def run(self, compute, parts):
        for part, result in Inline().run(compute, parts):
            yield part, result
            self.done += 1
            if self.done == self.after:
                raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_killed_five_times_at_random_it_ends_in_the_same_bytes(name, root, undisturbed, tmp_path, forks):
    expected, rng, kills, folders = undisturbed(name), random.Random(NAMES.index(name)), 0, 0
    while kills < 5:
        out, exitcode = tmp_path / f"run-{folders}", None
        while exitcode != 0:
            process = forks.Process(target=run, args=(name, root, out, None, 0.02))
            process.start()
            if kills < 5:
                # The first parts there, or one more, or two; and somewhere in computing or committing the next.
                wanted = len(committed(out)) + rng.randrange(3)
                while process.is_alive() and len(committed(out)) < wanted:
                    time.sleep(0.002)
                process.join(rng.uniform(0, 0.08))
                process.kill()
            process.join()
            exitcode = process.exitcode
            assert exitcode in (0, -signal.SIGKILL)
            kills += exitcode != 0
        assert artefacts(out) == expected
        folders += 1


@pytest.mark.parametrize("name", NAMES)
def test_flipped_bits_in_its_parts_are_noticed_and_computed_anew(name, root, undisturbed, tmp_path, caplog):
    expected, rng = undisturbed(name), random.Random(7)
    with pytest.raises(KeyboardInterrupt):
        run(name, root, tmp_path, Interrupted(3))
    assert len(committed(tmp_path)) == 3
    for path in committed(tmp_path)[:2]:
        flip(path, rng)
    run(name, root, tmp_path)
    assert caplog.text.count("is damaged") == 2
    assert artefacts(tmp_path) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_second_process_is_refused_and_harms_nothing(name, root, undisturbed, tmp_path, forks):
    process = forks.Process(target=run, args=(name, root, tmp_path, None, 60.0))
    process.start()
    while process.is_alive() and not any(held(lock) for lock in tmp_path.rglob(".lock")):
        time.sleep(0.01)
    with pytest.raises(EmotionCircuitsError, match=f"another process is working on this {name}"):
        run(name, root, tmp_path)
    process.kill()
    process.join()
    run(name, root, tmp_path)
    assert artefacts(tmp_path) == undisturbed(name)


@pytest.fixture(scope="module")
def two():
    with Processes(2) as workers:
        yield workers


@pytest.mark.parametrize("name", NAMES)
def test_two_workers_give_the_same_bytes(name, root, undisturbed, tmp_path, two):
    with pytest.raises(KeyboardInterrupt):
        run(name, root, tmp_path, Interrupted(2))  # begun in this process, gone on with by workers
    run(name, root, tmp_path, two)
    assert artefacts(tmp_path) == undisturbed(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_killed_with_its_workers_it_ends_in_the_same_bytes(name, root, undisturbed, tmp_path, forks):
    process = forks.Process(target=run, args=(name, root, tmp_path, "processes", 0.05))
    process.start()
    while process.is_alive() and not committed(tmp_path):
        time.sleep(0.002)
    process.join(random.Random(NAMES.index(name)).uniform(0, 0.2))
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    run(name, root, tmp_path)
    assert artefacts(tmp_path) == undisturbed(name)


class Murderous:
    """Workers, of which one is killed after each of the first parts, whatever it is doing."""

    def __init__(self, workers, kills):
        self.workers, self.kills, self.rng = workers, kills, random.Random(3)

    def run(self, compute, parts):
        for part, result in self.workers.run(compute, parts):
            yield part, result
            if self.kills:
                self.rng.choice(sorted(multiprocessing.active_children(), key=lambda p: p.pid)).kill()
                self.kills -= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_workers_killed_at_random_it_ends_in_the_same_bytes(name, root, undisturbed, tmp_path):
    # Workers of its own, so that no others are among this process's children.
    with Processes(2) as workers:
        run(name, root, tmp_path, Murderous(workers, 2))
    assert artefacts(tmp_path) == undisturbed(name)


@pytest.mark.parametrize("name", NAMES)
def test_with_more_threads_too_the_engine_does_not_show(name, root, tmp_path, two):
    before = torch.get_num_threads()
    for out, engine in ((tmp_path / "inline", None), (tmp_path / "workers", two), (tmp_path / "cut", Interrupted(3))):
        with torch_threads(2):
            if isinstance(engine, Interrupted):
                with pytest.raises(KeyboardInterrupt):
                    run(name, root, out, engine)
                engine = None
            run(name, root, out, engine)
        assert artefacts(out) == artefacts(tmp_path / "inline")
    assert torch.get_num_threads() == before
