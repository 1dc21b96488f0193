"""``emotion-circuits run``: a whole study, from prompts to the report."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from emotion_circuits.cli.completing import MODELS, PROFILES, attributes, offering
from emotion_circuits.cli.shared import (
    Columns,
    Device,
    Dtype,
    EngineName,
    EngineOptions,
    JsonFlag,
    Language,
    Revision,
    Track,
    VllmPython,
    Workers,
    WriterName,
    engine_for,
    long_running,
    mapped,
    note,
    print_table,
    recorded,
    show_json,
)

if TYPE_CHECKING:
    from emotion_circuits.record.settings import StudySettings


def run(
    model: Annotated[
        str | None, typer.Option(help="Bundled name, hub id, folder or .gguf file.", autocompletion=offering(MODELS))
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="quick (the default), plan, chat, baseline or extended.", autocompletion=offering(PROFILES)),
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option(help="What is studied: a bundled attribute or a YAML file.", autocompletion=offering(attributes)),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="Your own table of labelled sentences (CSV, TSV, JSONL, JSON, Parquet, Excel), studied as an attribute of its "
            "own; its file is written into the folder of the run."
        ),
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="With --corpus: the labels that are studied, separated by commas; default: all.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="With --corpus: the label they are compared with; without it each is compared with the mean of the others."
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(help="With --corpus: ISO 639-1 code of the sentences, where no column says it.")
    ] = "en",
    config: Annotated[Path | None, typer.Option(help="YAML file with changes to the profile.")] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder of the run. Where nothing else is said of the study, one that is there goes on."),
    ] = Path("runs/study"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. steering.samples=2.")] = None,
    columns: Columns = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    writer: WriterName = None,
    vllm_python: VllmPython = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what is done and what is left, with estimated tokens, time and disk; run nothing."
        ),
    ] = False,
    engine: EngineName = "inline",
    workers: Workers = None,
    engine_option: EngineOptions = None,
    lang: Language = "en",
    track: Track = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a study and write its report.

    Stations whose inputs are unchanged are reused; an interrupted run goes on where it stopped. With --out alone a run that
    is there goes on with its own settings.

    Example: emotion-circuits run --profile quick --out runs/demo

    Example: emotion-circuits run --corpus moods.csv --map text=sentence --map label=mood --reference neutral --out runs/moods

    Example: emotion-circuits run --profile baseline --set steering.samples=2 --out runs/baseline --dry-run
    """
    from emotion_circuits.record.reading import read_claims
    from emotion_circuits.report.study_page import summary_table, write_report
    from emotion_circuits.study import run_study
    from emotion_circuits.study.tracking import Tracker, default_uri, track_study

    given = {"model": model, "attribute": attribute, "dtype": dtype, "revision": revision, "writer": writer}
    overrides: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    overrides |= settings_of(set_ or [])
    if corpus is not None:
        overrides["attribute"] = _own(corpus, out, columns, values, reference, language, attribute)
    elif values is not None or reference is not None:
        raise typer.BadParameter("--values and --reference say what is studied of a --corpus; name one")
    elif columns:
        overrides["prompts"] = _mapped_prompts(overrides.get("prompts"), columns)
    study = _study(profile, config, overrides, device, out)
    where = engine_for(engine, workers, engine_option)
    if dry_run:
        _dry_run(study, out, as_json, vllm_python)
        return
    with closing(where), long_running():
        done = run_study(
            study,
            out,
            told=lambda stage, status: note(f"{stage.title}: {status}"),
            engine=where,
            vllm_python=vllm_python,
        )
        path = write_report(out, out=out / "report.html", language=lang)
        run_id = recorded(track, lambda: track_study(out, Tracker(default_uri(out)), read_claims(out)))
    summary = summary_table(out)
    if as_json:
        show_json(
            {"report": str(path), "stages": [r.__dict__ for r in done.stages], "summary": summary, "run_id": run_id}
        )
        return
    print_table(_summary(out, summary))
    if run_id is not None:
        typer.echo(f"Recorded as MLflow run {run_id} (emotion-circuits runs show {out})")
    typer.echo(f"Report: {path.resolve()}")


