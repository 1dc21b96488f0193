"""``emotion-circuits heads``: screen, ablate, patch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from emotion_circuits.cli.completing import MODELS, offering
from emotion_circuits.cli.shared import (
    Columns,
    Device,
    Dtype,
    JsonFlag,
    Revision,
    check_before_loading,
    long_running,
    mapped,
    print_table,
    show_json,
)
from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from emotion_circuits.directions import DirectionSet
    from emotion_circuits.heads import Node, PairTask
    from emotion_circuits.model import LanguageModel

app = typer.Typer(help="Heads: what they attend to (a screen), and what happens without them (causes).")

Model = Annotated[
    str, typer.Argument(help="Bundled name, local folder, .gguf file or hub id.", autocompletion=offering(MODELS))
]
Pairs = Annotated[str, typer.Option(help="Bundled set or file of minimal pairs.")]
SplitName = Annotated[str, typer.Option(help="train, validation or test.")]
MaxPairs = Annotated[int, typer.Option(help="Use at most this many pairs.", min=2)]
RunFolder = Annotated[Path | None, typer.Option(help="Run whose directions are used.")]
Nodes = Annotated[str, typer.Option(help="Which, e.g. 'L3H2 M4'; 'heads', 'mlps' or 'all'.")]
Top = Annotated[int, typer.Option(help="Rows shown.", min=1)]
Together = Annotated[bool, typer.Option("--together", help="Change all of them at once instead of one by one.")]


def _directions(run: Path) -> DirectionSet:
    """The directions that a run steers with."""
    from emotion_circuits.record.reading import MANIFEST, read_finished
    from emotion_circuits.stations.directions.folder import DirectionsFolder

    if (run / MANIFEST).is_file():
        read_finished(run)
    return DirectionsFolder.of(run).chosen_set()


def _direction(found: DirectionSet, emotion: str | None, layer: int | None) -> tuple[int, Tensor]:
    """An emotion's direction, and the layer it lives at."""
    if emotion is None:
        raise EmotionCircuitsError(f"--emotion: say whose direction; the run has {', '.join(found.labels)}")
    at = found.chosen_layer if layer is None else layer
    if at is None:
        raise EmotionCircuitsError("--layer: the run chose none; say at which layer")
    return at, found.unit(emotion, at)


def open_task(
    model: str, pairs: str, split: str, max_pairs: int, device: str | None, dtype: str | None, revision: str | None
) -> tuple[LanguageModel, PairTask]:
    """The model, and the pairs that fit it."""
    from emotion_circuits.heads import pair_task
    from emotion_circuits.heads.tasks import spread
    from emotion_circuits.model import load_model
    from emotion_circuits.prompts import load_pairs

    loaded = load_model(model, device=device, dtype=dtype, revision=revision)
    # Pairs stand by contrast: the first ones would hold two emotions only.
    return loaded, pair_task(loaded, spread(load_pairs(pairs, split=split), max_pairs))


def chosen_nodes(model: LanguageModel, names: str, together: bool) -> list[Node] | list[list[Node]]:
    """The nodes a text names."""
    from emotion_circuits.heads import all_nodes, head_nodes, mlp_nodes
    from emotion_circuits.heads.nodes import parse_nodes

    groups = {"all": all_nodes, "heads": head_nodes, "mlps": mlp_nodes}
    nodes = groups[names](model) if names in groups else parse_nodes(model, names.split())
    return [nodes] if together else nodes


def show_table(table: pd.DataFrame, title: str, top: int, as_json: bool, **facts: object) -> None:
    """Print a table, or the whole of it as one JSON object."""
    if as_json:
        show_json({**facts, "rows": table.to_dict("records")})
        return
    shown = Table(*map(str, table.columns), title=f"{title} ({', '.join(f'{k} {v}' for k, v in facts.items())})")
    for row in table.head(top).itertuples(index=False):
        shown.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    print_table(shown)


