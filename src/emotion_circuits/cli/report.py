"""``emotion-circuits report``: the page of a finished run, again, in another language or as files for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion_circuits.cli.shared import JsonFlag, Language, note, show_json
from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from emotion_circuits.report.study_page import Further


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; by default report.html in the run's folder.")] = None,
    lang: Language = "en",
    aligned: Annotated[
        Path | None,
        typer.Option(help="Folder written by 'align --out': answers whether it is stable across models."),
    ] = None,
    human: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an analysed study of people who read this run's texts; 'human' in the run's folder where that exists."
        ),
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
    paper: Annotated[
        Path | None,
        typer.Option(
            help="Also write what a thesis or a paper needs into this folder: methods, tables of the claims and vector figures "
            "for LaTeX, a bibliography, and paper.tex, which latexmk compiles as it is (needs the extra 'pdf' and Chromium or "
            "Chrome)."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a run's report from its folder; nothing is computed anew.

    Example: emotion-circuits report runs/demo --lang ja --pdf report.pdf --figures figures/ --paper paper/
    """
    from emotion_circuits.page.browser import chromium
    from emotion_circuits.page.exporting import export_parts, write_pdf
    from emotion_circuits.report.paper import write_paper
    from emotion_circuits.report.study_page import render_report

    if pdf is not None or figures is not None or paper is not None:
        # Said before anything is written.
        chromium()
    further = read_by_people(run, human)
    written = render_report(run, out=out, language=lang, aligned=aligned, further=further, plan=plan)
    exported = None if figures is None else export_parts(written.page, written.path, figures)
    if pdf is not None:
        write_pdf(written.path, pdf)
    sources = None if paper is None else write_paper(run, written, paper)
    if as_json:
        show_json(
            {
                "report": str(written.path),
                "pdf": None if pdf is None else str(pdf),
                "figures": [] if exported is None else [str(p) for p in exported.figures],
                "tables": [] if exported is None else [str(p) for p in exported.tables],
                "paper": [] if sources is None else [str(p) for p in sources],
            }
        )
        return
    typer.echo(f"Report: {written.path.resolve()}")
    if pdf is not None:
        typer.echo(f"PDF: {pdf.resolve()}")
    if exported is not None and figures is not None:
        typer.echo(f"{len(exported.figures)} figure files and {len(exported.tables)} table files: {figures.resolve()}")
    if paper is not None:
        typer.echo(f"For LaTeX: {(paper / 'paper.tex').resolve()} (latexmk compiles it, in its folder)")


def read_by_people(run: Path, asked: Path | None) -> tuple[Further, ...]:
    """What people read: the study that was asked for, or the one in the run's folder as far as it is of these texts."""
    from emotion_circuits.human.reported import people_of, study_in

    study = asked or study_in(run)
    try:
        return () if study is None else (people_of(run, study),)
    except EmotionCircuitsError as error:
        if asked is not None:
            raise
        note(f"left out of the report: {error}")
        return ()
