"""The README's table of calibrations is what is kept in docs/calibration.json."""

import importlib.util
import json
from pathlib import Path

import pytest

from emotion_circuits.stations.registry import kinds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def calibrated():
    spec = importlib.util.spec_from_file_location("calibrated", ROOT / "docs" / "calibrated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kept():
    return json.loads((ROOT / "docs" / "calibration.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_readmes_quote_what_is_kept(calibrated, kept, name):
    readme = (ROOT / name).read_text(encoding="utf-8")
    shown = readme.partition(calibrated.BEGIN)[2].partition(calibrated.END)[0]
    assert shown == calibrated.table(kept, calibrated.READMES[name])


def test_every_kind_exists_and_says_what_made_it(kept):
    known = set(kinds())
    assert set(kept["false_claims"]) | set(kept["power"]) <= known
    stations = {name for manifest in kept["manifests"] for name in manifest["stations"]}
    assert {kind.partition(".")[0] for kind in kept["false_claims"]} <= stations
    for manifest in kept["manifests"]:
        assert manifest["model"]["weights_sha256"]
    for rate in [*kept["false_claims"].values(), *kept["power"].values(), *kept["coverage"].values()]:
        assert 0 <= rate["low"] <= rate["rate"] <= rate["high"] <= 1


def test_later_figures_replace_earlier_ones(calibrated, tmp_path):
    for name, hits in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        rate = {"rate": hits / 50, "low": 0.0, "high": 0.2, "n": 50, "hits": hits, "draws": 50}
        figures = {"false_claims": {"trace.writers": rate}, "power": {}, "coverage": {}}
        (tmp_path / name / "calibration.json").write_text(json.dumps(figures))
        manifest = {"run": "/somewhere", "command": "x", "stations": {"trace": {}}, "draws": 50}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    found = calibrated.joined([tmp_path / "a", tmp_path / "b"], None, {})
    assert found["false_claims"]["trace.writers"]["hits"] == 2
    assert found["manifests"] == [{"stations": {"trace": {}}, "draws": 50}]
    assert "| `trace.writers` | 2 of 50 = 4.0 % | [0.0, 20.0] |" in calibrated.table(found)
