"""The files of the how-to for clusters are what the programs that read them take, and call this one as it is."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from emotion_circuits.cli.app import app
from emotion_circuits.record.engines.resources import RayOptions, SlurmOptions, options_of

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "assets" / "clusters"
HOWTO = ROOT / "docs" / "howto" / "clusters.md"
SCRIPTS = ("study.sbatch", "ray-job.sh")


def calls(text):
    """Arguments of every call of the program, with variables left as they are."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [re.search(r"emotion-circuits (run .*)", line) for line in lines if not line.lstrip().startswith("#")]
    for hit in found:
        if hit:
            yield shlex.split(hit[1].split("'")[0].rstrip('"') if hit[1].count('"') % 2 else hit[1].split("'")[0])


def test_every_file_is_named_in_the_howto_and_there():
    named = set(re.findall(r"assets/clusters/([\w.-]+)", HOWTO.read_text("utf-8")))
    assert named == {path.name for path in FILES.iterdir()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_bash(name):
    subprocess.run(["bash", "-n", FILES / name], check=True, timeout=20)


def test_the_script_for_slurm_begins_with_its_options():
    lines = (FILES / "study.sbatch").read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    options = [line for line in lines if line.startswith("#SBATCH ")]
    assert lines[1 : 1 + len(options)] == options  # sbatch reads them until the first command
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in options)


def test_the_cluster_of_ray_is_one():
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = yaml.safe_load((FILES / "ray-cluster.yaml").read_text())
    # What the program itself adds before it asks.
    util.validate_config({**config, "cluster_synced_files": []})
    assert config["head_node_type"] in config["available_node_types"]


def test_the_task_of_skypilot_is_one():
    task = yaml.safe_load((FILES / "sky.yaml").read_text())
    assert set(task) == {"name", "num_nodes", "resources", "file_mounts", "run"}
    subprocess.run(["bash", "-n"], input=task["run"].encode(), check=True, timeout=20)


def test_the_image_has_what_it_says():
    lines = re.sub(r"\\\n", " ", (FILES / "Dockerfile").read_text()).splitlines()
    steps = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert steps[0] == "FROM"
    assert set(steps) <= {"FROM", "ARG", "RUN", "ENV", "WORKDIR", "CMD"}
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    assert f'ARG TORCH="{torch}"' in lines


def test_options_of_engines_in_the_files_and_the_howto_are_there():
    import typer

    command = typer.main.get_command(app).commands["run"]
    options = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
    found = 0
    for path in (HOWTO, *sorted(FILES.iterdir())):
        for words in calls(path.read_text("utf-8")):
            used = [word for word in words[1:] if word.startswith("--")]
            assert set(used) <= options, path.name
            given = [words[i + 1].partition("=") for i, word in enumerate(words) if word == "--engine-option"]
            engine = words[words.index("--engine") + 1]
            options_of(RayOptions if engine == "ray" else SlurmOptions, engine, {k: v for k, _, v in given})
            found += 1
    assert found >= 6


def test_the_howto_names_every_option():
    text = HOWTO.read_text("utf-8")
    for kind, heading in ((RayOptions, "## Ray"), (SlurmOptions, "## Slurm")):
        part = text.split(heading)[1].split("\n## ")[0]
        assert all(f"`{name}`" in part for name in kind.model_fields)
