"""Steering with other sentences' directions on a tiny random model: two attributes share values, a third does not."""

import pytest
import yaml

from attribute_cases import write_colours
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.stations.steering_transfer import STEERING_TRANSFER
from emotion_circuits.stations.steering_transfer.folder import SteeringTransferFolder
from emotion_circuits.stations.steering_transfer.section import sections
from emotion_circuits.stations.steering_transfer.settings import SteeringTransferSettings
from emotion_circuits.study import run_study
from emotion_circuits.study.over_runs import run_over
from study_cases import save_tiny, small

OTHER = {"colours": "shades", "warm": "hot", "cold": "icy", "plain": "dull"}


def write(root, name, words=()):
    """The invented attribute under another name, ``words`` among its labels replaced."""
    folder = root / name
    folder.mkdir()
    path = write_colours(folder, pairs=None)
    fields = yaml.safe_load(path.read_text(encoding="utf-8")) | {"name": name, "judges": [name, "keywords"]}
    text = yaml.safe_dump(fields, allow_unicode=True)
    rows = (folder / "colours.jsonl").read_text(encoding="utf-8")
    for word in words:
        text, rows = text.replace(f"{word}:", f"{OTHER[word]}:"), rows.replace(f'"{word}"', f'"{OTHER[word]}"')
        text = text.replace(f"- {word}\n", f"- {OTHER[word]}\n").replace(f": {word}\n", f": {OTHER[word]}\n")
    path.write_text(text, encoding="utf-8")
    (folder / "colours.jsonl").write_text(rows, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("carried")
    tiny, found = save_tiny(root / "tiny"), []
    for name, words in (("colours", ()), ("shades", ()), ("sizes", ("warm", "cold"))):
        changes = {"attribute": str(write(root, name, words)), "prompts": None, "leave_out": ["trace", "circuits"]}
        if name == "sizes":
            changes["steering.test_prompts"] = 9
        run_study(small(tiny, **changes), root / f"run-{name}")
        found.append(root / f"run-{name}")
    return root, found


def gather(root, runs, name):
    own = SteeringTransferSettings(draws=19)
    report = run_over(STEERING_TRANSFER, runs, root / name, own, attribute=str(root / "colours" / "colours.yaml"))
    return report, SteeringTransferFolder.of(root / name)


def test_every_direction_is_written_on_the_others_openings(runs):
    root, made = runs
    report, folder = gather(root, made, "all")
    assert report.status == "ran"
    table = folder.pushes.read()
    assert {(r["source"], r["target"], r["value"]) for r in table.to_dict("records")} == {
        (a, b, v) for a, b in (("colours", "shades"), ("shades", "colours")) for v in ("warm", "cold")
    }
    assert table[["change", "null_low", "own", "wrong", "specific", "ratio"]].notna().all().all()
    texts = folder.texts.read()
    assert {"none", "shades | warm", "shades | cold"} <= set(texts.query("target == 'colours'")["condition"])
    claims = folder.read_claims()
    assert {claim.kind for claim in claims} == {"steering_transfer.effect", "steering_transfer.specific"}
    assert not [claim.id for claim in claims if claim.verdict == "supported"]
    assert [(row.what, row.values["names"]) for row in folder.left_out()] == [("sizes", "sizes")]
    (section,) = sections(folder, {}, [])
    assert [p.name for p in section.parts][:2] == ["steering-transfer-warm", "steering-transfer-cold"]
    assert gather(root, made, "all")[0].status == "reused"


def test_where_nothing_can_be_compared_it_is_said(runs):
    root, (colours, _, sizes) = runs
    _, folder = gather(root, [colours, sizes], "apart")
    assert folder.skipped is not None
    assert "no other steered study shares a value" in str(folder.skipped)


def test_one_attribute_twice_is_refused(runs):
    root, (colours, *_) = runs
    with pytest.raises(EmotionCircuitsError, match="two of these runs study the same one"):
        gather(root, [colours, colours], "twice")
