"""``emotion-circuits evaluate``: which evaluators there are, how good they are, what they say of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_circuits.cli.shared import JsonFlag, long_running, show_json

app = typer.Typer(help="Evaluators: what there is, and how good each one is on labelled held-out text.")

_OFFLINE = ("emotion", "vader", "keywords", "politeness")


@app.command("list")
def list_evaluators(as_json: JsonFlag = False) -> None:
    """List every evaluator by name.

    Example: emotion-circuits evaluate list
    """
    from emotion_circuits.evaluation import describe_evaluators

    known = describe_evaluators()
    if as_json:
        show_json(known)
        return
    for name, line in known.items():
        typer.echo(f"{name:18} {line}")


@app.command()
def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Evaluators, or NAME=FOLDER for a hub evaluator's local copy. Default: the offline ones."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Own labelled JSONL instead of the bundled sets.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="TEXT_LABEL=EVALUATOR_LABEL for --data; repeatable.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Accuracy, confusion and calibration of evaluators on labelled held-out text.

    Example: emotion-circuits evaluate validate emotion vader
    """
    from emotion_circuits.errors import EmotionCircuitsError
    from emotion_circuits.evaluation import LABELLED_SETS, Validation, evaluator, validate, validate_on_bundled
    from emotion_circuits.prompts import available_sets, load_prompts

    mapping = None
    if labels:
        if any("=" not in pair for pair in labels):
            raise EmotionCircuitsError("--label: write it as TEXT_LABEL=EVALUATOR_LABEL")
        mapping = dict(pair.split("=", 1) for pair in labels)
    wanted = list(names or [])
    if not wanted:
        wanted = [n for n in _OFFLINE if n != "politeness" or LABELLED_SETS[n][0][0] in available_sets()]
    found: list[Validation] = []
    with long_running():
        for name in wanted:
            key, _, source = name.partition("=")
            options: dict[str, Any] = {"source": source} if source else {}
            judge = evaluator(key, **options)
            if data is not None:
                rows = load_prompts(data, split=split)
                found.append(validate(judge, rows, labels=mapping, data=str(data), split=split))
            else:
                found += validate_on_bundled(judge, split=split)
    if as_json:
        show_json({"validations": [v.model_dump(mode="json") for v in found]})
        return
    for v in found:
        calibration = "" if v.calibration_error is None else f", calibration error {v.calibration_error:.3f}"
        typer.echo(
            f"{v.evaluator} on {v.data} ({v.split}, n = {v.n}): accuracy {v.accuracy:.3f} "
            f"[{v.interval[0]:.3f}, {v.interval[1]:.3f}], always the most frequent label {v.majority:.3f}{calibration}"
        )
        judged = sorted({b for row in v.confusion.values() for b in row})
        typer.echo("    true \\ judged  " + "".join(f"{b[:12]:>13}" for b in judged))
        for label, row in v.confusion.items():
            typer.echo(f"    {label[:14]:14}  " + "".join(f"{row.get(b, 0):>13}" for b in judged))
        if v.excluded:
            typer.echo(f"    not on its axis: {', '.join(v.excluded)}")
