"""Parts in a folder: committed one by one, never computed twice, never believed when damaged, of one work only."""

import json
import multiprocessing
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from computing import (
    BY_FORM,
    KEPT,
    TASKS,
    WORK,
    files,
    flip,
    killed_in_committing,
    same,
    slow_tables,
    slowly,
    tensors,
    whole,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.ledger import LEDGER
from emotion_circuits.record.engines import Compute
from emotion_circuits.record.parts import Kept, Parts, Tables, Tensors, cut, results

FORMS = list(BY_FORM)


class Stopping:
    """Computes so many parts in this process, then is interrupted."""

    def __init__(self, after):
        self.after, self.asked = after, []

    def run(self, compute, parts):
        self.asked = [part.index for part in parts]
        for done, part in enumerate(reversed(parts)):
            if done == self.after:
                raise KeyboardInterrupt
            yield part, compute.part(None, compute.ground(None), part.task)


@pytest.mark.parametrize("form", FORMS)
def test_what_was_committed_is_not_computed_again_and_the_order_does_not_matter(tmp_path, form):
    expected = whole(tmp_path / "whole", form)
    first, second = Stopping(5), Stopping(99)
    with pytest.raises(KeyboardInterrupt):
        whole(tmp_path / "cut", form, engine=first)
    assert first.asked == list(range(12))
    found = whole(tmp_path / "cut", form, engine=second)
    assert second.asked == list(range(7))
    for a, b in zip(found, expected, strict=True):
        same(a, b)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    again = Stopping(0)
    whole(tmp_path / "cut", form, engine=again)
    assert again.asked == []


def test_a_part_is_named_by_the_work_and_by_what_it_is_of_it():
    keys = [part.key for part in cut(WORK, TASKS)]
    assert len(set(keys)) == len(keys)
    assert keys == [part.key for part in cut({"seed": 3, "of": "numbers"}, [tuple(t) for t in TASKS])]
    assert not set(keys) & {part.key for part in cut({**WORK, "seed": 4}, TASKS)}
    # Cut otherwise, what is the same piece of the same work has the same name.
    assert keys[4:] == [part.key for part in cut(WORK, TASKS[4:])]


def test_unfinished_work_is_not_read(tmp_path):
    with (
        Parts(tmp_path, WORK, TASKS, KEPT["tensors"]) as parts,
        pytest.raises(EmotionCircuitsError, match="12 of 12 parts"),
    ):
        list(parts.read())


def test_without_a_folder_nothing_is_kept_and_the_results_are_the_same(tmp_path):
    compute = Compute(tensors, 7)
    kept = results(tmp_path / "a", WORK, TASKS, compute, KEPT["tensors"])
    for a, b in zip(results(None, WORK, TASKS, compute, KEPT["tensors"]), kept, strict=True):
        same(a, b)


# -- other work --------------------------------------------------------------------------------------------------------


def test_a_folder_of_other_work_is_refused_and_says_what_differs(tmp_path):
    whole(tmp_path)
    before = files(tmp_path)
    for change, words in (({"seed": 4}, "differs in seed"), ({"of": "words", "new": 1}, "differs in of, new")):
        with (
            pytest.raises(
                EmotionCircuitsError, match=rf"holds a test of something else \(it {words}\); choose another"
            ),
            Parts(tmp_path, {**WORK, **change}, TASKS, KEPT["tensors"]),
        ):
            pass
    assert files(tmp_path) == before


def test_a_damaged_note_is_named_and_nothing_is_computed(tmp_path):
    whole(tmp_path)
    (tmp_path / "parts.json").write_text("{")
    with pytest.raises(EmotionCircuitsError, match=r"parts\.json: is damaged .*delete .* to begin anew"):
        whole(tmp_path)


def test_parts_cut_otherwise_do_not_pass_for_one_another(tmp_path):
    whole(tmp_path)
    with Parts(tmp_path, WORK, [*TASKS[:3], [3, 99]], KEPT["tensors"]) as parts:
        assert [part.task for part in parts.missing()] == [[3, 99]]


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_flipped_bit_in_any_part_is_noticed_and_only_that_part_computed_anew(tmp_path, form, caplog):
    expected = whole(tmp_path, form)
    intact, rng = files(tmp_path), random.Random(5)
    for path in sorted(tmp_path.glob("part-*")):
        flip(path, rng)
        engine = Stopping(99)
        found = whole(tmp_path, form, engine=engine)
        assert len(engine.asked) == 1
        assert f"{path.name}: is damaged; it is computed anew" in caplog.text
        same(found[engine.asked[0]], expected[engine.asked[0]])
    assert files(tmp_path) == intact


@pytest.mark.parametrize("form", FORMS)
def test_a_part_that_is_cut_off_is_noticed_even_where_its_sum_is_lost(tmp_path, form):
    whole(tmp_path, form)
    (tmp_path / LEDGER).unlink()
    torn = sorted(tmp_path.glob("part-*"))[2]
    torn.write_bytes(torn.read_bytes()[:-9])
    sorted(tmp_path.glob("part-*"))[3].write_bytes(b"torn")
    engine = Stopping(99)
    whole(tmp_path, form, engine=engine)
    assert engine.asked == [2, 3]


def test_tensors_with_another_mark_are_not_taken(tmp_path):
    ours, other = Tensors({"hash": "a"}), Tensors({"hash": "b"})
    other.write({"x": torch.ones(2)}, tmp_path / "x")
    assert other.opens(tmp_path / "x")
    assert not ours.opens(tmp_path / "x")
    assert not Tables().opens(tmp_path / "x")


def test_sums_that_lie_are_not_believed_and_half_written_files_are_swept(tmp_path):
    whole(tmp_path)
    intact = files(tmp_path)
    sums = json.loads((tmp_path / LEDGER).read_text())
    name = sorted(sums["crc32"])[1]
    sums["crc32"][name] = "00000000"
    (tmp_path / LEDGER).write_text(json.dumps(sums))
    (tmp_path / ".part-00001.safetensors.0a1b2c3d.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_bytes(b"somebody's")
    engine = Stopping(99)
    whole(tmp_path, engine=engine)
    assert engine.asked == [1]
    assert {k: v for k, v in files(tmp_path).items() if k != "notes.tmp"} == intact
    assert (tmp_path / "notes.tmp").exists()


# -- killed, and two at once -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["emotion_circuits.record.parts"])
    return context


@pytest.mark.parametrize("where", ["before", "between", "after"])
@pytest.mark.parametrize("form", FORMS)
def test_killed_in_the_middle_of_a_commit(tmp_path, form, where, forks):
    whole(tmp_path / "whole", form)
    process = forks.Process(target=killed_in_committing, args=(tmp_path / "cut", form, 3, where))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "cut").glob("part-*"))) == (4 if where == "after" else 3)
    engine = Stopping(99)
    whole(tmp_path / "cut", form, engine=engine)
    assert len(engine.asked) == (8 if where == "after" else 9)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize(("form", "function"), [("tensors", slowly), ("tables", slow_tables)])
