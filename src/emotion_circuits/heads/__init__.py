"""Heads: what they attend to (a screen), and what happens when they are taken away or exchanged (causes)."""

from emotion_circuits.heads.nodes import EMBED, LOGITS, Edge, Node, all_edges, all_nodes, head_nodes, mlp_nodes
from emotion_circuits.heads.scanning import BaseRun, base_run, run_variants
from emotion_circuits.heads.scans import Scan, ablation_scan, patch_scan, task_gap
from emotion_circuits.heads.tasks import PairTask, pair_task

__all__ = [
    "EMBED",
    "LOGITS",
    "BaseRun",
    "Edge",
    "Node",
    "PairTask",
    "Scan",
    "ablation_scan",
    "all_edges",
    "all_nodes",
    "base_run",
    "head_nodes",
    "mlp_nodes",
    "pair_task",
    "patch_scan",
    "run_variants",
    "task_gap",
]
