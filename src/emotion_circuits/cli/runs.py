"""``emotion-circuits runs``: what was recorded, from a run to its capture and back; two runs compared; one cleaned."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.shared import JsonFlag, print_table, show_json
from emotion_circuits.errors import EmotionCircuitsError

app = typer.Typer(help="Runs: recorded ones (MLflow), two compared, a folder cleaned.", no_args_is_help=True)

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
    a: Annotated[str, typer.Argument(help="Folder of a run, or the id of a recorded one.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    all_: Annotated[bool, typer.Option("--all", help="Print claims without any difference too.")] = False,
    store: Store = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare two runs: configuration, claims, choices, times.

    Flagged are claims of one run only, verdicts that differ, and intervals that do not overlap.

    Example: emotion-circuits runs compare runs/demo runs/demo-again
    """
    from emotion_circuits.record.reading import open_run
    from emotion_circuits.study.comparing import compare_runs

    found = compare_runs(open_run(_folder(a, store)), open_run(_folder(b, store)))
    if as_json:
        show_json(found)
        return
    for title, key in (("Configuration", "config"), ("Model, data, packages", "environment"), ("Choices", "choices")):
        if not found[key]:
            typer.echo(f"{title}: the same")
            continue
        table = Table(title=f"{title}: what differs")
        for heading in ("key", "A", "B"):
            table.add_column(heading, overflow="fold")
        for row in found[key]:
            name = f"{row['stage']}: {row['key']}" if "stage" in row else row["key"]
            table.add_row(name, _short(row["a"]), _short(row["b"]))
        print_table(table)
    flagged = [row for row in found["claims"] if row["flags"]]
    shown = found["claims"] if all_ else flagged
    if shown:
        table = Table(title="Claims" if all_ else "Claims that differ")
        for heading in ("claim", "A", "B", "differs in"):
            table.add_column(heading, overflow="fold")
        for row in shown:
            table.add_row(row["id"], _claim(row["a"]), _claim(row["b"]), ", ".join(row["flags"]))
        print_table(table)
    table = Table("stage", "A", "B", title="Stages")
    for row in found["stages"]:
        table.add_row(row["stage"], *(_stage(row[side]) for side in "ab"))
    print_table(table)
    typer.echo(f"{len(flagged)} of {len(found['claims'])} claims differ.")


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
    return f"{figures['estimate']:.3g}{interval} {figures['verdict']}"


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
