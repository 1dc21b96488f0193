"""A user's own table becomes an attribute that can be studied."""

import csv
import json

import pytest
import yaml
from typer.testing import CliRunner

from attribute_cases import sentences
from emotion_circuits.cli.app import app
from emotion_circuits.curation.own import OTHERS, own_attribute
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import check_attribute
from emotion_circuits.prompts import load_attribute, load_prompts
from study_cases import SMALL, save_tiny

MOODS = {
    "joy": ["laughed", "beamed", "cheered", "sang"],
    "fear": ["froze", "trembled", "hid", "fled"],
    "plain": ["stood", "waited", "walked", "sat"],
}
PLACES = ("door", "bridge", "market", "garden", "harbour", "station", "stairs", "well", "mill", "gate")
PEOPLE = ("baker", "nurse", "clerk", "singer", "farmer", "painter", "driver")


def table(path, labels=tuple(MOODS), *, group=False):
    with path.open("w", newline="", encoding="utf-8") as file:
        write = csv.writer(file)
        write.writerow(["sentence", "mood", *(["scene"] if group else [])])
        scenes = [(place, who) for place in PLACES for who in PEOPLE]
        for label in labels:
            for i, (place, who) in enumerate(scenes):
                text = f"By the {place} the {who} {MOODS[label][i % 4]} for a while."
                write.writerow([text, label, *([f"{place}-{who}"] if group else [])])
    return path


COLUMNS = {"text": "sentence", "label": "mood"}


def test_a_table_with_a_reference_becomes_an_attribute_with_a_judge(tmp_path):
    made = own_attribute(table(tmp_path / "moods.csv"), tmp_path / "run", columns=COLUMNS, reference="plain")
    attribute = load_attribute(made.path)
    assert (attribute.values, attribute.reference) == (("joy", "fear"), "plain")
    assert attribute.judges == ("moods",)
    assert check_attribute(attribute) == []
    fitted = load_prompts(attribute.corpora.fit)
    judged = load_prompts(attribute.classifier.fit)
    assert not {p.text for p in fitted} & {p.text for p in judged}
    assert {p.split for p in fitted} == {"train", "validation", "test"}
    by_group = {}
    for p in [*fitted, *judged]:
        by_group.setdefault(p.group, set()).add(p.label)
    assert all(labels == set(MOODS) for labels in by_group.values())
    assert any("blocks of one per label" in note for note in made.notes)


def test_groups_that_are_named_are_kept_whole(tmp_path):
    columns = {**COLUMNS, "group": "scene"}
    made = own_attribute(
        table(tmp_path / "moods.csv", group=True), tmp_path / "run", columns=columns, values=["joy"], reference="plain"
    )
    attribute = load_attribute(made.path)
    assert attribute.labels == ("joy", "plain")
    assert {p.group for p in load_prompts(attribute.corpora.fit)} <= {f"{a}-{b}" for a in PLACES for b in PEOPLE}


def test_one_value_without_a_reference_is_compared_with_all_others(tmp_path):
    made = own_attribute(table(tmp_path / "moods.csv"), tmp_path / "run", columns=COLUMNS, values=["fear"])
    attribute = load_attribute(made.path)
    assert attribute.labels == ("fear", OTHERS)
    assert "fear is compared with joy, plain together" in " ".join(made.notes)


def test_several_values_without_a_reference_are_each_compared_with_the_others(tmp_path):
    made = own_attribute(table(tmp_path / "moods.csv"), tmp_path / "run", columns=COLUMNS)
    attribute = load_attribute(made.path)
    assert (attribute.values, attribute.reference, attribute.labels) == (tuple(MOODS), None, tuple(MOODS))
    assert yaml.safe_load(made.path.read_text())["reference"] is None
    assert "no reference: each of joy, fear, plain is compared with the mean of the others" in made.notes
    assert check_attribute(attribute) == []
    some = own_attribute(table(tmp_path / "moods.csv"), tmp_path / "two", columns=COLUMNS, values=["joy", "fear"])
    assert {p.label for p in load_prompts(load_attribute(some.path).corpora.fit)} == {"joy", "fear"}


def test_a_language_with_openings_has_steering_and_one_without_has_none(tmp_path):
    rows = table(tmp_path / "moods.csv")
    made = own_attribute(rows, tmp_path / "ja", columns=COLUMNS, reference="plain", language="ja")
    assert yaml.safe_load(made.path.read_text())["openings"]["choose"] == "languages/ja/openings-choose"
    assert yaml.safe_load(made.path.read_text())["classifier"]["features"].startswith("states:")
    made = own_attribute(rows, tmp_path / "sv", columns=COLUMNS, reference="plain", language="sv")
    assert "openings" not in yaml.safe_load(made.path.read_text())
    assert any("no bundled openings in 'sv'" in note for note in made.notes)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"values": ["joy", "anger"], "reference": "plain"}, "no sentence is labelled anger; labels: joy, fear, plain"),
        ({"values": ["joy"], "reference": "joy"}, "is one of the values"),
        ({"values": ["joy", "plain"], "reference": "plain"}, "is one of the values"),
    ],
)  # fmt: skip
def test_what_cannot_be_studied_is_said(tmp_path, asked, told):
    with pytest.raises(EmotionCircuitsError, match=told):
        own_attribute(table(tmp_path / "moods.csv"), tmp_path / "run", columns=COLUMNS, **asked)
    assert not (tmp_path / "run").exists()


def test_repeated_sentences_are_left_out_and_counted(tmp_path):
    path = table(tmp_path / "moods.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[1:6]]) + "\n")
    made = own_attribute(path, tmp_path / "run", columns=COLUMNS, reference="plain")
    assert "5 sentences that repeat an earlier one are left out" in made.notes


def test_an_edited_file_is_not_written_over(tmp_path):
    path, out = table(tmp_path / "moods.csv"), tmp_path / "run"
    made = own_attribute(path, out, columns=COLUMNS, reference="plain")
    own_attribute(path, out, columns=COLUMNS, reference="plain")
    made.path.write_text(made.path.read_text().replace("en: moods", "en: Moods"))
    with pytest.raises(EmotionCircuitsError, match=f"run with --attribute {made.path} and without --corpus"):
        own_attribute(path, out, columns=COLUMNS, reference="plain")


def test_a_table_is_studied_from_the_command_line(tmp_path):
    """Two colours from a CSV without groups, openings in English, on a tiny model: every station that can be run."""
    rows = sentences()
    with (tmp_path / "colours.csv").open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["what", "kind"])
        for label in ("warm", "cold", "plain"):
            write.writerows([row["text"], label] for row in rows if row["label"] == label)
    own = {k: v for k, v in SMALL.items() if k != "prompts"} | {"directions.extractors": ["mean_difference"]}
    sets = [item for key, value in own.items() for item in ("--set", f"{key}={json.dumps(value)}")]
    out = tmp_path / "run"
    done = CliRunner().invoke(
        app,
        ["--quiet", "run", "--corpus", str(tmp_path / "colours.csv"), "--map", "text=what", "--map", "label=kind",
         "--reference", "plain", "--model", str(save_tiny(tmp_path / "tiny")), "--out", str(out), "--no-track", "--json", *sets],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    stages = {s["name"]: s for s in json.loads(done.stdout)["stages"]}
    assert {name for name, s in stages.items() if s["status"] == "ran"} == {
        "capture",
        "directions",
        "trace",
        "circuits",
    }
    assert "no judge" in stages["steering"]["why"]
    assert (out / "attribute.yaml").is_file()
    assert "warm" in (out / "report.html").read_text(encoding="utf-8")
