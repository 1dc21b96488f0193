"""``emotion-circuits runs``: what was recorded, from a run to its capture and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from emotion_circuits.cli.shared import JsonFlag, show_json
from emotion_circuits.errors import EmotionCircuitsError

app = typer.Typer(help="Recorded runs (MLflow).", no_args_is_help=True)

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
    rows = [_facts(r) for r in _tracker(store).find(capture=capture)]
    if as_json:
        show_json({"runs": rows})
        return
    table = Table()
    # An id that was cut off could not be copied.
    table.add_column("run", no_wrap=True)
    for heading in ("name", "started", "capture", "folder"):
        table.add_column(heading, overflow="fold")
    for r in rows:
        table.add_row(r["run_id"], r["name"], r["started"], r["capture"][:12], r["folder"])
    Console().print(table)


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="Run id, or the folder of a run or capture.")],
    store: Store = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a run: its folder, the capture it rests on, parameters and figures.

    Example: emotion-circuits runs show runs/demo
    """
    from emotion_circuits.study.tracking import LINK, Tracker

    tracker, run_id = _tracker(store), run
    link = Path(run) / LINK
    if Path(run).is_dir():
        if not link.exists():
            raise EmotionCircuitsError(f"{run}: was not recorded ({LINK} is missing)")
        found = json.loads(link.read_text(encoding="utf-8"))
        tracker, run_id = Tracker(store or found["uri"], found["experiment"]), found["run_id"]
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