@app.command()
def screen(
    model: Model,
    pairs: Pairs = "pairs",
    columns: Columns = None,
    split: SplitName = "test",
    max_pairs: MaxPairs = 64,
    query: Annotated[str, typer.Option(help="Who attends: last, or later.")] = "last",
    top: Top = 20,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    as_json: JsonFlag = False,
) -> None:
    """Δattention to the emotion word per head. A screen: it says nothing about causes.

    Example: emotion-circuits heads screen smollm2-135m --top 10
    """
    from emotion_circuits.heads.screening import delta_attention

    with long_running():
        loaded, task = open_task(model, mapped([pairs], columns)[0], split, max_pairs, device, dtype, revision)
        table = delta_attention(loaded, task, query=query).table()  # type: ignore[arg-type]
    show_table(table, "Δattention, a screen", top, as_json, pairs=len(task), excluded=len(task.excluded))


@app.command()
def ablate(
    model: Model,
    nodes: Nodes = "heads",
    mode: Annotated[
        str, typer.Option(help="zero, mean, resample, or directional (only the part along an emotion; needs --run).")
    ] = "mean",
    run: RunFolder = None,
    emotion: Annotated[str | None, typer.Option(help="Whose direction; with --run.")] = None,
    layer: Annotated[int | None, typer.Option(help="At which layer; the run's choice by default.")] = None,
    pairs: Pairs = "pairs",
    columns: Columns = None,
    split: SplitName = "test",
    max_pairs: MaxPairs = 32,
    together: Together = False,
    top: Top = 20,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    as_json: JsonFlag = False,
) -> None:
    """Take heads or MLPs away and measure the answers' logit difference.

    With --run and --emotion the change of the last token's projection on that direction is measured too.

    Example: emotion-circuits heads ablate smollm2-135m --nodes "L17H8 L13H6" --together
    """
    from emotion_circuits.heads import ablation_scan

    check_before_loading(model, revision, layers=None if layer is None else [layer], nodes=nodes)
    directions = None if run is None else _directions(run)
    along = None if directions is None else _direction(directions, emotion, layer)
    with long_running():
        loaded, task = open_task(model, mapped([pairs], columns)[0], split, max_pairs, device, dtype, revision)
        if directions is not None:
            directions.check_fits(loaded)
        scan = ablation_scan(
            loaded, task, chosen_nodes(loaded, nodes, together), mode,  # type: ignore[arg-type]
            direction=None if along is None else along[1], projection=along,
        )  # fmt: skip
        table = scan.table().sort_values("effect", key=abs, ascending=False)
    show_table(table, scan.method, top, as_json, pairs=len(task), gap=round(float(scan.gap.mean()), 4))


@app.command()
def patch(
    model: Model,
    nodes: Nodes = "heads",
    mode: Annotated[str, typer.Option(help="z, v_only, pattern_only or pattern_v.")] = "z",
    direction: Annotated[str, typer.Option(help="denoising or noising.")] = "denoising",
    pairs: Pairs = "pairs",
    columns: Columns = None,
    split: SplitName = "test",
    max_pairs: MaxPairs = 32,
    together: Together = False,
    top: Top = 20,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    as_json: JsonFlag = False,
) -> None:
    """Put one prompt's head or MLP values into the run of the other.

    Example: emotion-circuits heads patch smollm2-135m --nodes "L13H6 M14" --mode z
    """
    from emotion_circuits.heads import patch_scan

    check_before_loading(model, revision, nodes=nodes)
    with long_running():
        loaded, task = open_task(model, mapped([pairs], columns)[0], split, max_pairs, device, dtype, revision)
        scan = patch_scan(loaded, task, chosen_nodes(loaded, nodes, together), mode, direction=direction)  # type: ignore[arg-type]
        table = scan.table().sort_values("effect", key=abs, ascending=False)
    show_table(table, scan.method, top, as_json, pairs=len(task), gap=round(float(scan.gap.mean()), 4))
