"""Circuits: attribution, exact edges, faithfulness, roles, weights, and what two circuits share."""

from emotion_circuits.circuits.arena import Arena, arena, run_edge_circuit, run_node_circuits
from emotion_circuits.circuits.attribution import Attribution, attribute
from emotion_circuits.circuits.circuit import Circuit, load_circuit
from emotion_circuits.circuits.claims import head_claims, task_claim
from emotion_circuits.circuits.completeness import Completeness, Minimality, completeness, minimality
from emotion_circuits.circuits.edges import EdgeScan, edge_scan
from emotion_circuits.circuits.faithfulness import edge_curve, faithfulness, node_curve
from emotion_circuits.circuits.finding import Search, find_circuit
from emotion_circuits.circuits.joint import Joint, dissociation, joint_effect
from emotion_circuits.circuits.overlap import Stability, emotion_overlap, jaccard, overlap, stability
from emotion_circuits.circuits.random_circuits import AgainstRandom, circuit_against_random
from emotion_circuits.circuits.roles import head_evidence
from emotion_circuits.circuits.weights import alignment, composition, copying_score, head_weights, written_tokens

__all__ = [
    "AgainstRandom",
    "Arena",
    "Attribution",
    "Circuit",
    "Completeness",
    "EdgeScan",
    "Joint",
    "Minimality",
    "Search",
    "Stability",
    "alignment",
    "arena",
    "attribute",
    "circuit_against_random",
    "completeness",
    "composition",
    "copying_score",
    "dissociation",
    "edge_curve",
    "edge_scan",
    "emotion_overlap",
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
    "run_edge_circuit",
    "run_node_circuits",
    "stability",
    "task_claim",
    "written_tokens",
]
