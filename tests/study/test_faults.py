"""What can go wrong with a disk, a process or a cache: said in one line, nothing lost, nothing wrong used."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from filelock import FileLock

import command_cases
from emotion_circuits.activations import ActivationStore, capture
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.ledger import LEDGER
from emotion_circuits.paths import replacing
from emotion_circuits.prompts import load_prompts
from emotion_circuits.record.notes import NOTE, write_note
from emotion_circuits.study import run_study
from families import tiny_model
from study_cases import artefacts, save_tiny, small


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("faults") / "tiny")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte, and how to change it."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options):
        return subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)

    done = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place, lambda options: mount("-o", f"remount,{options}")
    subprocess.run(["umount", str(place)], check=True)


def rows():
    return load_prompts("core")[:320]


def states(folder):
    return {p.name: p.read_bytes() for p in folder.glob("shard-*")}


def call(*arguments, **options):
    return command_cases.call("--quiet", *arguments, **options)


# -- killed ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_twenty_times_at_random_it_ends_in_the_same_bytes(tiny, tmp_path):
    """kill -9 at random moments; each time the same folder is gone on with, and a finished one is followed by another."""
    config = small(tiny)
    run_study(config, tmp_path / "whole")
    expected = artefacts(tmp_path / "whole")
    rng, kills, folders = random.Random(11), 0, 0
    while kills < 20 or not folders:
        folder = tmp_path / f"run-{folders}"
        while True:
            process = command_cases.FORKS.Process(target=run_study, args=(config, folder))
            process.start()
            # Once twenty were killed the last one may finish.
            process.join(rng.uniform(0.1, 3.0) if kills < 20 else None)
            if process.exitcode is None:
                process.kill()
                process.join()
                if process.exitcode == -signal.SIGKILL:
                    kills += 1
                    continue
            assert process.exitcode == 0
            break
        assert artefacts(folder) == expected
        assert not list(folder.rglob(".*.tmp"))
        folders += 1
    assert kills >= 20


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_a_line_on_how_to_go_on(tiny, tmp_path, number, code):
    out = tmp_path / "states"
    command = [
        sys.executable,
        "-m",
        "emotion_circuits.cli",
        "--quiet",
        "capture",
        "--model",
        str(tiny),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        [*command, "--prompts", "core", "--shard-rows", "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("shard-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "what was finished is kept" in err
    assert f"emotion-circuits --quiet capture --model {tiny} --out {out}" in err
    assert "Traceback" not in err
    assert not list(out.rglob(".*.tmp"))


# -- disk --------------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_finished_shards_are_kept(small_disk, tmp_path):
    place, change = small_disk
    model = tiny_model("llama", max_position_embeddings=512)
    with pytest.raises(EmotionCircuitsError, match=r"cannot be written: No space left on device.*free some space"):
        capture(model, rows(), place / "states", pooling=("tokens",), shard_rows=16)
    kept = {p.name: p.stat().st_mtime_ns for p in (place / "states").glob("shard-*")}
    assert kept
    assert not list((place / "states").glob(".*.tmp"))
    assert change("size=64m").returncode == 0
    store = capture(model, rows(), place / "states", pooling=("tokens",), shard_rows=16)
    assert all((place / "states" / name).stat().st_mtime_ns == when for name, when in kept.items())
    store.verify()
    whole = capture(model, rows(), tmp_path / "whole", pooling=("tokens",), shard_rows=16)
    assert states(store.folder) == states(whole.folder)


def test_a_full_disk_on_the_command_line_and_a_study_that_goes_on(small_disk, tiny, tmp_path):
    place, change = small_disk
    config = small(tiny)
    written = tmp_path / "study.json"
    written.write_text(config.model_dump_json())
    done = call("run", "--config", written, "--out", place / "run", "--no-track")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert change("size=64m").returncode == 0
    run_study(config, place / "run")
    run_study(config, tmp_path / "whole")
    assert artefacts(place / "run") == artefacts(tmp_path / "whole")


def test_a_limit_on_file_sizes(tiny, tmp_path):
    arguments = ("capture", "--model", tiny, "--prompts", "core", "--out", tmp_path / "states", "--no-track")
    done = call(*arguments, largest_file=200_000)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr
    assert call(*arguments).returncode == 0
    ActivationStore.open(tmp_path / "states")


def test_a_folder_that_cannot_be_written_to(small_disk, tiny):
    place, change = small_disk
    assert change("ro").returncode == 0
    for command in (("run", "--set", f"model={tiny}"), ("capture", "--model", tiny)):
        done = call(*command, "--out", place / "x", "--no-track")
        assert done.returncode == 1
        assert "Read-only file system" in done.stderr
        assert "use a folder that can be written to" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_stood_there_survives_a_write_that_fails(tmp_path):
    path = tmp_path / "table.json"
    path.write_text("old")

    def write():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(EmotionCircuitsError, match="cannot be written: No space left"):
        write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]


# -- damage ------------------------------------------------------------------------------------------------------------


def flip(path, rng):
    """One bit, anywhere in the file."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def test_one_flipped_bit_is_noticed_at_opening_and_mended_by_capturing_again(tmp_path, caplog):
    model, rng = tiny_model("llama", max_position_embeddings=512), random.Random(3)
    whole = states(capture(model, rows(), tmp_path / "a", shard_rows=64).folder)
    for name in sorted(whole):
        flip(tmp_path / "a" / name, rng)
        with pytest.raises(EmotionCircuitsError, match=rf"{name}: is damaged .*delete this one file"):
            ActivationStore.open(tmp_path / "a")
        capture(model, rows(), tmp_path / "a", shard_rows=64)
        assert f"{name}: is damaged" in caplog.text
        assert states(tmp_path / "a") == whole
    ActivationStore.open(tmp_path / "a")
    flip(tmp_path / "a" / "rows.parquet", rng)
    with pytest.raises(EmotionCircuitsError, match=r"rows\.parquet"):
        ActivationStore.open(tmp_path / "a")


