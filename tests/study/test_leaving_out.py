"""Stations that a study does not want are left out, said so, and can be run later beside those that are there."""

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import read_claims
from emotion_circuits.report.study_page import write_report
from emotion_circuits.study import load_config, run_study
from study_cases import save_tiny, small

UNWANTED = ["trace", "steering", "circuits"]


def test_what_is_left_out_is_said_and_run_later(tmp_path):
    tiny, out = save_tiny(tmp_path / "tiny"), tmp_path / "run"
    run_study(small(tiny, leave_out=UNWANTED), out)
    assert {claim.kind.partition(".")[0] for claim in read_claims(out)} == {"directions"}
    page = write_report(out, out=tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("Not measured: the study leaves it out (leave_out).") == len(UNWANTED)
    status = {station.name: station.status for station in run_study(small(tiny), out, dry=True).stages}
    assert status.pop("capture") == status.pop("directions") == "reused"
    assert all(status[name].startswith("would run") for name in UNWANTED)


def test_a_station_that_does_not_exist_is_named():
    with pytest.raises(EmotionCircuitsError, match=r"leave_out: there is no station 'steer'; choose from capture, "):
        load_config(overrides={"leave_out": ["steer"]})
