"""Steering along ratings on a model: a tiny random one, six of the feelings."""

import pytest
import yaml

from emotion_circuits.prompts.attribute import attributes_dir
from emotion_circuits.record.running import run_stations
from emotion_circuits.record.station import Context
from emotion_circuits.stations.axes.folder import AxesFolder
from emotion_circuits.stations.axes.section import sections
from emotion_circuits.stations.map.folder import MapFolder
from emotion_circuits.stations.registry import study_stations
from study_cases import save_tiny, small

VALUES = ["joy", "calm", "excitement", "fear", "sadness", "anger"]
NAMES = ("capture", "directions", "map", "steering", "axes")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("axes")
    known = yaml.safe_load((attributes_dir() / "feelings-24.yaml").read_text(encoding="utf-8"))
    known = {k: v for k, v in known.items() if k not in ("prompting", "words", "colours")} | {
        "name": "six",
        "values": VALUES,
    }
    known["corpora"] = {"fit": ["attributes/feelings24/named"], "trace": "attributes/feelings24/named"}
    (root / "six.yaml").write_text(yaml.safe_dump(known, allow_unicode=True), encoding="utf-8")
    changes = {"attribute": str(root / "six.yaml"), "prompts": None, "axes.permutations": 19, "map.shuffles": 2}
    context = Context(small(save_tiny(root / "tiny"), **changes), root / "run")
    reports = run_stations(context, [s for s in study_stations() if s.name in NAMES])
    assert [r.status for r in reports] == ["ran"] * len(NAMES)
    return context


def test_a_model_without_feelings_claims_nothing(run):
    for folder in (AxesFolder, MapFolder):
        claims = run.of(folder).read_claims()
        assert claims
        assert not [claim.id for claim in claims if claim.verdict == "supported"]


def test_every_push_is_read_on_both_dimensions(run):
    effects, texts = run.of(AxesFolder).effects.read(), run.of(AxesFolder).texts.read()
    assert set(zip(effects["axis"], effects["read"], strict=True)) == {
        (a, b) for a in ("valence", "arousal") for b in ("valence", "arousal")
    }
    assert set(texts["condition"]) == {"none", "valence +", "valence −", "arousal +", "arousal −"}
    assert effects["null_low"].notna().all()


def test_the_page_shows_pushes_costs_and_texts(run):
    (section,) = sections(run.of(AxesFolder), {}, [])
    assert [part.name for part in section.parts] == ["axes-effects", "axes-effects-table", "axes-costs", "axes-texts"]
    assert len(section.parts[0].figure.data) == 4
