"""``emotion-circuits bench``: methods against planted truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from emotion_circuits.cli.shared import JsonFlag, long_running, print_table, show_json

if TYPE_CHECKING:
    from emotion_circuits.planted import Calibration, DifficultyPoint, GeneratorRecord

app = typer.Typer(help="Calibration: every method against a known truth.")


@app.callback()
def options() -> None:
    """Commands of ``bench``."""


@app.command()
def planted(
    seeds: Annotated[int, typer.Option(help="Models of every generator.", min=1)] = 8,
    first_seed: Annotated[int, typer.Option(help="Seeds count up from here.", min=0)] = 100,
    difficulty: Annotated[float, typer.Option(help="0 to 4: noise and distractors.", min=0, max=4)] = 0.5,
    n_pairs: Annotated[int, typer.Option(help="Minimal pairs per model.", min=12)] = 36,
    generators: Annotated[
        str, typer.Option(help="Which, separated by commas: staged, distributed, superposed, trained. All by default.")
    ] = "",
    no_circuit: Annotated[int, typer.Option(help="Models without a circuit.", min=1)] = 60,
    sweep: Annotated[str, typer.Option(help="Also a curve over these difficulties, e.g. '0.5,1,2,3'.")] = "",
    sweep_seeds: Annotated[int, typer.Option(help="Models per difficulty of the sweep.", min=1)] = 4,
    edges: Annotated[bool, typer.Option(help="Also score edges.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Score every method on models whose circuit is known, and count false claims where there is none.

    A generator's figure is that of the method which is best on the other generators. Trained models are made on first use
    (most of a minute each) and kept.

    Example: emotion-circuits bench planted --generators staged,distributed --seeds 4 --no-circuit 8
    """
    from emotion_circuits.planted import GENERATORS, calibrate, difficulty_curve

    steps = _difficulties(sweep)
    names = [name.strip() for name in generators.split(",") if name.strip()] or list(GENERATORS)
    with long_running():
        result = calibrate(
            range(first_seed, first_seed + seeds),
            generators=names,
            difficulty=difficulty,
            n_pairs=n_pairs,
            edges=edges,
            no_circuit=no_circuit,
        )
        if steps:
            others = range(first_seed, first_seed + sweep_seeds)
            curve = difficulty_curve(others, steps, generators=names, n_pairs=n_pairs, edges=edges)
            result = result.model_copy(update={"curve": curve})
    if as_json:
        show_json(result.model_dump(mode="json"))
        return
    _show(result)


def _show(result: Calibration) -> None:
    print_table(_methods_table(result))
    print_table(_generators_table(result.generators, "Methods chosen on the other generators"))
    for name, rate in result.false_claims.named().items():
        typer.echo(
            f"{name}: {rate.hits} of {rate.n} [{rate.low:.3f}, {rate.high:.3f}], 95 % upper bound {rate.upper:.3f}"
        )
    for key, value in result.best.model_dump().items():
        typer.echo(f"{key}: {value:.4g}")
    for figure in result.published:
        typer.echo(f"published, other models: {figure.method} {figure.edge_auroc:.2f} ({figure.source})")
    for bar, met in result.bars.items():
        typer.echo(f"{'met' if met else 'MISSED'}: {bar}")
    for point in result.curve:
        print_table(_generators_table(point.generators, f"Difficulty {point.difficulty:g}"))
    if result.curve:
        print_table(_curve_table(result.curve))


def _methods_table(result: Calibration) -> Table:
    names = result.settings.generators
    table = Table("scores", "method", *names, "decoys above", "s", title="Median AUROC by generator")
    by = {(m.scores, m.name, m.generator): m for m in result.methods}
    for scores, method in dict.fromkeys((m.scores, m.name) for m in result.methods):
        cells = [by[scores, method, name] for name in names]
        above = [m.decoys_above_true for m in cells if m.decoys_above_true is not None]
        table.add_row(
            scores,
            method,
            *(f"{m.median:.3f}" for m in cells),
            f"{sum(above) / len(above):.2f}" if above else "",
            f"{sum(m.seconds for m in cells) / len(cells):.1f}",
        )
    return table


def _generators_table(records: Sequence[GeneratorRecord], title: str) -> Table:
    table = Table("", *(record.name for record in records), title=title)
    for name in ("heads", "edges"):
        chosen = [getattr(record, name) for record in records]
        if all(chosen):
            table.add_row(f"{name}: method", *(c.name for c in chosen))
            cells = [f"{c.median:.3f} ({c.low:.3f}-{c.high:.3f}), n = {c.n}" for c in chosen]
            table.add_row(f"{name}: AUROC (lowest-highest)", *cells)
    for name in ("power", "roles_right", "other_heads", "decoys_with_role", "noise_with_role"):
        rates = [getattr(record, name) for record in records]
        table.add_row(name, *(f"{r.rate:.3f} [{r.low:.3f}, {r.high:.3f}], n = {r.n}" for r in rates))
    table.add_row("correct", *(f"{record.correct:.3f}" for record in records))
    table.add_row("rejected", *(str(record.rejected) for record in records))
    return table


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
    table = Table(
        "scores", "method", "generator", *(f"{p.difficulty:g}" for p in curve), title="Median AUROC by difficulty"
    )
    by = {(m.scores, m.name, m.generator, p.difficulty): m.median for p in curve for m in p.methods}
    for scores, method, generator in dict.fromkeys((m.scores, m.name, m.generator) for p in curve for m in p.methods):
        cells = [by[scores, method, generator, p.difficulty] for p in curve]
        table.add_row(scores, method, generator, *(f"{value:.2f}" for value in cells))
    return table
