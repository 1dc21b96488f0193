"""The circuits stage on a planted model, whose circuit it has to find, and on a model that no pair fits."""

import pandas as pd
import pytest

from emotion_circuits.circuits import load_circuit
from emotion_circuits.page.page import Page, write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.planted import PlantedSpec, plant
from emotion_circuits.prompts import load_attribute
from emotion_circuits.record.station import Context
from emotion_circuits.stations.circuits import CIRCUITS
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.circuits.section import moves, sections
from emotion_circuits.stations.registry import kinds
from emotion_circuits.study import load_config
from families import tiny_model

SMALL = {
    "circuits.train_pairs": 24,
    "circuits.validation_pairs": 12,
    "circuits.test_pairs": 18,
    "circuits.exact": None,
    "circuits.emotion_heads": 3,
    "circuits.roles": 6,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    planted = plant(PlantedSpec(seed=21, n_pairs=72, values=load_attribute("emotion-en").values))
    run = tmp_path_factory.mktemp("circuits")
    file = run / "planted.jsonl"
    file.write_text("\n".join(p.model_dump_json() for p in planted.pairs) + "\n")
    config = load_config("quick", overrides={**SMALL, "circuits.pairs": str(file)})
    folder = run / "circuits"
    folder.mkdir()
    CIRCUITS.run(Context(config, run, loaded=planted.model), folder)
    return planted, run


def claims_of(run):
    return CircuitsFolder.of(run).read_claims()


def test_the_planted_heads_are_found_and_attention_is_not_believed(ran):
    planted, run = ran
    heads = pd.read_parquet(run / "circuits" / "heads.parquet")
    assert len(heads) == 6 * 6 + 6
    # The aggregator's effect is repaired by its backup: on 18 pairs it is not asked for.
    single = {str(n) for n, role in planted.roles.items() if role in ("detector", "expresser", "canceller")}
    assert single <= set(heads[moves(heads.dropna(subset=["effect"]))].node)
    supported = {c.about.part for c in claims_of(run) if c.kind == "circuits.head" and c.verdict == "supported"}
    assert supported <= {str(n) for n in planted.roles} | {str(planted.mlp)}
    by_attention = heads[heads.kind == "head"].sort_values("attention", ascending=False).node
    assert set(by_attention[: len(planted.decoys)]) == {str(n) for n in planted.decoys}
    members = set(load_circuit(run / "circuits" / "circuit.json").members())
    assert {n for n, role in planted.roles.items() if role in ("aggregator", "expresser")} <= members


def test_one_circuit_for_all_emotions_is_not_called_specific(ran):
    _, run = ran
    claims = {c.id: c for c in claims_of(run)}
    assert claims["circuits.emotions.overlap"].verdict != "supported"
    assert claims["circuits.emotions.dissociation"].verdict != "supported"
    assert len(pd.read_parquet(run / "circuits" / "dissociation.parquet")) == 6 * 3


def test_the_section_is_drawn(ran, tmp_path):
    _, run = ran
    found = sections(CircuitsFolder.of(run), {}, tell(claims_of(run), kinds()))
    assert [part.name for part in found[0].parts if hasattr(part, "name")][:4] == [
        "head-grids", "attention-effect", "faithfulness", "circuit",
    ]  # fmt: skip
    write_page(Page("t", "l", (), found, "c", {}), tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert html.count('class="claim ') == len(claims_of(run))


def test_an_interrupted_scan_is_not_made_again(ran, monkeypatch):
    planted, run = ran
    scan = run / "circuits" / "scan.safetensors"
    before = scan.read_bytes()
    config = load_config("quick", overrides={**SMALL, "circuits.pairs": str(run / "planted.jsonl")})
    (run / "circuits" / "claims.json").unlink()
    CIRCUITS.run(Context(config, run, loaded=planted.model), run / "circuits")
    assert scan.read_bytes() == before
    assert claims_of(run)


def test_a_flipped_bit_in_the_kept_scan_is_noticed_and_the_scan_made_anew(ran, caplog):
    planted, run = ran
    scan = run / "circuits" / "scan.safetensors"
    before = scan.read_bytes()
    scan.write_bytes(before[:-3] + bytes([before[-3] ^ 1]) + before[-2:])
    config = load_config("quick", overrides={**SMALL, "circuits.pairs": str(run / "planted.jsonl")})
    CIRCUITS.run(Context(config, run, loaded=planted.model), run / "circuits")
    assert "scan.safetensors: is damaged; the scan is made anew" in caplog.text
    assert scan.read_bytes() == before


def test_a_model_that_no_pair_fits_is_told_so(tmp_path):
    folder = tmp_path / "circuits"
    folder.mkdir()
    CIRCUITS.run(
        Context(load_config("quick", overrides={"circuits.carried": "never"}), tmp_path, loaded=tiny_model("llama")),
        folder,
    )
    assert claims_of(tmp_path) == []
    (section,) = CIRCUITS.sections(tmp_path, {}, [])
    assert "Not measured" in section.prose[0]
