"""``emotion-circuits run``: a whole study, from prompts to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from emotion_circuits.cli.shared import Device, Dtype, JsonFlag, Revision, Track, long_running, recorded, show_json


def run(
    model: Annotated[str | None, typer.Option(help="Bundled name, hub id, folder or .gguf file.")] = None,
    profile: Annotated[str, typer.Option(help="quick, baseline or extended.")] = "quick",
    config: Annotated[Path | None, typer.Option(help="YAML file with changes to the profile.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; run again with the same one to go on.")] = Path(
        "runs/study"
    ),
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. steering.samples=2.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which stages would run, and stop.")] = False,
    lang: Annotated[str, typer.Option(help="Language of the report: en or ja.")] = "en",
    track: Track = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a study and write its report.

    Stages whose inputs are unchanged are reused; an interrupted run goes on where it stopped.

    Example: emotion-circuits run --profile quick --out runs/demo
    """
    from emotion_circuits.report.study_page import read_claims, summary_table, write_report
    from emotion_circuits.study import run_study
    from emotion_circuits.study.config import load_config
    from emotion_circuits.study.tracking import Tracker, default_uri, track_study

    given = {"model": model, "device": device, "dtype": dtype, "revision": revision}
    overrides: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    overrides |= _settings(set_ or [])
    study = load_config(profile, file=config, overrides=overrides)
    console = Console(stderr=True)
    with long_running():
        done = run_study(
            study,
            out,
            dry=dry_run,
            told=lambda stage, status: console.print(f"{stage.title}: {status}"),
        )
        if dry_run:
            rows = [{"stage": r.name, "status": r.status} for r in done.stages]
            if as_json:
                show_json({"stages": rows})
            for row in [] if as_json else rows:
                typer.echo(f"{row['stage']:12} {row['status']}")
            return
        path = write_report(out, out=out / "report.html", language=lang)
        run_id = recorded(track, lambda: track_study(out, Tracker(default_uri(out)), read_claims(out)))
    summary = summary_table(out)
    if as_json:
        show_json(
            {"report": str(path), "stages": [r.__dict__ for r in done.stages], "summary": summary, "run_id": run_id}
        )
        return
    table = Table(title=f"Summary of {out}")
    table.add_column("finding", overflow="fold")
    for heading in ("figure", "95 % interval", "chance or null"):
        table.add_column(heading, no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for row in summary:
        table.add_row(*(row[key] for key in ("finding", "figure", "interval", "reference", "verdict")))
    Console().print(table)
    if run_id is not None:
        typer.echo(f"Recorded as MLflow run {run_id} (emotion-circuits runs show {out})")
    typer.echo(f"Report: {path.resolve()}")


def _settings(items: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE", param_hint="--set")
        values[key] = yaml.safe_load(value)
    return values
