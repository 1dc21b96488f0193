"""``emotion-circuits circuit``: find, show, test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from emotion_circuits.cli.heads import MaxPairs, Model, Pairs, SplitName, open_task
from emotion_circuits.cli.shared import (
    Columns,
    Device,
    Dtype,
    JsonFlag,
    Revision,
    long_running,
    mapped,
    print_table,
    show_json,
)

app = typer.Typer(help="Circuits: find one, show it, test it on other pairs.")

File = Annotated[Path, typer.Argument(help="A circuit's JSON, as written by 'circuit find --out'.")]


@app.command()
def find(
    model: Model,
    pairs: Pairs = "pairs",
    columns: Columns = None,
    out: Annotated[Path | None, typer.Option(help="Write the circuit as JSON here.")] = None,
    exact: Annotated[int, typer.Option(help="Measure this many nodes exactly; 0: all.", min=0)] = 20,
    max_pairs: MaxPairs = 32,
    seed: Annotated[int, typer.Option(help="Fixes everything random.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    as_json: JsonFlag = False,
) -> None:
    """Score on train pairs, choose the size on validation pairs, report from test pairs.

    Example: emotion-circuits circuit find smollm2-135m --out circuit.json
    """
    from emotion_circuits.circuits import find_circuit
    from emotion_circuits.model import load_model
    from emotion_circuits.prompts import load_pairs

    with long_running():
        rows, name = load_pairs(mapped([pairs], columns)[0]), Path(pairs).stem
        loaded = load_model(model, device=device, dtype=dtype, revision=revision)
        found = find_circuit(loaded, rows, name=name, exact=exact or None, max_pairs=max_pairs, seed=seed)
    if out is not None:
        found.save(out)
    _show(found, as_json)


@app.command()
def show(
    file: File,
    figure: Annotated[Path | None, typer.Option(help="Write the drawing (HTML) here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a circuit, or draw it.

    Example: emotion-circuits circuit show circuit.json --figure circuit.html
    """
    import plotly.graph_objects as go

    from emotion_circuits.circuits import load_circuit
    from emotion_circuits.circuits.drawing import circuit_figure
    from emotion_circuits.page.plainly import plain_figure
    from emotion_circuits.paths import replacing

    found = load_circuit(file)
    if figure is not None:
        with replacing(figure) as temporary:
            drawn = go.Figure(plain_figure(circuit_figure(found)))
            temporary.write_text(drawn.to_html(include_plotlyjs=True), encoding="utf-8")
    _show(found, as_json)


@app.command("test")
def check(
    file: File,
    model: Annotated[str | None, typer.Option(help="Another model than the circuit's own.")] = None,
    pairs: Pairs = "pairs",
    columns: Columns = None,
    split: SplitName = "test",
    max_pairs: MaxPairs = 64,
    samples: Annotated[int, typer.Option(help="Random circuits of the same make-up.", min=1)] = 99,
    seed: Annotated[int, typer.Option(help="Of the random circuits.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    as_json: JsonFlag = False,
) -> None:
    """Faithfulness of a saved circuit on any pairs, against random circuits with as many heads and MLPs.

    Example: emotion-circuits circuit test circuit.json --split test
    """
    from emotion_circuits.circuits import circuit_against_random, load_circuit

    found = load_circuit(file)
    with long_running():
        loaded, task = open_task(
            model or found.model, mapped([pairs], columns)[0], split, max_pairs, device, dtype, revision
        )
        if found.made_of is not None:
            found.made_of.warn(f"{file}: the circuit was", loaded)
        result = circuit_against_random(loaded, task, found.members(), samples=samples, seed=seed)
    if as_json:
        show_json({"circuit": str(file), "pairs": len(task), **result.figures()})
        return
    for key, value in result.figures().items():
        typer.echo(f"{key}: {value:.4g}")


def _show(found: object, as_json: bool) -> None:
    from emotion_circuits.circuits import Circuit
    from emotion_circuits.page.telling import claim_json, figure_words, tell
    from emotion_circuits.stations.circuits.words import KINDS

    assert isinstance(found, Circuit)
    claims = tell(found.claims, {kind.name: kind for kind in KINDS})
    if as_json:
        show_json({**found.model_dump(mode="json"), "claims": [claim_json(told) for told in claims]})
        return
    table = Table("node", "role", "estimated", "noised", "95 %", title=f"{found.model}, {found.task}")
    for n in found.nodes:
        measured = ("", "") if n.exact is None else (f"{n.exact:+.3f}", f"{n.low:+.3f} … {n.high:+.3f}")
        table.add_row(n.node, n.role, f"{n.score:+.3f}", *measured)
    print_table(table)
    for told in claims:
        if (
            told.claim.kind in ("circuits.task", "circuits.faithfulness", "circuits.none")
            or told.claim.verdict == "supported"
        ):
            typer.echo(f"{told.claim.verdict}: {told.statement} ({figure_words(told)} {told.unit})")
