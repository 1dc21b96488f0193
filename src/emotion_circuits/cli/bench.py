"""``emotion-circuits bench``: methods against planted truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from emotion_circuits.cli.shared import JsonFlag, long_running, print_table, show_json

if TYPE_CHECKING:
    from emotion_circuits.planted import DifficultyPoint

app = typer.Typer(help="Calibration: every method against a known truth.")


@app.callback()
def options() -> None:
    """Commands of ``bench``."""


@app.command()
def planted(
    seeds: Annotated[
        int, typer.Option(help="Planted models: the first half chooses methods, the rest reports.", min=1)
    ] = 20,
    first_seed: Annotated[int, typer.Option(help="Seeds count up from here.", min=0)] = 100,
    difficulty: Annotated[float, typer.Option(help="0 to 4: noise and distractors.", min=0, max=4)] = 0.5,
    n_pairs: Annotated[int, typer.Option(help="Minimal pairs per model.", min=12)] = 36,
    no_circuit: Annotated[int, typer.Option(help="Models without a circuit.", min=1)] = 60,
    sweep: Annotated[str, typer.Option(help="Also a curve over these difficulties, e.g. '0.5,1,2,3'.")] = "",
    sweep_seeds: Annotated[int, typer.Option(help="Models per difficulty of the sweep.", min=1)] = 6,
    edges: Annotated[bool, typer.Option(help="Also score edges.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Score every method on models whose circuit was planted, and count false claims where there is none.

    Example: emotion-circuits bench planted --seeds 4 --no-circuit 8
    """
    from emotion_circuits.planted import calibrate, difficulty_curve

    steps = _difficulties(sweep)
    with long_running():
        result = calibrate(
            range(first_seed, first_seed + seeds),
            difficulty=difficulty,
            n_pairs=n_pairs,
            edges=edges,
            no_circuit=no_circuit,
        )
        if steps:
            others = range(first_seed, first_seed + sweep_seeds)
            curve = difficulty_curve(others, steps, n_pairs=n_pairs, edges=edges)
            result = result.model_copy(update={"curve": curve})
    if as_json:
        show_json(result.model_dump(mode="json"))
        return
    table = Table(
        "scores", "method", "median", "lowest", "reported", "decoys above", "s", title="AUROC, planted models"
    )
    for m in result.methods:
        decoys = "" if m.decoys_above_true is None else f"{m.decoys_above_true:.2f}"
        table.add_row(
            m.scores, m.name, f"{m.median:.3f}", f"{m.low:.3f}", f"{m.reported_on:.3f}", decoys, f"{m.seconds:.1f}"
        )
    print_table(table)
    for name, rate in result.false_claims.named().items():
        typer.echo(f"{name}: {rate.hits} of {rate.n}, 95 % upper bound {rate.upper:.3f}")
    for key, value in result.best.model_dump().items():
        typer.echo(f"{key}: {value:.4g}" + (f" ({result.best_methods[key]})" if key in result.best_methods else ""))
    for bar, met in result.bars.items():
        typer.echo(f"{'met' if met else 'MISSED'}: {bar}")
    if result.curve:
        print_table(_curve_table(result.curve))


def _difficulties(text: str) -> list[float]:
    from emotion_circuits.errors import EmotionCircuitsError

    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise EmotionCircuitsError(f"--sweep: numbers between 0 and 4 separated by commas, got {text!r}") from None
    if any(not 0 <= value <= 4 for value in found):
        raise EmotionCircuitsError(f"--sweep: every difficulty lies between 0 and 4, got {text!r}")
    return found


def _curve_table(curve: Sequence[DifficultyPoint]) -> Table:
    steps = list(dict.fromkeys(point.difficulty for point in curve))
    table = Table("scores", "method", *(f"{s:g}" for s in steps), title="Median AUROC by difficulty")
    by = {(point.scores, point.method, point.difficulty): point for point in curve}
    for scores, method in dict.fromkeys((point.scores, point.method) for point in curve):
        cells = [by.get((scores, method, s)) for s in steps]
        table.add_row(scores, method, *("" if c is None else f"{c.median:.2f}" for c in cells))
    first = {point.difficulty: point for point in curve}
    for name in ("correct", "role_accuracy", "claimed_true", "claimed_other"):
        table.add_row("", name, *(f"{getattr(first[s], name):.2f}" for s in steps))
    return table
