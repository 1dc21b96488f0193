"""One run from config to artefacts: stages, resume, manifests."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import judge_texts, refuse_unfit
from emotion_circuits.language import say
from emotion_circuits.model import Blueprint, LanguageModel, blueprint
from emotion_circuits.model.prefixes import neutral_prefix
from emotion_circuits.model.vllm import Writer, python_of
from emotion_circuits.prompts import Prompt, load_prompts, prompts_sha256
from emotion_circuits.prompts.attribute_parts import Openings
from emotion_circuits.record.engines import Engine
from emotion_circuits.record.engines.inline import Inline
from emotion_circuits.record.manifest import build_manifest
from emotion_circuits.record.notes import checked
from emotion_circuits.record.reading import STUDY, read_study, write_manifest, write_study
from emotion_circuits.record.running import StationReport, left_out, run_stations, station_keys
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.station import Context, Station
from emotion_circuits.record.studied import Studied, studied, studied_in
from emotion_circuits.stations.capture.station import study_prompts
from emotion_circuits.stations.circuits.settings import pairs_of
from emotion_circuits.stations.registry import study_stations
from emotion_circuits.stations.steering import STEERING
from emotion_circuits.stations.steering.plan import reported_corpus
from emotion_circuits.stations.trace.settings import traced_corpus
from emotion_circuits.study.config import PROFILES, StudyConfig, load_config
from emotion_circuits.study.speeds import remember

__all__ = [
    "PROFILES", "Studied", "StudyConfig", "StudyResult", "load_config", "run_study", "studied", "studied_in", "study_blueprint",
]  # fmt: skip


@dataclass(frozen=True)
class StudyResult:
    """A finished (or, in a dry run, planned) study.

    Attributes:
        folder: the run's folder.
        stages: what happened to each station.
    """

    folder: Path
    stages: tuple[StationReport, ...]


def run_study(
    config: StudySettings,
    folder: Path | str,
    *,
    model: LanguageModel | None = None,
    dry: bool = False,
    told: Callable[[Station, str], None] | None = None,
    engine: Engine | None = None,
    vllm_python: Path | str | None = None,
) -> StudyResult:
    """Run every station that has to be run and write the manifest.

    Args:
        config: what is asked.
        folder: of the run; the same one goes on where an earlier run stopped.
        model: an already loaded model instead of ``config.model``.
        dry: only say what would run; no weights are loaded and nothing is written.
        told: called with each station and its status before it runs.
        engine: where parts of stations are computed; in this process by default. Artefacts do not depend on it.
        vllm_python: with ``writer: vllm``, the Python of the environment that vLLM is in; by default the environment variable
            ``EMOTION_CIRCUITS_VLLM_PYTHON`` names it.

    Raises:
        EmotionCircuitsError: bad input, a busy folder, an artefact that was changed, or texts of another writer.
    """
    _same_writer(config, Path(folder))
    if config.writer == "own":
        return _run_study(config, folder, model, dry, told, engine, None)
    with closing(writer_of(vllm_python, engine)) as writer:
        if isinstance(model, LanguageModel):
            model = replace(model, written_by=writer)
        return _run_study(config, folder, model, dry, told, engine, writer)


def _run_study(
    config: StudySettings,
    folder: Path | str,
    model: LanguageModel | None,
    dry: bool,
    told: Callable[[Station, str], None] | None,
    engine: Engine | None,
    writer: Writer | None,
) -> StudyResult:
    folder, stations = Path(folder), [station for station in study_stations() if station.belongs(config)]
    about = studied(config)
    _refuse_unfit(config, about)
    if isinstance(model, LanguageModel) and model.prefix != neutral_prefix(model.tokenizer, config.prefix):
        raise EmotionCircuitsError(
            f"prefix: the study says {config.prefix!r}, but {model.name} was loaded to begin texts with tokens "
            f"{list(model.prefix)}; load it with prefix={config.prefix!r}"
        )
    # What the model cannot do is said before its weights are loaded; a bundled one may have to be installed first.
    plan = model if model is not None else study_blueprint(config, folder)
    if plan is not None:
        _check_possible(config, plan)
    if dry and plan is None:
        return StudyResult(folder, tuple(StationReport(station.name, "would run") for station in stations))
    context = Context(config, folder, loaded=plan if dry else model, engine=engine, writer=writer)
    if plan is None:
        _check_possible(config, context.model)
    reports = run_stations(context, stations, dry=dry, told=told, begun=lambda: _note_config(config, folder))
    if not dry:
        # How long a station takes with workers says nothing about how long it takes without.
        if engine is None or isinstance(engine, Inline):
            remember(config, context.model, folder, reports)
        keys = station_keys(context, stations)
        write_manifest(
            folder, build_manifest(config, about, context.model, keys, _data(config, about), reproduce(folder))
        )
    return StudyResult(folder, tuple(reports))


def writer_of(python: Path | str | None, engine: Engine | None) -> Writer:
    """What writes with vLLM; close it when all is written.

    Args:
        python: of its environment; ``None``: as the environment variable says.
        engine: of the study; texts are written by one service, so that it must be this process.

    Raises:
        EmotionCircuitsError: no environment is named, or another engine.
    """
    place = python_of(python)
    if engine is not None and not isinstance(engine, Inline):
        raise EmotionCircuitsError(say("writer vllm: one service writes for this process; leave --engine out"))
    return Writer(place)


def _same_writer(config: StudySettings, folder: Path) -> None:
    """Refuse to go on with another writer: texts of two would be compared as if one had written them."""
    kept = read_study(folder)
    before = config.writer if kept is None else kept.get("writer", "own")
    if before != config.writer:
        raise EmotionCircuitsError(
            say(
                "{folder}: its texts are written by '{before}', not by '{asked}'; go on with --writer {before}, or give another "
                "--out",
                folder=folder,
                before=before,
                asked=config.writer,
            )
        )


def _note_config(config: StudySettings, folder: Path) -> None:
    """Keep what is asked before any work, so that a run that is interrupted can go on from its folder alone."""
    write_study(folder, config.model_dump(mode="json"))


def _refuse_unfit(config: StudySettings, about: Studied) -> None:
    """Refuse an attribute whose texts are not there or whose judges do not know its values, with the study's own corpora.

    Raises:
        EmotionCircuitsError: naming every problem.
    """
    a = about.attribute
    changes = {
        "corpora": a.corpora.model_copy(update={"fit": about.fit, "trace": traced_corpus(config)}),
        "openings": None
        if about.choose is None or STEERING.left_out(config, {}) is not None
        else Openings(choose=about.choose, report=reported_corpus(config)),
        "pairs": pairs_of(config),
        # The classifier's own corpora, which a study's other corpora do not change.
        "classifier": a.classifier.model_copy(update={"fit": a.classifier_corpora()}),
    }
    refuse_unfit(a.model_copy(update=changes), about.values)


def _check_possible(config: StudySettings, model: LanguageModel) -> None:
    stations = [station for station in study_stations() if station.belongs(config)]
    lacking = left_out(config, stations)
    for station in stations:
        if station.name not in lacking:
            station.possible(config, model)


def _data(config: StudySettings, about: Studied) -> dict[str, Any]:
    """Which texts the study used, with their number and hash, and which ones its judges were fitted on."""
    sentences = study_prompts(config)

    def of(rows: Sequence[Prompt], **about: Any) -> dict[str, Any]:
        return {**about, "rows": len(rows), "sha256": prompts_sha256(rows)}

    found = {"prompts": of(sentences, sets=list(about.fit))}
    if STEERING.lacks(config) is None:
        choose, test = about.choose, reported_corpus(config)
        assert choose is not None
        found["continuations"] = of(load_prompts(choose), set=choose)
        found["test_openings"] = of(load_prompts(test, split="test"), set=test)
    return {**found, "judges": judge_texts(about.attribute, sentences)}


def study_blueprint(config: StudySettings, folder: Path) -> Blueprint | None:
    """The study's model without its weights; ``None`` where it is a bundled one that is not installed.

    The sum of weights that are on a hub is not known before they are loaded: that of an earlier capture of the same model
    in the folder is taken for it.
    """
    found = blueprint(
        config.model,
        device=config.device,
        dtype=config.dtype,
        writing_dtype=config.writing_dtype,
        revision=config.revision,
    )
    if found is not None and found.source is None:
        found.assumed_sha256 = "unknown"
        try:
            known = loads(checked(folder / "capture" / "capture.json").read_text(encoding="utf-8"))["model"]
            if known["name"] == found.name:
                found.assumed_sha256 = str(known["weights_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
    return found


def reproduce(folder: Path) -> str:
    """The command that makes the run again: ``study.json`` (which is YAML too) holds the whole configuration."""
    again = folder.with_name(f"{folder.name}-again")
    return shlex.join(["emotion-circuits", "run", "--config", str(folder / STUDY), "--out", str(again)])
