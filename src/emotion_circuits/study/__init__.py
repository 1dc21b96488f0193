"""One run from config to artefacts: stages, resume, manifests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import write_json
from emotion_circuits.prompts import load_prompts, prompts_sha256
from emotion_circuits.study.config import PROFILES, StudyConfig, load_config
from emotion_circuits.study.manifest import build_manifest
from emotion_circuits.study.running import Context, Stage, StageReport, run_stages, stage_keys
from emotion_circuits.study.stations import STAGES, load_chosen_set, study_prompts

__all__ = ["PROFILES", "STAGES", "StudyConfig", "StudyResult", "load_chosen_set", "load_config", "run_study"]

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
) -> StudyResult:
    """Run every stage that has to be run and write the manifest.

    Args:
        config: what is asked.
        folder: of the run; the same one goes on where an earlier run stopped.
        model: an already loaded model instead of ``config.model``.
        dry: only say what would run.
        told: called with each stage and its status before it runs.

    Raises:
        EmotionCircuitsError: bad input, a busy folder, or an artefact that was changed.
    """
    folder = Path(folder)
    context = Context(config, folder, loaded=model)
    reports = run_stages(context, STAGES, dry=dry, told=told)
    if not dry:
        sentences = study_prompts(config)
        openings = load_prompts(config.continuations)
        test_set = config.steering.test_openings or config.continuations
        test = load_prompts(test_set, split="test")
        data = {
            "prompts": {"sets": list(config.prompts), "rows": len(sentences), "sha256": prompts_sha256(sentences)},
            "continuations": {
                "set": config.continuations,
                "rows": len(openings),
                "sha256": prompts_sha256(openings),
            },
            "test_openings": {"set": test_set, "rows": len(test), "sha256": prompts_sha256(test)},
        }
        command = reproduce(folder)
        write_json(folder / "study.json", config.model_dump(mode="json"))
        write_json(folder / MANIFEST, build_manifest(config, context.model, stage_keys(context, STAGES), data, command))
    return StudyResult(folder, tuple(reports))


def reproduce(folder: Path) -> str:
    """The command that makes the run again: ``study.json`` (which is YAML too) holds the whole configuration."""
    return f"emotion-circuits run --config {folder / 'study.json'} --out {folder.with_name(folder.name + '-again')}"
