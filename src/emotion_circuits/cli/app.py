"""The command tree."""

from __future__ import annotations

from typing import Annotated

import typer

from emotion_circuits import __version__
from emotion_circuits.cli import (
    align,
    bench,
    capture,
    circuit,
    data,
    evaluate,
    heads,
    models,
    plan,
    read,
    report,
    run,
    runs,
    steer,
    trace,
)
from emotion_circuits.cli.shared import State

__all__ = ["app"]

app = typer.Typer(
    name="emotion-circuits",
    help="Study how language models handle emotion: capture, directions, steering, heads, circuits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.command()(run.run)
app.command()(read.read)
app.command()(report.report)
app.command()(steer.steer)
app.command("capture")(capture.capture_command)
app.command("trace")(trace.trace_command)
app.command("align")(align.align_command)
app.command()(plan.plan)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(heads.app, name="heads")
app.add_typer(circuit.app, name="circuit")
app.add_typer(bench.app, name="bench")
app.add_typer(runs.app, name="runs")


@app.callback(invoke_without_command=True)
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options before the command."""
    State.debug, State.quiet = debug, quiet
    if version:
        typer.echo(__version__)
        raise typer.Exit