def test_killed_ten_times_at_random_it_ends_in_the_same_bytes(tmp_path, form, function, forks):
    whole(tmp_path / "whole", form)
    expected, rng, kills, folders = files(tmp_path / "whole"), random.Random(2), 0, 0
    while kills < 10:
        folder, process = tmp_path / f"run-{folders}", None
        while process is None or process.exitcode != 0:
            process = forks.Process(target=whole, args=(folder, form, function))
            process.start()
            process.join(rng.uniform(0.05, 0.6) if kills < 10 else None)
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        assert files(folder) == expected
        folders += 1


def test_two_processes_on_one_folder(tmp_path):
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from computing import whole\n"
        "from emotion_circuits.errors import EmotionCircuitsError\n"
        "try: whole(sys.argv[1])\n"
        "except EmotionCircuitsError as error: print(error)\n"
    )
    with Parts(tmp_path, WORK, TASKS, KEPT["tensors"]):
        here = str(Path(__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), here], capture_output=True, text=True, check=True
        )
    assert f"{tmp_path}: another process is working on this test; wait for it or use another folder" in done.stdout
    assert not list(tmp_path.glob("part-*"))
    whole(tmp_path)


def test_the_lock_is_given_back_where_the_work_is_refused(tmp_path):
    whole(tmp_path)
    with pytest.raises(EmotionCircuitsError, match="something else"), Parts(tmp_path, {}, TASKS, KEPT["tensors"]):
        pass
    whole(tmp_path)


def test_parts_within_a_folder_of_their_own_go_and_the_rest_stays(tmp_path):
    kept = Kept("test", Tables(), note="manifest.json", inside="parts")
    with Parts(tmp_path, WORK, TASKS, kept) as parts:
        list(parts.compute(Compute(BY_FORM["tables"], 7)))
        assert len(list((tmp_path / "parts").glob("part-*"))) == 12
        parts.remove()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".lock") == ["manifest.json"]


def test_parts_that_wait_to_be_joined_lie_beside_those_of_other_work(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        results(tmp_path, WORK, TASKS, Compute(tensors, 7), KEPT["tensors"], engine=Stopping(5))
    other = Stopping(99)
    results(tmp_path, {**WORK, "seed": 4}, TASKS, Compute(tensors, 8), KEPT["tensors"], engine=other)
    assert len(other.asked) == 12
    again = Stopping(99)
    found = results(tmp_path, WORK, TASKS, Compute(tensors, 7), KEPT["tensors"], engine=again)
    assert len(again.asked) == 7
    for a, b in zip(found, results(None, WORK, TASKS, Compute(tensors, 7), KEPT["tensors"]), strict=True):
        same(a, b)


def test_what_ends_the_block_ends_what_is_being_computed(tmp_path):
    ended = []

    class Watched:
        def run(self, compute, parts):
            try:
                for part in parts:
                    yield part, compute.part(None, 7, part.task)
            finally:
                ended.append(True)

    def interrupted():
        with Parts(tmp_path, WORK, TASKS, KEPT["tensors"]) as parts:
            for _ in parts.compute(Compute(tensors, 7), Watched()):
                raise KeyboardInterrupt

    try:
        interrupted()
    except KeyboardInterrupt:
        assert ended  # while the traceback still holds everything
    assert len(list(tmp_path.glob("part-*"))) == 1
