"""``emotion-circuits bench``: methods against planted truth."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from emotion_circuits.cli.shared import JsonFlag, long_running, show_json

app = typer.Typer(help="Calibration: every method against a known truth.")


@app.callback()
def options() -> None:
    """Commands of ``bench``."""


@app.command()
def planted(
    seeds: Annotated[int, typer.Option(help="How many planted models (and as many without a circuit).", min=1)] = 10,
    first_seed: Annotated[int, typer.Option(help="Seeds count up from here.")] = 0,
    difficulty: Annotated[float, typer.Option(help="0 to 1: noise and distractors.", min=0, max=1)] = 0.5,
    n_pairs: Annotated[int, typer.Option(help="Minimal pairs per model.", min=12)] = 36,
    edges: Annotated[bool, typer.Option(help="Also score edges.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Score every method on models whose circuit was planted, and count false claims where there is none."""
    from emotion_circuits.circuits import calibrate

    with long_running():
        result = calibrate(range(first_seed, first_seed + seeds), difficulty=difficulty, n_pairs=n_pairs, edges=edges)
    if as_json:
        show_json(result.model_dump(mode="json"))
        return
    table = Table("scores", "method", "median AUROC", "lowest", "decoys above true", "seconds", title="Planted models")
    for m in result.methods:
        decoys = "" if m.decoys_above_true is None else f"{m.decoys_above_true:.2f}"
        table.add_row(m.scores, m.name, f"{m.median:.3f}", f"{m.low:.3f}", decoys, f"{m.seconds:.2f}")
    Console().print(table)
    for key, value in result.best.items():
        typer.echo(f"{key}: {value:.4g}")
    for bar, met in result.bars.items():
        typer.echo(f"{'met' if met else 'MISSED'}: {bar}")
