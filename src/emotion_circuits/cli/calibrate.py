"""``emotion-circuits calibrate``: how often is a run's program wrong?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from emotion_circuits.cli.shared import (
    EngineName,
    EngineOptions,
    JsonFlag,
    Language,
    Workers,
    engine_for,
    long_running,
    print_table,
    show_json,
)


def calibrate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run; nothing is written there.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of draws, figures and page, by default RUN-calibration; the same one goes on."),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Shuffles of the labels, per station.")] = 200,
    first: Annotated[int, typer.Option(min=0, help="Number of the first shuffle.")] = 0,
    planted: Annotated[
        int,
        typer.Option(min=0, help="Also so many shuffles, per station that says how, with an effect planted: power."),
    ] = 0,
    only: Annotated[str | None, typer.Option(help="Stations, separated by commas; all by default.")] = None,
    engine: EngineName = "inline",
    workers: Workers = None,
    engine_option: EngineOptions = None,
    lang: Language = "en",
    as_json: JsonFlag = False,
) -> None:
    """Shuffle the labels, do everything behind the capture again, and count the claims that come out supported.

    Every one of them is false. At most 5 % of a kind may be, and the upper end of the interval may be 8 %. How often 95 %
    intervals hold the truth is simulated beside it. The same for methods on planted circuits: emotion-circuits bench planted.

    Example: emotion-circuits calibrate runs/demo --draws 200 --planted 60 --engine processes
    """
    from emotion_circuits.report.calibration_page import write_calibration_page
    from emotion_circuits.study.calibrating import BAR, POWER_BAR, UPPER_BAR, calibrate_run

    place = out or run.with_name(f"{run.name}-calibration")
    chosen = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    command = f"emotion-circuits calibrate {run} --out {place} --draws {draws} --first {first} --planted {planted}"
    with closing(engine_for(engine, workers, engine_option)) as where, long_running():
        found = calibrate_run(
            run, place, draws=draws, first=first, planted=planted, only=chosen, engine=where,
            command=command + ("" if only is None else f" --only {only}"),
        )  # fmt: skip
        page = write_calibration_page(place, language=lang)
    if as_json:
        show_json({**found.to_json(), "page": str(page)})
        return

    def show(title: str, hits: str, rates: dict[str, dict[str, float]], met: Callable[[dict[str, float]], str]) -> None:
        table = Table("kind of claim", hits, "of", "share", "95 % interval", "bar", title=title)
        for kind, r in rates.items():
            ends = f"{r['low']:.3f} … {r['high']:.3f}"
            table.add_row(kind, f"{r['hits']:.0f}", f"{r['n']:.0f}", f"{r['rate']:.3f}", ends, met(r))
        print_table(table)

    def false(r: dict[str, float]) -> str:
        return (
            "met" if r["rate"] <= BAR and r["high"] <= UPPER_BAR else "MISSED" if r["rate"] > BAR else "too few draws"
        )

    show("Claims from shuffled labels", "false", found.false_claims, false)
    if found.power:
        show(
            "Claims from planted effects", "found", found.power, lambda r: "met" if r["rate"] >= POWER_BAR else "MISSED"
        )
    typer.echo(_coverage(found.coverage))
    if found.left_out:
        typer.echo(f"Not calibrated: {', '.join(found.left_out)}")
    typer.echo(f"Page: {page.resolve()}")


def _coverage(found: Mapping[str, Mapping[str, float]]) -> str:
    """One line on all shapes, and the worst by name."""
    within = sum(0.93 <= r["rate"] <= 0.97 for r in found.values())
    worst = min(found, key=lambda name: found[name]["rate"])
    return (
        f"Coverage of 95 % intervals, simulated: 93 to 97 % in {within} of {len(found)} settings; "
        f"least {found[worst]['rate']:.1%} ({worst})"
    )
