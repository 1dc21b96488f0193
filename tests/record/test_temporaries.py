"""What is half written is swept when nobody writes it any more, and only then."""

import multiprocessing
import os
import signal
import time

import pytest

from emotion_circuits.paths import replacing
from emotion_circuits.temporaries import held_file, is_temporary, scratch_folder, sweep


def _write_for_ever(folder):
    with scratch_folder(folder, "model") as scratch:
        (scratch / "big").write_bytes(b"x")
        with replacing(folder / "table.parquet") as temporary:
            temporary.write_bytes(b"half")
            time.sleep(600)


@pytest.fixture
def writing(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".table*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


def test_what_a_living_process_writes_stays_and_what_a_dead_one_left_goes(writing, tmp_path):
    (held,) = tmp_path.glob(".table*.tmp")
    (scratch,) = tmp_path.glob(".model-*")
    assert sweep(tmp_path) == []
    with scratch_folder(tmp_path, "model"):
        assert scratch.exists()
    os.kill(writing.pid, signal.SIGKILL)
    writing.join()
    assert sweep(tmp_path) == [held]
    with scratch_folder(tmp_path, "model"):
        assert not scratch.exists()
    assert list(tmp_path.iterdir()) == []


def test_only_our_own_are_swept(tmp_path):
    (tmp_path / "elsewhere.txt").write_text("precious")
    kept = ["notes.tmp", ".notes.tmp", ".a.b.tmp", "elsewhere.txt"]
    for name in kept[:3]:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".link.abcdefgh.tmp").symlink_to(tmp_path / "elsewhere.txt")
    (tmp_path / ".folder.abcdefgh.tmp").mkdir()
    (tmp_path / ".model-mine").mkdir()
    (tmp_path / ".table.parquet.abcd_123.tmp").write_text("half")
    assert [p.name for p in sweep(tmp_path, deep=True)] == [".table.parquet.abcd_123.tmp"]
    with scratch_folder(tmp_path, "model"):
        pass
    assert {*kept, ".link.abcdefgh.tmp", ".folder.abcdefgh.tmp", ".model-mine"} == {p.name for p in tmp_path.iterdir()}


def test_a_held_file_is_named_as_one(tmp_path):
    with held_file(tmp_path / "a.json") as path:
        assert is_temporary(path)
        assert path.parent == tmp_path
    assert not path.exists()
