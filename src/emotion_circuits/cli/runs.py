"""``emotion-circuits runs``: what was recorded, from a run to its capture and back; runs compared; one cleaned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.report import read_by_people
from emotion_circuits.cli.shared import JsonFlag, Language, print_table, show_json
from emotion_circuits.cli.visible import visible
from emotion_circuits.errors import EmotionCircuitsError

app = typer.Typer(help="Runs: recorded ones (MLflow), several compared, a folder cleaned.", no_args_is_help=True)

Store = Annotated[
    str | None, typer.Option("--store", help="Tracking store; default MLFLOW_TRACKING_URI, else runs/mlflow.db.")
]


def _tracker(store: str | None) -> Any:
    from emotion_circuits.study.tracking import Tracker, default_uri

    return Tracker(store or default_uri(Path("runs/any")))


def _facts(run: Any) -> dict[str, Any]:
    started = datetime.fromtimestamp(run.started / 1000, UTC).isoformat(timespec="seconds")
    return {
        "run_id": run.run_id, "name": run.name, "status": run.status, "started": started, "folder": run.folder,
        "capture": run.capture,
    }  # fmt: skip


@app.command("list")
def list_runs(
    capture: Annotated[str | None, typer.Option(help="Only runs of this capture hash (or its beginning).")] = None,
    store: Store = None,
    as_json: JsonFlag = False,
) -> None:
    """List recorded runs, newest first.

    Example: emotion-circuits runs list --capture 52a37c02c757
    """
    tracker = _tracker(store)
    rows = [_facts(r) for r in tracker.find(capture=capture)]
    if as_json:
        show_json({"store": tracker.uri, "runs": rows})
        return
    if not rows:
        typer.echo(f"No runs{'' if capture is None else f' of capture {capture}'} in {tracker.uri}")
        return
    table = Table()
    # An id that was cut off could not be copied.
    table.add_column("run", no_wrap=True)
    for heading in ("name", "started", "capture", "folder"):
        table.add_column(heading, overflow="fold")
    for r in rows:
        table.add_row(r["run_id"], r["name"], r["started"], r["capture"][:12], r["folder"])
    print_table(table)


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="Run id, or the folder of a run or capture.")],
    store: Store = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a run: its folder, the capture it rests on, parameters and figures.

    Example: emotion-circuits runs show runs/demo
    """
    from emotion_circuits.study.tracking import recorded_in

    tracker, run_id = recorded_in(Path(run), store) if Path(run).is_dir() else (_tracker(store), run)
    matches = tracker.find(run_id=run_id)
    if len(matches) != 1:
        raise EmotionCircuitsError(
            f"{len(matches)} recorded runs have an id that begins with {run_id!r} in {tracker.uri}; "
            "see 'emotion-circuits runs list'"
        )
    facts = {**_facts(matches[0]), "params": matches[0].params, "metrics": matches[0].metrics}
    if as_json:
        show_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{key}:")
            for name, entry in sorted(value.items()):
                typer.echo(f"  {name:48} {entry}")
        else:
            typer.echo(f"{key:10} {value}")


def _folder(run: str, store: str | None) -> Path:
    """A run's folder: given as such, or by the id of a recorded run, for which alone MLflow is needed."""
    if Path(run).is_dir():
        return Path(run)
    if "/" in run or run.startswith("."):
        raise EmotionCircuitsError(f"{run}: no such folder")
    matches = _tracker(store).find(run_id=run)
    if len(matches) != 1:
        raise EmotionCircuitsError(
            f"{run}: neither a folder nor the id of one recorded run ({len(matches)} begin with it); see 'emotion-circuits "
            "runs list'"
        )
    folder = Path(matches[0].folder)
    if not folder.is_dir():
        raise EmotionCircuitsError(f"{run}: its folder {folder} is gone")
    return folder


