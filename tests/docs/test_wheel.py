"""What is installed is whole: every file of data lies in the wheel, and the command works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
PACKAGE = "src/emotion_circuits"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return Path(
        next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]))
    )


def tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout, so that nothing says which files belong to it")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", PACKAGE], capture_output=True, text=True, check=True)
    return {name.removeprefix("src/") for name in listed.stdout.split("\0") if name}


def test_every_file_of_the_package_is_in_the_wheel_and_no_other(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in tracked() if not name.endswith(".py")}
    assert held == tracked()


READS_EVERYTHING = """
from emotion_circuits.human.material import material
from emotion_circuits.language import say, speaking
from emotion_circuits.prompts import available_attributes, load_attribute, load_prompts
from emotion_circuits.report.paper import _references
from emotion_circuits.survey import load_survey, presets
import emotion_circuits

assert "site-packages" in emotion_circuits.__file__, emotion_circuits.__file__
for name in available_attributes():
    attribute = load_attribute(name)
    load_prompts(attribute.corpora.fit)
for name in presets():
    load_survey(name)
with speaking("ja") as spoken:
    assert say("layer") == "層" and not spoken.missing
assert _references() and material()["ja"]
print(len(available_attributes()), "attributes")
"""


@pytest.mark.slow
def test_the_installed_package_works_in_an_empty_folder(wheel, tmp_path):
    home, empty = tmp_path / "env", tmp_path / "empty"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def done(*command):
        ran = subprocess.run(command, cwd=empty, env=own, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    empty.mkdir()
    done(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    # What it needs comes from here, so that nothing is downloaded; the package itself does not.
    site = Path(done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = home / "bin" / "emotion-circuits"
    assert "emotion-circuits" in done(command, "--help")
    assert "smollm2-135m" in done(command, "models", "list")
    assert "680" in done(command, "data", "describe", "core")
    assert "gratitude" in done(command, "data", "attribute", "emotion-en")
    assert "attributes" in done(python, "-c", READS_EVERYTHING)
    assert list(empty.iterdir()) == []
