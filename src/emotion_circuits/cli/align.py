"""``emotion-circuits align``: do two models' emotion directions correspond?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from emotion_circuits.cli.shared import JsonFlag, long_running, show_json
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["align_command"]


def align_command(
    run_a: Annotated[Path, typer.Argument(help="Run (or capture folder) whose directions are mapped.")],
    run_b: Annotated[Path, typer.Argument(help="Run (or capture folder) of the other model, on the same corpora.")],
    pooling: Annotated[str, typer.Option(help="Which states: last, mean, weighted or frame.")] = "mean",
    kind: Annotated[str, typer.Option(help="Site kind captured in both.")] = "resid_post",
    methods: Annotated[str, typer.Option(help="Any of ridge,reduced_rank,procrustes.")] = "ridge,procrustes",
    depths: Annotated[str, typer.Option(help="Relative depths of the layers compared.")] = "0.5,0.67,0.83",
    draws: Annotated[int, typer.Option(min=20, help="Random directions and permutations for the nulls.")] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the tables as Parquet into this folder.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Map one model's states to another's on neutral training sentences; judge on sentences the map never saw.

    Every figure stands beside its chance level: mapped random directions, shuffled pairs, a random map.
    """
    from emotion_circuits.directions.comparing import compare_models

    try:
        wanted = [float(d) for d in depths.split(",")]
    except ValueError:
        raise EmotionCircuitsError(f"--depths: give numbers separated by commas, got {depths!r}") from None
    if any(not 0 <= d <= 1 for d in wanted):
        raise EmotionCircuitsError(f"--depths: relative depths lie between 0 and 1, got {depths!r}")
    with long_running():
        found = compare_models(
            _store(run_a),
            _store(run_b),
            kind=kind,
            pooling=pooling,
            methods=[m.strip() for m in methods.split(",")],
            depths=wanted,
            draws=draws,
            seed=seed,
        )
    if out is not None:
        from emotion_circuits.paths import replacing

        for name, table in (("similarity", found.similarity), ("alignment", found.alignment)):
            with replacing(out / f"{name}.parquet") as temporary:
                table.to_parquet(temporary, index=False)
    if as_json:
        show_json({n: getattr(found, n).to_dict("records") for n in ("similarity", "alignment")})
        return
    _print(found)


def _store(folder: Path) -> Any:
    from emotion_circuits.activations import ActivationStore

    for place in (folder / "capture", folder):
        if (place / "rows.parquet").is_file():
            return ActivationStore.open(place)
    raise EmotionCircuitsError(f"{folder}: neither a run with a finished capture nor a capture folder")


def _print(found: Any) -> None:
    console = Console()
    table = Table("layers", "match", "CKA", "RSA", "RSA, permuted", title="The same sentences in both models")
    for _, r in found.similarity.iterrows():
        table.add_row(
            f"{r.layer_a} → {r.layer_b}", r.matching, f"{r.cka:.3f}", f"{r.rsa:.3f}",
            f"{r.rsa_low:+.3f} … {r.rsa_high:+.3f}",
        )  # fmt: skip
    console.print(table)
    table = Table(
        "layers", "match", "method", "pairs", "R² neutral", "R² emotion", "cos²", "random cos²", "AUROC", "random AUROC",
        "own AUROC", title="Mapped directions on held-out sentences (95 % of mapped random directions beside each)",
    )  # fmt: skip
    for _, r in found.alignment.iterrows():
        table.add_row(
            f"{r.layer_a} → {r.layer_b}", r.matching, r.method, r.control, f"{r.r2_neutral:.2f}", f"{r.r2_emotion:.2f}",
            f"{r.cos2:.3f}", f"{r.cos2_low:.3f} … {r.cos2_high:.3f}", f"{r.auroc:.3f}",
            f"{r.auroc_low:.3f} … {r.auroc_high:.3f}", f"{r.auroc_own:.3f}",
        )  # fmt: skip
    console.print(table)
