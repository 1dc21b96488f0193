"""What people read stands in the report of the run whose texts they read, under its questions."""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.analysing import analyse
from emotion_circuits.human.designing import Wanted, design_study
from emotion_circuits.human.reported import people_of
from emotion_circuits.report.study_page import render_report
from human_cases import answered, reader


@pytest.fixture(scope="module")
def read(runs, tmp_path_factory):
    """A finished study of a tiny model, whose texts simulated raters read who know what each was steered to."""
    root = tmp_path_factory.mktemp("read")
    run, study = root / "run", root / "study"
    shutil.copytree(runs / "a", run)
    made = design_study(run, study, Wanted(raters=10, singles=8, pairs=8, studies=2, seed=1))
    for n, rater in enumerate(made.design.forms):
        answered(study, rater, reader(np.random.default_rng([3, n]), made.key, values=made.design.values))
    return run, study, analyse(study)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_claims_of_people_answer_the_runs_question_in_both_languages(read, tmp_path, language):
    run, study, found = read
    written = render_report(run, out=tmp_path / "r.html", language=language, further=(people_of(run, study),))
    assert not written.missing
    html = written.path.read_text(encoding="utf-8")
    assert html.count('id="claim-human-') == len(found.claims)
    section = next(s for s in written.page.sections if s.anchor == "human")
    assert {part.name for part in section.parts} >= {"named", "arms"}
    steered = next(a for a in written.page.answers if a.key == "steered")
    supported = {c.about.value for c in found.claims if c.verdict == "supported" and c.kind == "human.transmitted"}
    assert supported
    row = next(row for row in steered.evidence if row.anchor == "human")
    assert dict(row.verdicts)["supported"] >= len(supported)


def test_without_a_study_nothing_of_it_is_there_and_one_in_the_runs_folder_is_found(read, tmp_path):
    run, study, _ = read
    plain = CliRunner().invoke(
        app, ["report", str(run), "--out", str(tmp_path / "a.html"), "--json"], catch_exceptions=False
    )
    assert plain.exit_code == 0
    assert 'id="human"' not in (tmp_path / "a.html").read_text(encoding="utf-8")
    named = ["report", str(run), "--human", str(study), "--out", str(tmp_path / "b.html"), "--json"]
    CliRunner().invoke(app, named, catch_exceptions=False)
    shutil.copytree(study, run / "human")
    CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "c.html"), "--json"], catch_exceptions=False)
    shutil.rmtree(run / "human")
    found = (tmp_path / "b.html").read_bytes()
    assert b'id="human"' in found
    assert (tmp_path / "c.html").read_bytes() == found


def test_a_study_of_other_texts_and_one_without_analysis_are_refused(read, runs, tmp_path):
    run, study, _ = read
    with pytest.raises(EmotionCircuitsError, match="texts are not among those that"):
        people_of(runs / "b", study)
    with pytest.raises(EmotionCircuitsError, match="make one: emotion-circuits human design"):
        people_of(run, tmp_path)
    shutil.copytree(study, tmp_path / "open")
    (tmp_path / "open" / "analysis.json").unlink()
    with pytest.raises(EmotionCircuitsError, match="not analysed yet: emotion-circuits human analyse"):
        people_of(run, tmp_path / "open")


def test_a_study_of_other_texts_in_the_runs_folder_is_left_out_and_said(read, runs, tmp_path):
    """Whoever asked for it by name is refused; whoever did not still has a report."""
    shutil.copytree(runs / "b", tmp_path / "b")
    shutil.copytree(read[1], tmp_path / "b" / "human")
    asked = ["report", str(tmp_path / "b"), "--out", str(tmp_path / "b.html")]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    assert "left out of the report" in done.stderr
    assert "texts are not among those that" in " ".join(done.stderr.split())
    assert 'id="human"' not in (tmp_path / "b.html").read_text(encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match="texts are not among those that"):
        CliRunner().invoke(app, [*asked, "--human", str(tmp_path / "b" / "human")], catch_exceptions=False)
