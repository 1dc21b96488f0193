"""The command tree."""

from __future__ import annotations

from typing import Annotated

import typer

from emotion_circuits.cli import (
    align,
    bench,
    calibrate,
    capture,
    chat,
    circuit,
    data,
    evaluate,
    export,
    heads,
    human,
    models,
    plan,
    read,
    report,
    run,
    runs,
    serve,
    steer,
    survey,
    tone,
    trace,
    tune,
)
from emotion_circuits.cli.exit_codes import table
from emotion_circuits.cli.shared import State, listen

__all__ = ["app"]

_EPILOG = f"""\b
Examples:
  emotion-circuits run --profile quick --out runs/demo
  emotion-circuits run --profile baseline --out runs/baseline --dry-run
  emotion-circuits --quiet read --run runs/demo letters.txt --json
\b
Exit codes:
{table()}
\b
Every command that reports takes --json: standard output is then one JSON object, progress goes to standard error.
Completion of commands, options and values: emotion-circuits --install-completion (bash, zsh, fish).
"""

app = typer.Typer(
    name="emotion-circuits",
    help="Study how language models handle emotion: capture, directions, steering, heads, circuits.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.command()(run.run)
app.command()(survey.survey)
app.command()(read.read)
app.command()(report.report)
app.command()(steer.steer)
app.command()(chat.chat)
app.command()(tone.tone)
app.command()(tune.tune)
app.command()(serve.serve)
app.command()(export.export)
app.command("capture")(capture.capture_command)
app.command("trace")(trace.trace_command)
app.command("align")(align.align_command)
app.command()(plan.plan)
app.command()(calibrate.calibrate)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(human.app, name="human")
app.add_typer(heads.app, name="heads")
app.add_typer(circuit.app, name="circuit")
app.add_typer(bench.app, name="bench")
app.add_typer(runs.app, name="runs")


@app.callback(invoke_without_command=True)
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and notes; errors are shown.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also say what is loaded, reused and found.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options before the command."""
    State.debug, State.quiet = debug, quiet
    listen(verbose)
    if version:
        from emotion_circuits import __version__

        typer.echo(__version__)
        raise typer.Exit
