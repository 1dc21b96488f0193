"""One run from config to artefacts: stages, resume, manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emotion_circuits.model import Blueprint, LanguageModel, blueprint
from emotion_circuits.paths import write_json
from emotion_circuits.prompts import load_prompts, prompts_sha256
from emotion_circuits.record.engines import Engine
from emotion_circuits.record.engines.inline import Inline
from emotion_circuits.study.checking import check_against_model
from emotion_circuits.study.config import PROFILES, StudyConfig, load_config
from emotion_circuits.study.manifest import build_manifest
from emotion_circuits.study.running import Context, Stage, StageReport, run_stages, stage_keys
from emotion_circuits.study.speeds import remember
from emotion_circuits.study.stations import STAGES, load_chosen_set, study_prompts

__all__ = [
    "PROFILES",
    "STAGES",
    "StudyConfig",
    "StudyResult",
    "load_chosen_set",
    "load_config",
    "run_study",
    "study_blueprint",
]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StudyResult:
    """A finished (or, in a dry run, planned) study.

    Attributes:
        folder: the run's folder.
        stages: what happened to each stage.
    """

    folder: Path
    stages: tuple[StageReport, ...]


def run_study(
    config: StudyConfig,
    folder: Path | str,
    *,
    model: LanguageModel | None = None,
    dry: bool = False,
    told: Callable[[Stage, str], None] | None = None,
    engine: Engine | None = None,
) -> StudyResult:
    """Run every stage that has to be run and write the manifest.

    Args:
        config: what is asked.
        folder: of the run; the same one goes on where an earlier run stopped.
        model: an already loaded model instead of ``config.model``.
        dry: only say what would run; no weights are loaded and nothing is written.
        told: called with each stage and its status before it runs.
        engine: where parts of stages are computed; in this process by default. Artefacts do not depend on it.

    Raises:
        EmotionCircuitsError: bad input, a busy folder, or an artefact that was changed.
    """
    folder = Path(folder)
    # What the model cannot do is said before its weights are loaded; a bundled one may have to be installed first.
    plan = model if model is not None else study_blueprint(config, folder)
    if plan is not None:
        check_against_model(config, plan)
    if dry and plan is None:
        reports = [StageReport(stage.name, "would run") for stage in STAGES]
        return StudyResult(folder, tuple(reports))
    context = Context(config, folder, loaded=plan if dry else model, engine=engine)
    if plan is None:
        check_against_model(config, context.model)
    reports = run_stages(context, STAGES, dry=dry, told=told)
    if not dry:
        # How long a stage takes with workers says nothing about how long it takes without.
        if engine is None or isinstance(engine, Inline):
            remember(config, context.model, folder, reports)
        sentences = study_prompts(config)
        openings = load_prompts(config.continuations)
        test = load_prompts(config.test_continuations, split="test")
        data = {
            "prompts": {"sets": list(config.prompts), "rows": len(sentences), "sha256": prompts_sha256(sentences)},
            "continuations": {
                "set": config.continuations,
                "rows": len(openings),
                "sha256": prompts_sha256(openings),
            },
            "test_openings": {"set": config.test_continuations, "rows": len(test), "sha256": prompts_sha256(test)},
        }
        command = reproduce(folder)
        write_json(folder / "study.json", config.model_dump(mode="json"))
        write_json(folder / MANIFEST, build_manifest(config, context.model, stage_keys(context, STAGES), data, command))
    return StudyResult(folder, tuple(reports))


def study_blueprint(config: StudyConfig, folder: Path) -> Blueprint | None:
    """The study's model without its weights; ``None`` where it is a bundled one that is not installed.

    The sum of weights that are on a hub is not known before they are loaded: that of an earlier capture of the same model
    in the folder is taken for it.
    """
    found = blueprint(config.model, device=config.device, dtype=config.dtype, revision=config.revision)
    if found is not None and found.source is None:
        found.assumed_sha256 = "unknown"
        try:
            known = json.loads((folder / "capture" / "capture.json").read_text(encoding="utf-8"))["model"]
            if known["name"] == found.name:
                found.assumed_sha256 = str(known["weights_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
    return found


def reproduce(folder: Path) -> str:
    """The command that makes the run again: ``study.json`` (which is YAML too) holds the whole configuration."""
    return f"emotion-circuits run --config {folder / 'study.json'} --out {folder.with_name(folder.name + '-again')}"
