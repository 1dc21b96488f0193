"""The telescope: load a model, name its sites, watch them, change them, generate."""

from emotion_circuits.model.blueprint import Blueprint, blueprint
from emotion_circuits.model.bundled import BUNDLED, install, installed
from emotion_circuits.model.families import FAMILIES, Family
from emotion_circuits.model.fingerprint import weights_sha256
from emotion_circuits.model.generation import Generated, Sampling, generate
from emotion_circuits.model.intervening import Ablate, Add, Clamp, Gate, Intervention, Patch, for_rows, intervene
from emotion_circuits.model.language_model import Batch, LanguageModel
from emotion_circuits.model.loading import load_model
from emotion_circuits.model.observing import Record, observe
from emotion_circuits.model.positions import ALL, LAST, REST, Positions
from emotion_circuits.model.replicas import writing_model
from emotion_circuits.model.selfcheck import CheckResult, self_check
from emotion_circuits.model.sites import Site

__all__ = [
    "ALL",
    "BUNDLED",
    "FAMILIES",
    "LAST",
    "REST",
    "Ablate",
    "Add",
    "Batch",
    "Blueprint",
    "CheckResult",
    "Clamp",
    "Family",
    "Gate",
    "Generated",
    "Intervention",
    "LanguageModel",
    "Patch",
    "Positions",
    "Record",
    "Sampling",
    "Site",
    "blueprint",
    "for_rows",
    "generate",
    "install",
    "installed",
    "intervene",
    "load_model",
    "observe",
    "self_check",
    "weights_sha256",
    "writing_model",
]
