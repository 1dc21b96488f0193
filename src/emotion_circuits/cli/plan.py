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
    n: Annotated[int | None, typer.Option(help="Number of prompts: give the smallest effect they support.")] = None,
    power: Annotated[float, typer.Option(help="Probability that a true claim is supported.")] = 0.8,
    tests: Annotated[int, typer.Option(help="Tests in the family.")] = 1,
    true: Annotated[int, typer.Option(help="How many of them have the effect.")] = 1,
    draws: Annotated[int, typer.Option(help="Random directions (or shuffles) each is ranked among; 0: none.")] = 0,
    null_spread: Annotated[
        float, typer.Option(help="SD of what random directions truly do, in the unit of d; 0: nothing.")
    ] = 0.0,
    repeats: Annotated[int, typer.Option(help="Simulated claims per figure.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """How many prompts an effect of size d needs for a verdict, before the run.

    The whole verdict is simulated: interval, test, rank among random directions, correction in the family. What the paired test
    alone would need stands beside it. Without -d, a table of small (0.2), medium (0.5) and large (0.8) effects.

    Example: emotion-circuits plan -d 0.5 --tests 12 --true 3 --draws 199
    """
    from emotion_circuits.statistics import Rate, Verdicts, required_n, verdict_effect, verdict_n, verdict_power

    family = Verdicts(tests, true, draws, null_spread)
    simulated: dict[str, int] = {"repeats": repeats, "seed": seed}

    def row(d: float, prompts: int) -> dict[str, Any]:
        found: Rate = verdict_power(d, prompts, family, **simulated)
        return {
            "effect": d, "prompts": prompts, "power": found.rate, "power_low": found.low, "power_high": found.high,
            "test_alone": required_n(d, power=power),
        }  # fmt: skip

    if n is not None:
        rows = [row(verdict_effect(n, family, power=power, **simulated), n), *(row(d, n) for d in effect or [])]
    else:
        rows = [row(d, verdict_n(d, family, power=power, **simulated)) for d in effect or [0.2, 0.5, 0.8]]
    if as_json:
        show_json({**family._asdict(), **simulated, "planned": "the verdict", "rows": rows})
        return
    null = f", each ranked among {draws} null figures (spread {null_spread:g})" if draws else ""
    typer.echo(f"Verdict of a claim in a family of {tests} ({true} true){null}; {repeats} simulated claims")
    for r in rows:
        typer.echo(
            f"  d = {r['effect']:.2f}: {r['prompts']} prompts, power {r['power']:.2f} "
            f"[{r['power_low']:.2f}, {r['power_high']:.2f}]; the test alone would need {r['test_alone']}"
        )