def test_a_shard_without_its_sum_is_captured_again_not_believed(tmp_path):
    model = tiny_model("llama", max_position_embeddings=512)
    whole = states(capture(model, rows(), tmp_path / "a", shard_rows=64).folder)
    sums = json.loads((tmp_path / "a" / LEDGER).read_text())
    name = sorted(whole)[1]
    del sums["crc32"][name]
    (tmp_path / "a" / LEDGER).write_text(json.dumps(sums))
    flip(tmp_path / "a" / name, random.Random(5))
    capture(model, rows(), tmp_path / "a", shard_rows=64)
    assert states(tmp_path / "a") == whole


def test_an_interrupted_study_does_not_go_on_from_a_flipped_bit(tiny, tmp_path):
    config = small(tiny)
    run_study(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    note = json.loads((tmp_path / "run" / "capture" / NOTE).read_text())
    flip(next((tmp_path / "run" / "capture").glob("shard-*")), random.Random(1))
    with pytest.raises(EmotionCircuitsError, match="was changed after it was written"):
        run_study(config, tmp_path / "run")
    write_note(tmp_path / "run" / "capture", {"status": "running", "key": note["key"]})
    run_study(config, tmp_path / "run")
    assert artefacts(tmp_path / "run") == artefacts(tmp_path / "whole")


# -- two at once, other versions ---------------------------------------------------------------------------------------


def test_two_runs_on_one_folder(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        done = call("run", "--set", f"model={tiny}", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "another run is working here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("version", "words"), [(1, "an older version"), (99, "a newer version")])
def test_a_capture_of_another_version_is_refused(tmp_path, version, words):
    model = tiny_model("llama", max_position_embeddings=512)
    capture(model, rows()[:8], tmp_path)
    for name in ("manifest.json", "capture.json"):
        found = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps({**found, "format": version}))
    with pytest.raises(EmotionCircuitsError, match=words):
        ActivationStore.open(tmp_path)
    with pytest.raises(EmotionCircuitsError, match=words):
        capture(model, rows()[:8], tmp_path)


@pytest.mark.parametrize("version", [0, 99])
def test_sums_and_stages_of_another_version_are_refused(tiny, tmp_path, version):
    model = tiny_model("llama", max_position_embeddings=512)
    capture(model, rows()[:8], tmp_path / "a")
    sums = json.loads((tmp_path / "a" / LEDGER).read_text())
    (tmp_path / "a" / LEDGER).write_text(json.dumps({**sums, "format": version}))
    with pytest.raises(EmotionCircuitsError, match=f"format {version} is not 1"):
        ActivationStore.open(tmp_path / "a")
    (tmp_path / "run" / "capture").mkdir(parents=True)
    (tmp_path / "run" / "capture" / NOTE).write_text(json.dumps({"format": version, "status": "complete"}))
    with pytest.raises(EmotionCircuitsError, match=f"has format {version}"):
        run_study(small(tiny), tmp_path / "run")


# -- models that give NaN ----------------------------------------------------------------------------------------------


def test_nan_weights_are_refused_at_loading_with_their_name(tmp_path):
    model = tiny_model("llama", max_position_embeddings=512)
    model.hf.model.layers[1].mlp.down_proj.weight[3, 3] = float("nan")
    model.hf.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    for command in (
        ("capture", "--model", tmp_path / "tiny", "--out", tmp_path / "x"),
        ("trace", "I thank you.", "--model", tmp_path / "tiny"),
        ("steer", "I", "--emotion", "anger", "--model", tmp_path / "tiny"),
        ("heads", "screen", tmp_path / "tiny"),
    ):
        done = call(*command)
        assert done.returncode == 1, command
        assert "its tensor model.layers.1.mlp.down_proj.weight holds NaN or infinity" in done.stderr
        assert "Traceback" not in done.stderr


def broken_at(letter):
    """A model that overflows in its middle wherever this letter is read, and nowhere else."""
    model = tiny_model("llama", max_position_embeddings=512)
    token = model.tokenizer.convert_tokens_to_ids(letter)
    seen = []

    def remember(_module, arguments):
        seen[:] = [arguments[0]]

    model.hf.get_input_embeddings().register_forward_pre_hook(remember)

    def overflow(_module, _arguments, output):
        return torch.where((seen[0] == token)[..., None], torch.full_like(output, float("inf")), output)

    model.blocks[1].mlp.register_forward_hook(overflow)
    return model


def test_an_overflow_in_the_middle_is_named_by_layer_and_sentence(tmp_path):
    prompts = [p for p in rows() if "z" not in p.text][:20]
    strange = prompts[7].model_copy(update={"id": "strange", "text": prompts[7].text.replace("e", "z")})
    model = broken_at("z")
    for pooling in ("mean", "tokens", "weighted"):
        with pytest.raises(
            EmotionCircuitsError, match=r"NaN or infinity at mlp_out of layer 1, first in sentence strange"
        ):
            capture(model, [*prompts, strange], tmp_path / pooling, kinds=("mlp_out",), pooling=pooling)
        assert not list((tmp_path / pooling).glob("shard-*"))
    capture(model, prompts, tmp_path / "fine", kinds=("mlp_out",), pooling="mean")


def test_no_forward_pass_hands_nan_on():
    model = broken_at("z")
    batch = model.tokenize(["a fine text", "a size"])
    for run in (model.logits, model.hidden, lambda b: model.logits(b, last_only=True)):
        with pytest.raises(EmotionCircuitsError, match=r"NaN or infinity in row 1 of a batch of 2, first at token \d+"):
            run(batch)
    model.logits(model.tokenize(["a fine text"]))
