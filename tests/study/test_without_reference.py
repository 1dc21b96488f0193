"""A whole study of values without a reference: each against the mean of the others, in every station and on the page."""

import json

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from attribute_cases import write_colours
from emotion_circuits.cli.app import app
from emotion_circuits.directions import DirectionSet
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import check_attribute
from emotion_circuits.prompts import load_attribute
from emotion_circuits.record.reading import read_claims
from emotion_circuits.report.study_page import render_report
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.study import load_config, run_study, studied
from study_cases import SMALL, save_tiny

VALUES = ["warm", "cold", "plain"]
CHANGES = {
    "values": VALUES,
    "reference": None,
    "lexicon": {"warm": ["amber", "coral"], "cold": ["azure", "slate"], "plain": ["heavy", "round"]},
    "prompting": None,
    "pairs": None,
    "colours": {},
    "words": {},
}


def write(folder, **changes):
    """The colours with their plain sentences as a third value; ``write_colours`` leaves out what is null, so that is put back."""
    path = write_colours(folder, **{**CHANGES, **changes})
    path.write_text(path.read_text(encoding="utf-8") + "reference: null\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("others")
    settings = {key: value for key, value in SMALL.items() if key != "prompts"}
    about = {"model": str(save_tiny(root / "tiny")), "attribute": str(write(root))}
    few = {
        "directions.extractors": ["mean_difference", "token"], "steering.shuffled_directions": 1, "steering.random_directions": 1,
        "steering.compare_prompts": 0, "steering.max_new_tokens": 4,
    }  # fmt: skip
    config = load_config("quick", overrides={**settings, **few, **about})
    result = run_study(config, root / "run")
    assert {r.name: r.status for r in result.stages} == dict.fromkeys(
        ("capture", "directions", "trace", "steering", "circuits"), "ran"
    )
    return root / "run"


def test_every_table_is_of_all_values(run):
    for name in ("trace/writers", "trace/readers", "steering/grid", "steering/effects", "circuits/carriers"):
        assert set(pd.read_parquet(run / f"{name}.parquet")["emotion"]) - {""} == set(VALUES), name
    # Attention is asked of marked words, and plain sentences have none.
    assert set(pd.read_parquet(run / "trace/attention.parquet")["emotion"]) == {"warm", "cold"}


def test_directions_and_what_steers_are_each_value_against_the_others(run):
    found = DirectionSet.load(run / "directions" / "mean_difference.resid_post.mean.json")
    assert (found.labels, found.reference) == (tuple(VALUES), None)
    assert found.vectors.sum(0).abs().max() < 1e-3 * found.vectors.abs().max()
    vectors = SteeringFolder.of(run).vectors()
    assert vectors is not None
    assert vectors.neutral is not None
    # As they were fitted but for the attention sink's part of them.
    sink = torch.nn.functional.normalize(vectors.first[1], dim=0)
    single = json.loads((run / "directions" / "choice.json").read_text())["single"]
    chosen = DirectionSet.load(run / "directions" / f"{single}.json")
    own = chosen.vector("warm", 1) - (chosen.vector("warm", 1) @ sink) * sink
    assert torch.cosine_similarity(vectors.unit["warm"][1], own, dim=0) > 0.999


def test_claims_speak_of_every_value(run):
    claims = read_claims(run)
    of = {c.kind: {e for c2 in claims if c2.kind == c.kind for e in c2.about.names()} for c in claims}
    for kind in ("directions.cosine", "trace.writers", "steering.effect", "circuits.carrier"):
        assert of.get(kind, set()) & set(VALUES), (kind, sorted(of))


def test_the_page_says_what_stands_as_the_reference(run):
    page = render_report(run).path.read_text(encoding="utf-8")
    assert "each of these is compared with the mean of the others" in page
    assert "and neutral ones" not in page


def test_the_reader_reads_texts_as_one_of_the_values(run, tmp_path):
    (tmp_path / "texts.txt").write_text("The amber kettle stood by the door.\nThe slate vase was sold on Monday.\n")
    done = CliRunner().invoke(
        app, ["read", str(tmp_path / "texts.txt"), "--run", str(run), "--json"], catch_exceptions=False
    )
    rows = json.loads(done.stdout)["rows"]
    assert all(set(row["scores"]) == set(VALUES) and row["prediction"] in VALUES for row in rows)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": ["warm"], "lexicon": None}, "a single value needs one"),
        ({"classifier": {"none": ["continuations"]}}, "texts that express none of the values are called the reference"),
        (
            {"hub": {"source": "x", "labels": {"a": "warm"}, "multi_label": True, "languages": ["en"]}},
            "a text may be none of the values",
        ),
    ],
)
def test_what_needs_a_reference_says_so(tmp_path, changes, told):
    with pytest.raises(EmotionCircuitsError, match=told):
        load_attribute(write(tmp_path, **changes))


def test_a_file_that_forgets_its_reference_is_still_told_so(tmp_path):
    with pytest.raises(EmotionCircuitsError, match="reference"):
        load_attribute(write_colours(tmp_path, reference=None))


def test_its_words_are_checked_and_some_of_its_values_are_two_at_least(tmp_path):
    path = write(tmp_path)
    assert check_attribute(load_attribute(path)) == []
    with pytest.raises(EmotionCircuitsError, match="at least two emotions"):
        studied(load_config("quick", overrides={"attribute": str(path), "emotions": ["warm"]}))
