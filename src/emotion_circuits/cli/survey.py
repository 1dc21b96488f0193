"""``emotion-circuits survey``: many studies, and what they share."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.shared import (
    EngineName,
    EngineOptions,
    JsonFlag,
    Language,
    Workers,
    engine_for,
    long_running,
    note,
    print_table,
    show_json,
)

__all__ = ["survey"]


def survey(
    what: Annotated[
        str, typer.Argument(help="YAML file, or a preset: scale-bundled, scale-plan, languages, attributes.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the survey; one that is there goes on.")] = Path("runs/survey"),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for every study, e.g. steering.samples=2.")
    ] = None,
    models: Annotated[str | None, typer.Option(help="Other models than the file's, separated by commas.")] = None,
    attributes: Annotated[
        str | None, typer.Option(help="Other attributes than the file's, separated by commas.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which studies are done and which would run; run nothing.")
    ] = False,
    engine: EngineName = "inline",
    workers: Workers = None,
    engine_option: EngineOptions = None,
    lang: Language = "en",
    as_json: JsonFlag = False,
) -> None:
    """Run a grid of studies (models × attributes × seeds) and gather what they share.

    Every study has a folder of its own in --out; finished ones are reused, interrupted ones go on, and adding a model computes
    that model and the gathering. A study that fails is reported, and the others go on.

    Example: emotion-circuits survey scale-bundled --out runs/scale --dry-run

    Example: emotion-circuits survey languages --models qwen2.5-coder-0.5b --out runs/languages --engine processes --workers 2
    """
    from emotion_circuits.cli.run import settings_of
    from emotion_circuits.page.telling import claim_json, tell
    from emotion_circuits.stations.registry import kinds
    from emotion_circuits.survey import load_survey, run_survey
    from emotion_circuits.survey.page import survey_claims, survey_left_out, write_survey_page

    overrides: dict[str, Any] = {
        key: tuple(v.strip() for v in given.split(",") if v.strip())
        for key, given in (("models", models), ("attributes", attributes))
        if given is not None
    }
    config = load_survey(what, overrides)
    config = config.model_copy(update={"settings": {**config.settings, **settings_of(set_ or [])}})
    with long_running(), closing(engine_for(engine, workers, engine_option)) as where:
        done = run_survey(
            config, out, engine=where, dry=dry_run, language=lang,
            told=lambda d: note(f"{d.what} {d.name}: {d.status}{f' ({d.why})' if d.why else ''}"),
        )  # fmt: skip
        whole = not dry_run and any(d.status in ("ran", "reused") for d in done.points)
        page = write_survey_page(out, language=lang) if whole else None
    claims = tell(survey_claims(out), kinds()) if page is not None else []
    left = survey_left_out(out) if page is not None else []
    if as_json:
        show_json(
            {
                "folder": str(out),
                "points": [asdict(d) for d in done.points],
                "gathered": [asdict(d) for d in done.gathered],
                "claims": [claim_json(told) for told in claims],
                "left_out": left,
                "page": None if page is None else str(page),
            }
        )
    else:
        table = Table("what", "name", "status", title=f"{config.name} in {out}")
        for row in (*done.points, *done.gathered):
            table.add_row(row.what, row.name, row.status + (f": {row.why}" if row.why else ""))
        print_table(table)
        for gone in left:
            typer.echo(f"not measured: {gone['what']} {gone['name']}: {gone['why']}")
        for told in claims:
            if told.claim.verdict == "supported":
                typer.echo(f"supported: {told.statement}")
        if page is not None:
            typer.echo(f"Page: {page.resolve()}")
    if done.failed:
        raise typer.Exit(1)
