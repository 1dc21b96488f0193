"""The sharing station over runs whose circuits are planted: what is shared is claimed, what is not is not, what lacks is told."""

import numpy as np
import pytest

from emotion_circuits.circuits import attribute
from emotion_circuits.circuits.claims import node_effects
from emotion_circuits.circuits.finding import Search, measure_circuit, ranking, split_task
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import weights_sha256
from emotion_circuits.page.page import Page, write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.paths import file_sha256
from emotion_circuits.planted import PlantedSpec, plant
from emotion_circuits.prompts import load_attribute
from emotion_circuits.record.notes import write_note
from emotion_circuits.record.reading import write_manifest
from emotion_circuits.record.studied import Studied
from emotion_circuits.stations.circuits.effects import pair_effects
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.registry import kinds
from emotion_circuits.stations.sharing import SHARING
from emotion_circuits.stations.sharing.folder import SharingFolder
from emotion_circuits.stations.sharing.settings import SharingSettings
from emotion_circuits.stations.sharing.station import _circuit_drafts
from emotion_circuits.statistics import corrected
from emotion_circuits.study.over_runs import run_over

VALUES = load_attribute("emotion-en").values
SETTINGS = SharingSettings(draws=199, halvings=10, resamples=100)


def finished(run, name, found, pairs, made_of, *, base="emotion-en", circuit=True):
    """A finished run that holds nothing but what its circuits station leaves, of a model that says it is ``made_of``."""
    folder = CircuitsFolder.of(run)
    folder.path.mkdir(parents=True)
    file = run / "pairs.jsonl"
    file.write_text("\n".join(p.model_dump_json() for p in pairs) + "\n", encoding="utf-8")
    about = load_attribute(base).model_copy(update={"name": name, "pairs": str(file)})
    claims = []
    if pairs:
        tasks = {split: split_task(found.model, pairs, split, 48) for split in ("train", "validation", "test")}
        train = tasks["train"].one_way()
        scored = attribute(found.model, train, steps=2)
        folder.effects.write(pair_effects(scored, train, about.values))
        effects = node_effects(found.model, tasks["test"], ranking(scored)[:4], draws=20, name=name)
        how = Search(sizes=6, n_random=1, samples=19, roles=0, thorough=False)
        kept = measure_circuit(found.model, tasks, scored, scored, effects, name=name, search=how)
        kept = kept if circuit else kept.model_copy(update={"claims": []})
        folder.save_circuit(kept)
        claims = kept.claims
    folder.write_claims(claims)
    sums = {p.name: file_sha256(p) for p in sorted(folder.path.iterdir())}
    write_note(folder.path, {"status": "complete", "key": f"key of {name}", "files": sums})
    config = {
        "model": "planted",
        "attribute": "emotion-en",
        "circuits": {"pairs": None, "test_pairs": 48, "batch_rows": 256},
    }
    write_manifest(
        run,
        {
            "command": "", "config": {**config, "seed": 0}, "stations": {"circuits": f"key of {name}"},
            "studied": Studied(about, about.values, (), None).to_json(),
            "model": {"name": made_of.model.name, "weights_sha256": weights_sha256(made_of.model)},
        },
    )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two halves of one planted model's pairs, an unrelated task whose heads lie elsewhere, one with nothing to compare."""
    root = tmp_path_factory.mktemp("runs")
    model = plant(PlantedSpec(seed=12, architecture="llama", n_pairs=96, values=VALUES))
    # Every split has pairs of every value in both halves.
    halves = [[p for i, p in enumerate(model.pairs) if (i // 12) % 2 == side] for side in (0, 1)]
    elsewhere = plant(PlantedSpec(seed=32, architecture="llama", n_pairs=48, values=load_attribute("formality").values))
    assert {model.roles[node] for node in set(model.roles) & set(elsewhere.roles)} <= {"backup"}
    return model, [
        finished(root / "a", "one", model, halves[0], model),
        finished(root / "b", "other", model, halves[1], model),
        finished(root / "u", "unrelated", elsewhere, elsewhere.pairs, model, base="formality"),
        finished(root / "n", "silent", model, [], model),
    ]


@pytest.fixture(scope="module")
def gathered(runs, tmp_path_factory):
    model, folders = runs
    out = tmp_path_factory.mktemp("out")
    report = run_over(SHARING, folders, out, SETTINGS, model=model.model, attribute="emotion-en")
    assert report.status == "ran"
    return SharingFolder.of(out), out


def test_planted_heads_and_circuits_are_claimed_as_shared(gathered):
    folder, _ = gathered
    claims = {c.id: c for c in folder.read_claims()}
    assert set(claims) == {
        "sharing.heads.pairs.one.other", "sharing.specific.pairs.one.other",
        "sharing.circuit.one.other", "sharing.circuit.other.one",
        "sharing.circuit.specific.one.other", "sharing.circuit.specific.other.one",
    }  # fmt: skip
    assert {c.verdict for c in claims.values()} == {"supported"}
    heads = claims["sharing.heads.pairs.one.other"].figures
    assert heads.estimate == pytest.approx(1, abs=0.1)
    assert claims["sharing.circuit.one.other"].figures.tests == 2
    crossed = folder.crossed.read().set_index(["source", "target"])
    assert set(crossed.index) == {("one", "other"), ("other", "one")}
    assert (crossed["share"] > 0.8).all()
    assert (crossed["unrelated"] == "unrelated").all()
    assert folder.strongest.read()["k"].tolist() == [5, 10, 20]


def test_what_lacks_is_told(gathered):
    folder, out = gathered
    told = [str(row) for row in folder.left_out()]
    assert told == ["silent has no minimal pairs that fit the model"]
    (section,) = SHARING.sections(out, {}, tell(folder.read_claims(), kinds()))
    assert any("silent" in text for text in section.prose)


def test_the_section_is_drawn(gathered, tmp_path):
    folder, out = gathered
    found = SHARING.sections(out, {}, tell(folder.read_claims(), kinds()))
    assert [part.name for part in found[0].parts] == [
        "sharing-heads-pairs", "sharing-table", "sharing-strongest", "sharing-circuits", "sharing-crossed",
    ]  # fmt: skip
    write_page(Page("t", "l", (), found, "c", {}), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count('class="claim ') == 6


def test_a_circuit_that_is_not_supported_is_not_run(runs, tmp_path):
    model, folders = runs
    pairs = [p for i, p in enumerate(model.pairs) if (i // 12) % 2]
    without = finished(tmp_path / "c", "third", model, pairs, model, circuit=False)
    run_over(SHARING, [folders[0], without], tmp_path / "out", SETTINGS, model=model.model, attribute="emotion-en")
    folder = SharingFolder.of(tmp_path / "out")
    assert not folder.crossed.exists()
    assert [str(row) for row in folder.left_out()] == [
        "of third no circuit is supported",
        "no other study shares a value with one and has a supported circuit",
    ]
    assert {c.kind for c in folder.read_claims()} == {"sharing.heads"}
    assert np.isnan(folder.shared.read()["wrong"].iloc[0])


def test_next_to_nothing_is_not_called_shared(gathered):
    """A circuit that surely keeps more than random ones, but hardly any of the gap."""
    folder, _ = gathered
    row = folder.crossed.read().iloc[0].to_dict()
    row |= {"faithfulness": 0.06, "low": 0.03, "high": 0.09, "random": 0.01, "layers": 0.01}
    assert {c.verdict for c in corrected(_circuit_drafts(row))} == {"not supported"}


def test_nothing_to_compare_is_no_failure(runs, tmp_path):
    model, folders = runs
    report = run_over(SHARING, folders[2:], tmp_path / "out", SETTINGS, model=model.model, attribute="emotion-en")
    folder = SharingFolder.of(tmp_path / "out")
    assert report.status == "ran"
    assert folder.skipped is not None
    assert folder.read_claims() == []
    (section,) = SHARING.sections(tmp_path / "out", {}, [])
    assert "Not measured" in section.prose[0]


def test_heads_of_two_models_and_the_same_attribute_twice_are_refused(runs, tmp_path):
    model, folders = runs
    other = plant(PlantedSpec(seed=5, n_pairs=12))
    foreign = finished(tmp_path / "f", "foreign", other, [], other)
    for given, message in (([folders[0], foreign], "runs of one model"), ([folders[0], folders[0]], "the same one")):
        with pytest.raises(EmotionCircuitsError, match=message):
            run_over(SHARING, given, tmp_path / "no", SETTINGS, model=model.model, attribute="emotion-en")
