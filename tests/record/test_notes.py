"""A finished station's files are read as they were written, or not at all."""

import json
import os

import pandas as pd
import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import file_sha256, write_json
from emotion_circuits.record.folder import StationFolder, TableFile
from emotion_circuits.record.notes import NOTE, checked, is_there, read_note, write_note
from emotion_circuits.record.reading import read_config, read_finished, write_manifest, write_study
from emotion_circuits.record.tables import Column, Table
from emotion_circuits.sealing import SEAL, read_sealed, write_sealed


class Folder(StationFolder):
    station = "one"
    rows = TableFile(Table("rows", "a row", (Column("n", "int", "a number"),)))


@pytest.fixture
def run(tmp_path):
    folder = Folder.of(tmp_path)
    folder.rows.write(pd.DataFrame({"n": [1, 2]}))
    write_json(folder.path / "claims.json", [])
    (folder.path / "deep").mkdir()
    (folder.path / "deep" / "text.txt").write_text("whole")
    files = {p.relative_to(folder.path).as_posix(): file_sha256(p) for p in folder.path.rglob("*") if p.is_file()}
    write_note(folder.path, {"status": "complete", "key": "k", "files": files, "timing": {"seconds": 1.0}})
    write_study(tmp_path, {"model": "tiny", "seed": 0})
    write_manifest(tmp_path, {"stations": {"one": "k"}, "config": {"model": "tiny", "seed": 0}})
    return tmp_path


def test_a_change_that_keeps_size_and_time_is_found_in_the_same_process(run):
    path = run / "one" / "deep" / "text.txt"
    checked(path)
    stat = path.stat()
    path.write_text("whale")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(
        EmotionCircuitsError, match=r"deep/text\.txt: was changed after .* station 'one'.*; delete .*one and run"
    ):
        checked(path)


def test_what_was_written_and_is_gone_is_not_merely_absent(run):
    folder = Folder.of(run)
    assert not is_there(run / "one" / "never.json")
    folder.rows.path.unlink()
    (run / "one" / "claims.json").unlink()
    for ask in (folder.rows.exists, folder.rows.read, folder.read_claims):
        with pytest.raises(EmotionCircuitsError, match=r"is missing, though station 'one' was complete"):
            ask()


def test_a_table_that_is_cut_off_is_one_line(run):
    path = Folder.of(run).rows.path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EmotionCircuitsError, match=r"rows\.parquet: was changed"):
        Folder.of(run).rows.read()


def test_files_that_no_finished_station_noted_pass(run, tmp_path):
    (run / "one" / "labels.json").write_text("a person's")
    checked(run / "one" / "labels.json")
    write_note(run / "one", {"status": "running", "key": "k"})
    (run / "one" / "deep" / "text.txt").write_text("being written")
    checked(run / "one" / "deep" / "text.txt")


@pytest.mark.parametrize("name", ["one/stage.json", "manifest.json", "study.json"])
def test_no_flipped_bit_in_what_vouches_for_the_rest_is_believed(run, name):
    path = run / name
    whole, stat = path.read_bytes(), path.stat()
    right = (read_note(run / "one"), read_config(run), read_finished(run))
    for at in range(0, len(whole) * 8, 7):
        data = bytearray(whole)
        data[at // 8] ^= 1 << at % 8
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        try:
            assert (read_note(run / "one"), read_config(run), read_finished(run)) == right
        except EmotionCircuitsError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_a_note_without_a_seal_is_one_of_an_earlier_version(run):
    path = run / "one" / NOTE
    found = json.loads(path.read_text())
    del found[SEAL]
    path.write_text(json.dumps({**found, "format": 2}))
    assert read_note(run / "one")["key"] == "k"
    path.write_text(json.dumps(found))
    with pytest.raises(EmotionCircuitsError, match="its own seal"):
        read_note(run / "one")


def test_a_note_of_another_station_is_not_taken(run):
    (run / "two").mkdir()
    (run / "two" / NOTE).write_bytes((run / "one" / NOTE).read_bytes())
    with pytest.raises(EmotionCircuitsError, match=r"two/stage\.json: is the note of station 'one'"):
        read_note(run / "two")


def test_a_finished_run_has_the_stations_that_its_manifest_tells_of(run):
    assert read_finished(run)["stations"] == {"one": "k"}
    write_note(run / "one", {**read_note(run / "one"), "key": "other"})
    with pytest.raises(EmotionCircuitsError, match="another run was begun in this folder since"):
        read_finished(run)
    (run / "one" / NOTE).unlink()
    with pytest.raises(
        EmotionCircuitsError, match=r"stage\.json: is missing, though manifest\.json tells of station 'one'"
    ):
        read_finished(run)


def test_a_configuration_that_is_not_the_manifests_is_not_taken_for_it(run):
    write_study(run, {"model": "tiny", "seed": 1})
    with pytest.raises(EmotionCircuitsError, match=r"study\.json: differs from what manifest\.json tells of"):
        read_config(run)


def test_what_is_sealed_is_read_back_and_an_edit_is_seen(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, {"pair": (1, 2.5), "ä": None})
    assert read_sealed(path, "x") == {"pair": [1, 2.5], "ä": None}
    path.write_text(path.read_text().replace("2.5", "3.5"))
    with pytest.raises(EmotionCircuitsError, match=r"its own seal.*; do this"):
        read_sealed(path, "do this")
