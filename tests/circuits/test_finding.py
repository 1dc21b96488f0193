"""A circuit is found, kept and drawn; another version's file is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emotion_circuits.circuits import Circuit, Search, find_circuit, head_evidence, load_circuit
from emotion_circuits.circuits.drawing import circuit_figure, curve_figure
from emotion_circuits.circuits.finding import _evidence
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, pair_task
from emotion_circuits.language import speaking
from emotion_circuits.page.telling import tell
from emotion_circuits.planted import PlantedModel, PlantedSpec, plant
from emotion_circuits.stations.circuits.words import KINDS


@pytest.fixture(scope="module", params=[("gpt2", 1, 11), ("llama", 2, 12)], ids=["gpt2", "llama"])
def planted(request: pytest.FixtureRequest) -> PlantedModel:
    architecture, languages, seed = request.param
    return plant(PlantedSpec(seed=seed, architecture=architecture, languages=languages, n_pairs=36))


def test_a_circuit_is_found_saved_and_drawn(planted: PlantedModel, tmp_path: Path) -> None:
    circuit = find_circuit(planted.model, planted.pairs, exact=12, steps=3, search=Search(n_random=3, roles=8))
    members = set(circuit.members())
    expected = [n for n, role in planted.roles.items() if role in ("detector", "aggregator", "expresser")]
    assert members >= {*expected, planted.mlp}
    claims = {c.id: c for c in circuit.claims}
    assert claims["circuits.faithfulness.pairs"].verdict == "supported"
    assert claims["circuits.task.pairs"].verdict == "supported"
    assert claims["circuits.task.pairs"].figures.beside["right"] > 0.9
    assert circuit.reached
    assert "circuits.none.pairs" not in claims
    for kind in ("faithfulness", "heads", "backup", "complete", "minimal"):
        figures = claims[f"circuits.{kind}.pairs"].figures
        assert figures.p is not None
        assert figures.q is not None
        assert figures.family
    assert claims["circuits.faithfulness.pairs"].figures.p == pytest.approx(0.01)
    assert circuit.cpr.circuit > circuit.cpr.random
    assert circuit.stability.jaccard > circuit.stability.chance
    assert circuit.agreement.spearman > 0.5
    circuit.save(tmp_path / "circuit.json")
    assert load_circuit(tmp_path / "circuit.json") == circuit
    figure = circuit_figure(circuit)
    assert circuit.plot() == figure
    assert circuit.plot("sizes") == curve_figure(circuit)
    with pytest.raises(EmotionCircuitsError, match="there are parts, sizes"):
        circuit.plot("whole")
    assert len(repr(circuit)) < 200
    assert str(circuit.nodes[0].node) in circuit._repr_html_()
    drawn = {t for trace in figure.data for t in (trace.hovertext or ()) if trace.mode == "markers+text"}
    assert {"embed", "logits"} <= drawn
    assert {t.split(":")[0] for t in drawn} >= {n.node for n in circuit.nodes}
    assert sum(trace.mode == "lines" for trace in figure.data) <= 24
    assert len(curve_figure(circuit).data) == 4
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(EmotionCircuitsError, match="is not a circuit"):
        load_circuit(tmp_path / "bad.json")
    with pytest.raises(EmotionCircuitsError, match="no test pairs"):
        find_circuit(planted.model, [p for p in planted.pairs if p.split != "test"])


@pytest.fixture(scope="module")
def small() -> Circuit:
    """A circuit of a quick search: without random orders, joint effects and completeness, with evidence."""
    planted = plant(PlantedSpec(seed=3, n_pairs=36))
    search = Search(n_random=0, roles=3, samples=4, thorough=False)
    return find_circuit(planted.model, planted.pairs, exact=4, steps=2, search=search)


def test_what_was_not_measured_is_none_and_survives_the_file(small: Circuit, tmp_path: Path) -> None:
    assert (small.cpr.random, small.cmd.random, small.curve[0].random) == (None, None, None)
    assert (small.joint, small.incompleteness, small.unneeded) == (None, None, None)
    assert len(curve_figure(small).data) == 2
    small.save(tmp_path / "circuit.json")
    assert load_circuit(tmp_path / "circuit.json") == small
    with pytest.raises(ValueError, match="frozen"):
        small.gap = 0.0  # type: ignore[misc]


def test_where_no_size_reaches_the_target_no_circuit_is_claimed(planted: PlantedModel) -> None:
    """Two parts cannot carry the behaviour: the claim is that there is no circuit, and random ones need no second kind."""
    found = find_circuit(
        planted.model,
        planted.pairs,
        exact=4,
        steps=2,
        search=Search(max_nodes=2, n_random=0, samples=19, thorough=False),
    )
    assert not found.reached
    assert found.against_random.same_mlps is None
    claims = {c.kind: c for c in found.claims}
    assert {"circuits.faithfulness", "circuits.heads"}.isdisjoint(claims)
    none = claims["circuits.none"]
    assert (none.verdict, none.reason) == ("supported", "below")
    assert none.figures.side == "less"
    assert none.figures.zero == 0.8
    assert none.figures.estimate < 0.8
    (told,) = tell([none], {kind.name: kind for kind in KINDS})
    assert told.statement.startswith("No circuit of up to 2 of the 42 heads and MLPs")
    with speaking("ja"):
        (told,) = tell([none], {kind.name: kind for kind in KINDS})
    assert "No circuit" not in told.statement


def test_with_too_few_random_circuits_nothing_is_supported(planted: PlantedModel) -> None:
    """The best rank among 10 is p = 0.09."""
    found = find_circuit(
        planted.model, planted.pairs, exact=4, steps=2, search=Search(n_random=0, samples=10, thorough=False)
    )
    (claim,) = [c for c in found.claims if c.kind == "circuits.faithfulness"]
    assert claim.figures.p == pytest.approx(1 / 11)
    assert claim.verdict == "inconclusive"


def test_evidence_of_a_head_that_moves_nothing_has_no_places_where_it_acts(planted: PlantedModel) -> None:
    task = pair_task(planted.model, planted.pairs[:18])
    kept = _evidence(head_evidence(planted.model, task, [*planted.roles, *planted.decoys]))
    by_node = {Node.parse(e.node): e for e in kept}
    assert all((by_node[n].at_last, by_node[n].elsewhere) == (None, None) for n in planted.decoys)
    expresser = next(by_node[n] for n, role in planted.roles.items() if role == "expresser")
    assert expresser.at_last is not None
    assert expresser.role == "expresser"


@pytest.mark.parametrize(("version", "words"), [(3, "an older version"), (5, "a newer version")])
def test_a_circuit_of_another_version_is_refused(small: Circuit, tmp_path: Path, version: int, words: str) -> None:
    path = tmp_path / "circuit.json"
    small.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "format": version}), encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match=f"has format {version}, this version reads 4: {words}"):
        load_circuit(path)


def test_circuits_need_neither_planted_models_nor_the_drawing_library() -> None:
    code = (
        "import sys, emotion_circuits.circuits\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] == 'plotly' or m.startswith('emotion_circuits.planted')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