def _own(
    corpus: Path,
    out: Path,
    columns: list[str] | None,
    values: str | None,
    reference: str | None,
    language: str,
    attribute: str | None,
) -> str:
    """The attribute's file that is made of a user's table."""
    from emotion_circuits.curation.own import own_attribute
    from emotion_circuits.prompts.loading import parse_column_map

    if attribute is not None:
        raise typer.BadParameter("--corpus makes an attribute of its own; leave out --attribute, or --corpus")
    wanted = None if values is None else [v.strip() for v in values.split(",") if v.strip()]
    with long_running():
        made = own_attribute(
            corpus, out, columns=parse_column_map(columns or ()), values=wanted, reference=reference, language=language
        )
    for line in made.notes:
        note(f"{corpus}: {line}")
    note(f"What is studied stands in {made.path}")
    return str(made.path.absolute())


def _study(
    profile: str | None, config: Path | None, overrides: dict[str, Any], device: str | None, out: Path
) -> StudySettings:
    """What is asked; where nothing is said of the study, what a run that is there was asked."""
    from emotion_circuits.study.config import load_config, run_config

    where = {} if device is None else {"device": device}
    if profile is None and config is None and not overrides and (kept := run_config(out, overrides=where)):
        note(f"{out}: going on with its own settings")
        return kept
    return load_config(profile or "quick", file=config, overrides={**overrides, **where})


def _summary(out: Path, rows: list[dict[str, str]]) -> Table:
    """One section per station, so that names stay short enough for a narrow terminal."""
    table = Table(title=f"Summary of {out}", box=None, pad_edge=False)
    for heading in ("finding", "figure", "95 % interval"):
        table.add_column(heading, no_wrap=True)
    for heading in ("chance or null", "verdict"):
        table.add_column(heading, overflow="fold")
    stage = ""
    for row in rows:
        first, _, finding = row["finding"].partition(".")
        if first != stage:
            stage = first
            table.add_row()
            table.add_row(Text(stage, style="bold"))
        table.add_row(
            f"  {finding} {row['about']}".rstrip(),
            *(row[key] for key in ("figure", "interval", "reference", "verdict")),
        )
    return table


def _dry_run(study: Any, out: Path, as_json: bool, vllm_python: Path | None) -> None:
    from dataclasses import asdict

    from emotion_circuits.study import run_study, study_blueprint
    from emotion_circuits.study.planning import plan_study

    with long_running():
        done = run_study(study, out, dry=True, vllm_python=vllm_python)
        model = study_blueprint(study, out)
        plan = None if model is None else plan_study(study, out, model, done.stages)
    if plan is None:
        why = (
            f"{study.model} is not installed, so nothing can be counted: emotion-circuits models install {study.model}"
        )
        rows = [{"stage": r.name, "status": "to do"} for r in done.stages]
        if as_json:
            show_json({"folder": str(out), "stages": rows, "total": None, "method": why})
            return
        for row in rows:
            typer.echo(f"{row['stage']:12} {row['status']}")
        typer.echo(why)
        return
    total = plan.total()
    if as_json:
        show_json(
            {"folder": str(out), "stages": [asdict(s) for s in plan.stages], "total": total, "method": plan.method}
        )
        return
    table = Table("stage", "status", title=f"{study.model} into {out}: what is left")
    for heading in ("tokens", "time", "disk"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note", overflow="fold")
    for s in plan.stages:
        figures = (
            ("", "", "") if s.status in ("done", "left out") else (f"{s.tokens:,}", _time(s.seconds), _size(s.bytes))
        )
        table.add_row(s.stage, s.status, *figures, s.note)
    table.add_section()
    table.add_row("in all", "", f"{total['tokens']:,}", _time(total["seconds"]), _size(total["bytes"]), "")
    print_table(table)
    typer.echo(plan.method)


def _time(seconds: float) -> str:
    minutes = seconds / 60
    if minutes >= 90:
        return f"{minutes / 60:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _size(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def settings_of(items: list[str]) -> dict[str, Any]:
    """Settings by dotted name from KEY=VALUE, the values read as YAML.

    Raises:
        typer.BadParameter: no such pair, or a value that is no YAML.
    """
    from emotion_circuits.documents import UnreadableError, parse_yaml

    values: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE", param_hint="--set")
        try:
            values[key] = parse_yaml(value)
        except UnreadableError as error:
            raise typer.BadParameter(f"{item!r}: the value {error.message}", param_hint="--set") from error
    return values


def _mapped_prompts(prompts: Any, columns: list[str]) -> list[str]:
    named = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise typer.BadParameter("it names columns of the corpora in --set prompts=[FILE, …]", param_hint="--map")
    return mapped(named, columns)
