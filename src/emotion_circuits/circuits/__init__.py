"""Circuits: attribution, exact edges, faithfulness, roles, weights; and planted models with a known circuit."""

from emotion_circuits.circuits.attribution import Attribution, attribute
from emotion_circuits.circuits.calibration import Calibration, calibrate
from emotion_circuits.circuits.claims import head_claims, task_claim
from emotion_circuits.circuits.comparing import dissociation, jaccard, joint_effect, overlap, stability
from emotion_circuits.circuits.edges import EdgeScan, edge_scan
from emotion_circuits.circuits.faithfulness import completeness, edge_curve, faithfulness, minimality, node_curve
from emotion_circuits.circuits.finding import Circuit, find_circuit, load_circuit
from emotion_circuits.circuits.planted import PlantedModel, PlantedSpec, plant
from emotion_circuits.circuits.roles import head_evidence
from emotion_circuits.circuits.running import Arena, arena, run_edge_circuit, run_node_circuits
from emotion_circuits.circuits.weights import alignment, composition, copying_score, head_weights, written_tokens

__all__ = [
    "Arena",
    "Attribution",
    "Calibration",
    "Circuit",
    "EdgeScan",
    "PlantedModel",
    "PlantedSpec",
    "alignment",
    "arena",
    "attribute",
    "calibrate",
    "completeness",
    "composition",
    "copying_score",
    "dissociation",
    "edge_curve",
    "edge_scan",
    "faithfulness",
    "find_circuit",
    "head_claims",
    "head_evidence",
    "head_weights",
    "jaccard",
    "joint_effect",
    "load_circuit",
    "minimality",
    "node_curve",
    "overlap",
    "plant",
    "run_edge_circuit",
    "run_node_circuits",
    "stability",
    "task_claim",
    "written_tokens",
]
