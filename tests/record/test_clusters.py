"""Ray and Slurm: the bytes are those of this process, and a worker that is killed costs its part."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from computing import TASKS, always_killed, failing, files, killed_once, noted, same, tensors, whole
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import blueprint, load_model
from emotion_circuits.model.replicas import torch_threads
from emotion_circuits.record.engines import Compute, engine
from emotion_circuits.record.engines.inline import Inline
from emotion_circuits.record.engines.resources import GIB, RayOptions, Resources, SlurmOptions, memory_of, options_of
from emotion_circuits.record.engines.slurm import _Times, _work
from emotion_circuits.record.engines.working import Bench, refuse_other_versions, versions
from emotion_circuits.record.parts import cut
from station_cases import artefacts, run
from study_cases import save_tiny

PARTS = cut({}, TASKS)


def computed(where, compute, parts=PARTS):
    found = [(part.index, result) for part, result in where.run(compute.settled(len(parts)), parts)]
    assert sorted(index for index, _ in found) == [part.index for part in parts]
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def begun(folder):
    return sorted(int(line.split()[1]) for line in (folder / "log").read_text().splitlines())


@pytest.fixture(scope="module")
def ray():
    pytest.importorskip("ray")
    made = engine("ray", workers=2)
    yield made
    made.close()


@pytest.fixture
def slurm(tmp_path):
    pytest.importorskip("submitit")
    return engine("slurm", workers=2, options={"cluster": "local", "folder": tmp_path / "jobs"})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clusters")
    save_tiny(folder / "tiny")
    return folder


class Murderous:
    """An engine whose workers are killed, one at a time, at random moments."""

    def __init__(self, engine, kills, name, longest=0.5):
        self.engine, self.kills, self.name, self.longest = engine, kills, name, longest
        self.killed, self.done = 0, 0

    def run(self, compute, parts):
        stop, rng = threading.Event(), random.Random(1)

        def kill():
            seen = -1
            while self.killed < self.kills and not stop.wait(rng.uniform(0, self.longest)):
                if self.done == seen:
                    continue  # the same part would be hit until it is given up
                # Of this process's own descendants, those that are computing.
                found = [p for p in psutil.Process().children(recursive=True) if self._computes(p)]
                if found:
                    rng.choice(sorted(found, key=lambda p: p.pid)).kill()
                    self.killed, seen = self.killed + 1, self.done

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            for part, result in self.engine.run(compute, parts):
                self.done += 1
                yield part, result
        finally:
            stop.set()
            killer.join()

    def _computes(self, process):
        try:
            return self.name in " ".join(process.cmdline())
        except psutil.Error:
            return False


# -- Ray ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tensors", "tables"])
def test_ray_gives_the_same_bytes(form, ray, tmp_path):
    whole(tmp_path / "inline", form)
    whole(tmp_path / "ray", form, engine=ray)
    assert files(tmp_path / "inline") == files(tmp_path / "ray")


def test_a_killed_actor_costs_its_part_and_no_other(ray, tmp_path, caplog):
    found = computed(ray, Compute(killed_once, tmp_path))
    assert "the worker of part 4 was killed; the part is computed again" in caplog.text
    for a, b in zip(found, computed(Inline(), Compute(tensors, 0)), strict=True):
        same(a, b)
    assert begun(tmp_path) == list(range(12))


def test_an_error_of_a_part_is_the_same_one_from_ray_and_it_goes_on(ray):
    with pytest.raises(EmotionCircuitsError, match=r"^the corpus has no row 5$") as raised:
        computed(ray, Compute(failing, None))
    assert type(raised.value) is EmotionCircuitsError
    computed(ray, Compute(tensors, 1))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_stations_of_a_model_are_the_same_bytes_by_ray_with_a_worker_killed(threads, ray, root, tmp_path):
    with torch_threads(threads):
        for name in ("capture", "sweep"):
            run(name, root, tmp_path / f"{name}-inline")
            murderous = Murderous(ray, 1, "ray::Bench.answer", longest=0.05)
            run(name, root, tmp_path / f"{name}-ray", murderous)
            assert artefacts(tmp_path / f"{name}-ray") == artefacts(tmp_path / f"{name}-inline")


@pytest.mark.slow
def test_actors_killed_at_twenty_random_moments_cost_their_parts_only(ray, tmp_path):
    parts = cut({}, [[i, i] for i in range(400)])
    murderous = Murderous(ray, 20, "ray::Bench.answer")
    found = computed(murderous, Compute(noted, tmp_path), parts)
    assert murderous.killed == 20
    for a, b in zip(found, computed(Inline(), Compute(tensors, 0), parts), strict=True):
        same(a, b)
    again = len(begun(tmp_path)) - len(parts)
    assert again <= 20


@pytest.mark.slow
def test_ray_leaves_signals_alone(ray):
    computed(ray, Compute(tensors, 0), PARTS[:1])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_a_part_that_kills_every_actor_is_given_up(ray, tmp_path):
    with pytest.raises(EmotionCircuitsError, match=r"part 4 \(\[4, 7\]\) was begun 3 times, .* killed"):
        whole(tmp_path / "work", function=always_killed, seed=tmp_path, engine=ray)
    assert len(list((tmp_path / "work").glob("part-*"))) >= 4


def test_a_part_that_nobody_has_room_for_is_refused(ray, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ray, "options", options_of(RayOptions, "ray", {"memory": "900T"}))
        words = r"no node has room for a worker, which needs .*921600\.0 GiB.*lower the engine's options"
        with pytest.raises(EmotionCircuitsError, match=words):
            computed(ray, Compute(tensors, 0))
    computed(ray, Compute(tensors, 0))


REMOVED = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
import ray
from ray.cluster_utils import Cluster
from computing import noted, same, tensors
from emotion_circuits.record.engines import Compute, engine
from emotion_circuits.record.parts import cut

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    parts, found = cut({}, [[i, i] for i in range(60)]), {}
    with engine("ray", options={"address": cluster.address, "cpus": 1, "folder": sys.argv[1]}) as where:
        for part, result in where.run(Compute(noted, Path(sys.argv[1])).settled(60), parts):
            found[part.index] = result
            if len(found) == 20:
                assert where.workers == 2
                cluster.remove_node(second)
    assert len(found) == 60
    for part in parts:
        same(found[part.index], tensors(None, 0, part.task))
    cluster.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_is_removed_in_the_middle_costs_its_parts(tmp_path):
    pytest.importorskip("ray")
    script = tmp_path / "script.py"
    script.write_text(REMOVED)
    # Read when Ray is imported; nodes of one process tree have no token in common.
    env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parents[1])]
    subprocess.run(command, env=env, check=True, timeout=300)
    assert not list(tmp_path.glob(".shared*"))


# -- Slurm -------------------------------------------------------------------------------------------------------------


def test_jobs_give_the_same_bytes_and_one_that_is_killed_is_sent_again(slurm, tmp_path, caplog):
    whole(tmp_path / "inline", function=tensors, seed=0)
    whole(tmp_path / "jobs-parts", function=killed_once, seed=tmp_path, engine=slurm)
    assert files(tmp_path / "inline") == files(tmp_path / "jobs-parts")
    assert "of part 4 ended without a result" in caplog.text
    assert begun(tmp_path) == list(range(12))
    assert [p.name for p in (tmp_path / "jobs").iterdir()] == ["logs"]


@pytest.mark.slow
def test_an_error_of_a_part_is_the_same_one_from_a_job(slurm, capfd):
    with pytest.raises(EmotionCircuitsError, match=r"^the corpus has no row 5$") as raised:
        computed(slurm, Compute(failing, None))
    assert type(raised.value) is EmotionCircuitsError
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["capture", "sweep"])
def test_stations_of_a_model_are_the_same_bytes_by_jobs(name, slurm, root, tmp_path):
    run(name, root, tmp_path / "inline")
    run(name, root, tmp_path / "by-jobs", Murderous(slurm, 1, "submitit.core._submit"))
    assert artefacts(tmp_path / "by-jobs") == artefacts(tmp_path / "inline")


def test_a_job_that_does_not_see_the_folder_says_so(tmp_path):
    times = _Times(0.1, 0, 1)
    with pytest.raises(
        EmotionCircuitsError, match=r"orders-1 is not seen on .* must lie on a file system that .* share"
    ):
        _work(str(tmp_path / "orders-1"), "0" * 64, times, "t", [])
    # Another folder of the same name, on another machine.
    (tmp_path / "orders-1").mkdir()
    (tmp_path / "orders-1" / "order").write_bytes(b"other")
    with pytest.raises(EmotionCircuitsError, match="is not seen on"):
        _work(str(tmp_path / "orders-1"), "0" * 64, times, "t", [])


def test_how_parts_are_shared_among_jobs(slurm):
    shares = slurm._shares(Compute(tensors, 0), PARTS)
    assert [[part.index for part in share] for share in shares] == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    assert [len(share) for share in slurm._shares(Compute(tensors, 0, memory=GIB), PARTS)] == [1] * 12
    assert [len(share) for share in slurm._shares(Compute(tensors, 0), PARTS[:1])] == [1]


# -- what they need ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (RayOptions, {"adress": "auto"}, r"'ray' has no option 'adress'; it has address, cpus, folder, gpus, memory$"),
        (RayOptions, {"cpus": "0"}, r"option cpus=0 of the engine 'ray': .* greater than 0"),
        (RayOptions, {"cpus": "nan"}, "cpus=nan"),
        (RayOptions, {"gpus": "-1"}, "gpus=-1"),
        (RayOptions, {"memory": "8 apples"}, r"memory=8 apples .*is no size; write it like 8G"),
        (RayOptions, {"memory": "0G"}, "memory=0G"),
        (RayOptions, {"address": ""}, "address="),
        (SlurmOptions, {"time": "soon"}, r"time=soon .*is no time; write minutes, HH:MM:SS"),
        (SlurmOptions, {"gpus": "0.5"}, "gpus=0.5"),
        (SlurmOptions, {"cluster": "pbs"}, r"cluster=pbs .*'slurm' or 'local'"),
        (SlurmOptions, {"parts_per_job": "0"}, "parts_per_job=0"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(kind, given, words):
    with pytest.raises(EmotionCircuitsError, match=words):
        options_of(kind, "ray" if kind is RayOptions else "slurm", given)


def test_options_as_text():
    ray = options_of(RayOptions, "ray", {"cpus": "2", "gpus": "0.5", "memory": "1.5G"})
    assert (ray.cpus, ray.gpus, ray.memory) == (2, 0.5, 3 * GIB // 2)
    times = {"90": 90, "1:30:00": 90, "2-00:00:00": 2880, "1-12": 2160, "00:00:30": 1, "5:30": 6, "1-00:30": 1470}
    for text, minutes in times.items():
        assert options_of(SlurmOptions, "slurm", {"time": text}).time == minutes, text


@pytest.mark.parametrize(("name", "module", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")])
def test_an_extra_that_is_missing_is_named(name, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmotionCircuitsError, match=rf"pip install 'emotion-circuits\[{extra}\]'"):
        engine(name)


def test_slurm_without_its_commands_and_no_workers_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmotionCircuitsError, match=r"'sbatch'.*login node"):
        engine("slurm")
    for name, options in (("ray", {}), ("slurm", {"cluster": "local"})):
        with pytest.raises(EmotionCircuitsError, match="must be 1 or more"):
            engine(name, workers=0, options=options)
    for name in ("inline", "processes"):
        with pytest.raises(EmotionCircuitsError, match=f"'{name}' has no options, got address"):
            engine(name, options={"address": "auto"})


def test_what_a_part_needs_follows_from_its_model(root):
    model, plan = load_model(root / "tiny"), blueprint(root / "tiny")
    weights = sum(p.numel() * 4 for p in model.hf.parameters())
    assert memory_of(plan) == memory_of(model)
    assert 2 * weights + GIB <= memory_of(model) < 2.1 * weights + GIB
    compute = Compute(tensors, 0, model).settled(1)
    assert Resources.needed(compute) == Resources(compute.threads, 0, memory_of(model))
    assert Resources.needed(Compute(tensors, 0, memory=5 * GIB)) == Resources(1, 0, 5 * GIB)
    assert Resources.needed(compute, cpus=3, gpus=0.5, memory=7) == Resources(3, 0.5, 7)


def test_other_versions_are_refused():
    refuse_other_versions(versions(), "node")
    with pytest.raises(
        EmotionCircuitsError, match=r"^a node has torch 1\.0 instead of .*; install the same versions there"
    ):
        refuse_other_versions({**versions(), "torch": "1.0"}, "a node")


def test_an_error_that_cannot_be_sent_is_told_in_words():
    class LocalError(Exception):  # no other process finds it
        pass

    bench = Bench()
    bench.order, bench.compute = "x", Compute(lambda *_: (_ for _ in ()).throw(LocalError("why")), None)
    from emotion_circuits.record.engines.working import unpacked

    with pytest.raises(RuntimeError, match=r"^LocalError: why"):
        unpacked(bench.answer("x", None, []))
    with pytest.raises(LocalError):
        bench.answer("x", None, [], unless=(LocalError,))
