"""``emotion-circuits report``: the page of a finished run, again, in another language or as files for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion_circuits.cli.shared import JsonFlag, Language, show_json


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; by default report.html in the run's folder.")] = None,
    lang: Language = "en",
    aligned: Annotated[
        Path | None,
        typer.Option(help="Folder written by 'align --out': answers whether it is stable across models."),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Also show what the research plan's pilot reported beside this run's figures, quantity by quantity.",
        ),
    ] = False,
    pdf: Annotated[
        Path | None, typer.Option(help="Also write a PDF file (needs the extra 'pdf' and Chromium or Chrome).")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Also write every figure as SVG and PNG, every table as Parquet and CSV, into this folder (needs "
            "the extra 'pdf' and Chromium or Chrome)."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a run's report from its folder; nothing is computed anew.

    Example: emotion-circuits report runs/demo --lang ja --pdf report.pdf --figures paper/
    """
    from emotion_circuits.page.browser import chromium
    from emotion_circuits.page.exporting import export_parts, write_pdf
    from emotion_circuits.report.study_page import render_report

    if pdf is not None or figures is not None:
        # Said before anything is written.
        chromium()
    written = render_report(run, out=out, language=lang, aligned=aligned, plan=plan)
    exported = None if figures is None else export_parts(written.page, written.path, figures)
    if pdf is not None:
        write_pdf(written.path, pdf)
    if as_json:
        show_json(
            {
                "report": str(written.path),
                "pdf": None if pdf is None else str(pdf),
                "figures": [] if exported is None else [str(p) for p in exported.figures],
                "tables": [] if exported is None else [str(p) for p in exported.tables],
            }
        )
        return
    typer.echo(f"Report: {written.path.resolve()}")
    if pdf is not None:
        typer.echo(f"PDF: {pdf.resolve()}")
    if exported is not None and figures is not None:
        typer.echo(f"{len(exported.figures)} figure files and {len(exported.tables)} table files: {figures.resolve()}")
