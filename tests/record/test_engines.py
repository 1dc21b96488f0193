"""Where parts are computed shows in nothing: not in what comes back, not when a worker is killed."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from computing import (
    TASKS,
    always_killed,
    failing,
    files,
    gone,
    ground,
    killed_once,
    noted,
    same,
    states,
    tables,
    tensors,
    threads,
    whole,
    with_ground,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Add, Site, intervene, load_model
from emotion_circuits.model.replicas import torch_threads
from emotion_circuits.model.source import ModelSource
from emotion_circuits.record.engines import ENGINES, Compute, engine
from emotion_circuits.record.engines.inline import Inline
from emotion_circuits.record.engines.processes import Processes
from emotion_circuits.record.parts import cut
from families import tiny_model
from study_cases import save_tiny

PARTS = cut({}, TASKS)
# A worker that is begun loads torch and transformers first: tests that begin many take long.
many_workers = pytest.mark.slow


@pytest.fixture(scope="module")
def two():
    with Processes(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_model(save_tiny(tmp_path_factory.mktemp("engines") / "tiny"))


def computed(where, compute, parts=PARTS):
    found = [(part.index, result) for part, result in where.run(compute.settled(len(parts)), parts)]
    assert sorted(index for index, _ in found) == [part.index for part in parts]
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def test_engines_by_name():
    assert isinstance(engine(), Inline)
    assert isinstance(engine("inline"), Inline)
    made = engine("processes", workers=3)
    assert isinstance(made, Processes)
    assert made.workers == 3
    assert engine("processes").workers >= 1
    for name, workers, words in (
        ("dask", None, "'dask' is unknown; choose from inline, processes, ray, slurm"),
        ("inline", 2, "has no workers"),
        ("processes", 0, "must be 1 or more"),
    ):
        with pytest.raises(EmotionCircuitsError, match=words):
            engine(name, workers=workers)
    assert ENGINES == ("inline", "processes", "ray", "slurm")


@pytest.mark.parametrize("function", [tensors, tables], ids=["tensors", "tables"])
def test_both_engines_give_the_same_and_the_same_bytes(function, two, tmp_path):
    form = function.__name__
    for a, b in zip(computed(Inline(), Compute(function, 7)), computed(two, Compute(function, 7)), strict=True):
        same(a, b)
    whole(tmp_path / "inline", form)
    whole(tmp_path / "processes", form, engine=two)
    assert files(tmp_path / "inline") == files(tmp_path / "processes")


def test_what_parts_stand_on_is_made_once_per_place(two, tmp_path):
    found = computed(two, Compute(with_ground, tmp_path, prepare=ground))
    assert len({int(r["pid"]) for r in found}) <= 2
    pids = (tmp_path / "grounds").read_text().split()
    assert len(pids) == len(set(pids)) <= 2
    assert os.getpid() not in map(int, pids)
    inline = computed(Inline(), Compute(with_ground, tmp_path, prepare=ground))
    assert (tmp_path / "grounds").read_text().split()[len(pids) :] == [str(os.getpid())]
    assert all(torch.equal(a["ground"], b["ground"]) for a, b in zip(found, inline, strict=True))
    assert list(Inline().run(Compute(with_ground, tmp_path, prepare=ground), [])) == []


# -- killed ------------------------------------------------------------------------------------------------------------


def test_a_killed_worker_costs_its_part_and_no_other(two, tmp_path, caplog):
    found = computed(two, Compute(killed_once, tmp_path))
    assert (tmp_path / "killed").exists()
    assert "the worker of part 4 was killed by signal 9; the part is computed again" in caplog.text
    for a, b in zip(found, computed(Inline(), Compute(tensors, 0)), strict=True):
        same(a, b)
    begun = sorted(int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines())
    assert begun == list(range(12))


def test_a_worker_killed_while_idle_is_replaced(two, tmp_path):
    computed(two, Compute(noted, tmp_path))
    for pid in {int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()}:
        os.kill(pid, signal.SIGKILL)
    computed(two, Compute(noted, tmp_path))


@many_workers
def test_workers_killed_at_random_the_bytes_are_the_same(two, tmp_path):
    whole(tmp_path / "whole", function=tensors, seed=0)

    class Murderous:
        """Kills the worker that has computed the last part, which is computing another one by now."""

        def run(self, compute, parts):
            seen, killed = 0, set()
            for part, result in two.run(compute, parts):
                yield part, result
                pids = [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()]
                for pid in pids[seen:]:
                    if len(killed) < 4 and pid not in killed:
                        killed.add(pid)
                        os.kill(pid, signal.SIGKILL)
                seen = len(pids)
            assert len(killed) >= 3

    whole(tmp_path / "cut", function=noted, seed=tmp_path, engine=Murderous())
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@many_workers
def test_a_part_that_kills_every_worker_is_given_up_and_the_others_are_kept(two, tmp_path):
    with pytest.raises(
        EmotionCircuitsError,
        match=r"part 4 \(\[4, 7\]\) was begun 3 times, and each time its worker was killed by signal 9",
    ):
        whole(tmp_path / "work", function=always_killed, seed=tmp_path, engine=two)
    assert len(list(tmp_path.glob("begun-*"))) == 3
    assert len(list((tmp_path / "work").glob("part-*"))) >= 4


@many_workers
def test_workers_that_end_before_they_compute_anything_are_explained():
    with Processes(1) as workers, pytest.raises(EmotionCircuitsError, match=r"exit code 7.*__name__ == \"__main__\""):
        computed(workers, Compute(gone, None))


def test_an_error_of_a_part_is_the_one_that_is_raised_and_what_runs_is_dropped(two, tmp_path):
    with pytest.raises(EmotionCircuitsError, match="the corpus has no row 5"):
        whole(tmp_path, function=failing, seed=None, engine=two)
    assert len(list(tmp_path.glob("part-*"))) >= 1
    # The same workers, or others in their place, go on with other work.
    computed(two, Compute(tensors, 1))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def wait_for(condition, seconds=240):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


@many_workers
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 1)])
def test_workers_end_with_the_process_that_began_them(tmp_path, number, code):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {[str(Path(__file__).parents[1])]!r}\n"
        "from computing import stuck, TASKS\n"
        "from emotion_circuits.record.engines import Compute\n"
        "from emotion_circuits.record.engines.processes import Processes\n"
        "from emotion_circuits.record.parts import cut\n"
        "if __name__ == '__main__':\n"
        f"    try: list(Processes(2).run(Compute(stuck, {str(tmp_path)!r}), cut({{}}, TASKS)))\n"
        "    except KeyboardInterrupt: sys.exit(1)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True, stderr=subprocess.PIPE)
    wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    pids = [int(p.name[4:]) for p in tmp_path.glob("pid-*")]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does it: to all of them
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in err
    wait_for(lambda: not any(map(alive, pids)))


# -- threads -----------------------------------------------------------------------------------------------------------


def test_a_part_has_the_same_threads_wherever_it_is_computed_and_however_many_are_left(two):
    for count in (1, 2, 3):
        with torch_threads(count):
            compute = Compute(threads, None)
            for where in (Inline(), two):
                for parts in (PARTS, PARTS[:1]):
                    found = [r for _, r in where.run(compute.settled(12), parts)]
                    assert {int(r["threads"]) for r in found} == {count}
            assert torch.get_num_threads() == count


def test_parts_beside_one_another_share_the_threads_by_the_number_of_all_parts(tiny, two):
    with torch_threads(6):
        for number, each in ((12, 1), (3, 2), (1, 6)):
            compute = Compute(threads, None, tiny, beside=True).settled(number)
            for where in (Inline(), two):
                for parts in (PARTS[:number], PARTS[:1]):
                    assert {int(r["threads"]) for _, r in where.run(compute, parts)} == {each}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_states_have_the_same_bytes_in_both_engines(tiny, two, count):
    texts = [f"sentence {i} of so many words {'x' * (i % 7)}" for i in range(64)]
    parts = cut({}, [list(range(i, i + 16)) for i in range(0, 64, 16)])
    with torch_threads(count):
        for beside in (False, True):
            compute = Compute(states, texts, tiny, beside=beside)
            for a, b in zip(computed(Inline(), compute, parts), computed(two, compute, parts), strict=True):
                same(a, b)


def test_more_threads_than_cores_are_warned_of(caplog):
    with torch_threads(os.cpu_count()), caplog.at_level(logging.WARNING):
        Processes(1)
        assert "OMP_NUM_THREADS" not in caplog.text
        Processes(2)
    assert f"OMP_NUM_THREADS={max(1, os.cpu_count() // 2)} would be faster" in caplog.text


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_model_made_in_memory_cannot_be_loaded_elsewhere(two):
    with pytest.raises(EmotionCircuitsError, match=r"made in memory.*save_pretrained.*or use the engine 'inline'"):
        computed(two, Compute(states, ["x"], tiny_model("llama")), cut({}, [[0]]))


def test_a_model_that_was_changed_after_it_was_loaded_is_noticed(tmp_path, two):
    model = load_model(save_tiny(tmp_path / "tiny"))
    model.hf.model.layers[1].mlp.down_proj.weight[3, 3] += 1e-3
    with pytest.raises(EmotionCircuitsError, match="holds other weights than the model"):
        computed(two, Compute(states, ["x"], model), cut({}, [[0]]))


def test_a_model_that_is_edited_or_hooked_is_refused(tiny, two):
    compute, parts = Compute(states, ["x"], tiny), cut({}, [[0]])
    with (
        intervene(tiny, [Add(site=Site("resid_post", 0), vector=torch.ones(tiny.d_model))]),
        pytest.raises(EmotionCircuitsError, match="being edited or watched"),
    ):
        computed(two, compute, parts)
    handle = tiny.blocks[0].register_forward_hook(lambda *_: None)
    with pytest.raises(EmotionCircuitsError, match="being edited or watched"):
        computed(two, compute, parts)
    handle.remove()
    computed(two, compute, parts)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_address_loads_the_very_model(tmp_path, dtype):
    model = load_model(save_tiny(tmp_path / "tiny"), dtype=dtype)
    model.name, model.refused["scores"] = "mine", "for a reason"
    again = ModelSource.of(model).load()
    assert (again.name, again.dtype, again.device, again.refused) == ("mine", model.dtype, model.device, model.refused)
    ours, theirs = model.hf.state_dict(), again.hf.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
