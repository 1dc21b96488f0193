"""``emotion-circuits plan``: how many prompts an effect of a given size needs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from emotion_circuits.cli.shared import JsonFlag, show_json


def plan(
    effect: Annotated[
        list[float] | None,
        typer.Option("--effect", "-d", help="Standardised paired effect d (mean difference / its SD); repeatable."),
    ] = None,
    n: Annotated[int | None, typer.Option(help="Number of prompts: give the smallest effect they detect.")] = None,
    power: Annotated[float, typer.Option(help="Probability of detecting the effect.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Level of the family of tests.")] = 0.05,
    tests: Annotated[int, typer.Option(help="Tests in the family (planned with alpha / tests).")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """How many prompts an effect of size d needs, before the run.

    Without -d, a table of small (0.2), medium (0.5) and large (0.8) effects.

    Example: emotion-circuits plan -d 0.4 --tests 9
    """
    from emotion_circuits.statistics import power as power_of
    from emotion_circuits.statistics import required_n, smallest_effect

    rows: list[dict[str, Any]] = []
    if n is not None:
        found = smallest_effect(n, power=power, alpha=alpha, tests=tests)
        rows.append({"effect": found, "prompts": n, "power": power})
        rows += [{"effect": d, "prompts": n, "power": power_of(d, n, alpha=alpha, tests=tests)} for d in effect or []]
    else:
        for d in effect or [0.2, 0.5, 0.8]:
            needed = required_n(d, power=power, alpha=alpha, tests=tests)
            rows.append({"effect": d, "prompts": needed, "power": power_of(d, needed, alpha=alpha, tests=tests)})
    if as_json:
        show_json({"alpha": alpha, "tests": tests, "test": "paired, two-sided", "rows": rows})
        return
    typer.echo(f"Paired, two-sided test at level {alpha:g}" + (f" / {tests} tests" if tests > 1 else ""))
    for row in rows:
        typer.echo(f"  d = {row['effect']:.2f}: {row['prompts']} prompts, power {row['power']:.2f}")