@app.command("compare")
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Folders of two or more runs, or the ids of recorded ones."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file: the runs beside one another by question, on one self-contained page."),
    ] = None,
    lang: Language = "en",
    all_: Annotated[bool, typer.Option("--all", help="Print claims without any difference too.")] = False,
    store: Store = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare runs: what each answers to the five questions, claims, configuration, choices, times.

    Flagged are claims of some runs only, verdicts that differ, and intervals that do not overlap. Runs may be of different models
    and attributes; each answer is that of the run's own report.

    Example: emotion-circuits runs compare runs/demo runs/gemma3 --out compared.html --lang ja
    """
    from emotion_circuits.record.reading import open_run
    from emotion_circuits.report.compared import answered, compared, render_comparison

    if out is None and lang != "en":
        raise EmotionCircuitsError("--lang is the language of the page: say with --out where to write it")
    if out is not None and out.is_dir():
        raise EmotionCircuitsError(f"--out {out}: is a folder; name an HTML file, e.g. {out / 'compared.html'}")
    if len(runs) < 2:
        raise EmotionCircuitsError(f"{runs[0]} alone: name two or more runs, which are compared with one another")
    opened = [open_run(_folder(run, store)) for run in runs]
    further = [read_by_people(run.folder, None) for run in opened]
    page = None if out is None else render_comparison(opened, out, language=lang, further=further).path
    if page is not None and not as_json:
        typer.echo(f"Page: {page.resolve()}")
        return
    found = compared(answered(opened, further))
    if as_json:
        show_json({**found, "page": None if page is None else str(page)})
    else:
        _print_compared(found, every=all_)


def _print_compared(found: dict[str, Any], *, every: bool) -> None:
    """What differs, first by question, then in settings; runs are called by letters, which are explained first."""
    sides = [run["side"] for run in found["runs"]]
    columns = [side.upper() for side in sides]
    for run, column in zip(found["runs"], columns, strict=True):
        typer.echo(f"{column}  {visible(run['folder'])}")
    _print("Questions", ("question", *columns), [
        (row["question"], *(_answer(row[side]) for side in sides)) for row in found["questions"]
    ])  # fmt: skip
    flagged = [row for row in found["claims"] if row["flags"]]
    shown = found["claims"] if every else flagged
    for key, question in [*((row["key"], row["question"]) for row in found["questions"]), (None, "No question")]:
        _print(f"{question}\n{'Claims' if every else 'Claims that differ'}", ("claim", *columns, "differs in"), [
            (row["id"], *(_claim(row[side]) for side in sides), ", ".join(row["flags"]))
            for row in shown if row["question"] == key
        ])  # fmt: skip
    for title, key in (("Configuration", "config"), ("Model, data, packages", "environment"), ("Choices", "choices")):
        if not found[key]:
            typer.echo(f"{title}: the same")
        _print(f"{title}: what differs", ("key", *columns), [
            (f"{row['stage']}: {row['key']}" if "stage" in row else row["key"], *(_short(row[side]) for side in sides))
            for row in found[key]
        ])  # fmt: skip
    _print("Stages", ("stage", *columns), [
        (row["stage"], *(_stage(row[side]) for side in sides)) for row in found["stages"]
    ])  # fmt: skip
    typer.echo(f"{len(flagged)} of {len(found['claims'])} claims differ.")


def _print(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; nothing where it has no rows."""
    if not rows:
        return
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_table(table)


def _answer(found: dict[str, Any]) -> str:
    return (found["verdict"] or "no verdict") if found["studied"] else "not studied"


def _short(value: Any) -> str:
    if value is None:
        return "–"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"


def _claim(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "–"
    ends = figures["interval"]
    interval = "" if not ends else f" [{ends[0]:.3g}, {ends[1]:.3g}]"
    q = "" if figures["q"] is None else f", q {figures['q']:.3g}"
    return f"{figures['estimate']:.3g}{interval}\n{figures['verdict']}{q}"


def _stage(found: dict[str, Any]) -> str:
    return found["status"] if found["seconds"] is None else f"{found['status']}, {found['seconds']:.0f} s"


@app.command("clean")
def clean(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    captures: Annotated[
        bool,
        typer.Option(
            "--captures", help="Also the captured states, the largest part; 'align' and new stations need them."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed; without it nothing is.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List, or with --yes remove, what a run's folder no longer needs: superseded stations, half-written files.

    Example: emotion-circuits runs clean runs/demo --captures --yes
    """
    from emotion_circuits.study.cleaning import clean_run, spare_files

    found = clean_run(run, captures=captures) if yes else spare_files(run, captures=captures)
    total = sum(s.bytes for s in found)
    if as_json:
        rows = [{"path": str(s.path), "bytes": s.bytes, "reason": s.reason, "removed": s.removed} for s in found]
        show_json({"run": str(run), "removed": yes, "bytes": total, "files": rows})
        return
    for s in found:
        typer.echo(f"{s.bytes / 1e6:10.1f} MB  {s.path}  ({s.reason})")
    if yes:
        typer.echo(f"{total / 1e6:.1f} MB freed")
    else:
        typer.echo(f"{total / 1e6:.1f} MB can go" + ("; remove them with --yes" if found else ""))
