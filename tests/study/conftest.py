"""Two finished studies that several modules look at; whoever writes into them leaves them as they were."""

import shutil

import pytest

from emotion_circuits.study import run_study
from study_cases import save_tiny, small


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    tiny = save_tiny(root / "tiny")
    run_study(small(tiny), root / "a")
    shutil.copytree(root / "a", root / "b")
    run_study(small(tiny, **{"trace.top": 1, "seed": 1}), root / "b")
    return root
