"""``emotion-circuits align``: do two models' emotion directions correspond?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.shared import (
    AttributeName,
    Device,
    JsonFlag,
    Language,
    attribute_for,
    long_running,
    print_table,
    show_json,
)
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
    out: Annotated[
        Path | None, typer.Option(help="Write tables, claims and a page with figures into this folder.")
    ] = None,
    steer: Annotated[
        bool, typer.Option("--steer", help="Also steer the second model with the mapped directions (loads it).")
    ] = False,
    alpha: Annotated[float, typer.Option(help="Strength of --steer, as a fraction of the residual norm.")] = 0.2,
    prompts: Annotated[int, typer.Option(min=8, help="Openings of --steer (test split).")] = 31,
    attribute: AttributeName = None,
    lang: Language = "en",
    device: Device = None,
    as_json: JsonFlag = False,
) -> None:
    """Map one model's states to another's on neutral training sentences; judge on sentences the map never saw.

    Every figure stands beside its chance level: mapped random directions, directions of shuffled labels, shuffled pairs,
    a random map. Layers and method are chosen by how well neutral validation sentences are predicted.

    Example: emotion-circuits align runs/smollm2 runs/gemma3 --out runs/aligned
    """
    from emotion_circuits.directions import compare_models
    from emotion_circuits.report.align_page import write_alignment
    from emotion_circuits.report.appearance import shown_as
    from emotion_circuits.study.aligning import alignment_claims, steer_with_mapped

    try:
        wanted = [float(d) for d in depths.split(",")]
    except ValueError:
        raise EmotionCircuitsError(f"--depths: give numbers separated by commas, got {depths!r}") from None
    if any(not 0 <= d <= 1 for d in wanted):
        raise EmotionCircuitsError(f"--depths: relative depths lie between 0 and 1, got {depths!r}")
    stores = _store(run_a), _store(run_b)
    about = attribute_for(attribute, run_a, run_b)
    with long_running():
        found = compare_models(
            *stores, kind=kind, pooling=pooling, methods=[m.strip() for m in methods.split(",")], depths=wanted,
            draws=draws, reference=about.reference, seed=seed,
        )  # fmt: skip
        claims = alignment_claims(found)
        steered = None
        if steer:
            if out is None:
                raise EmotionCircuitsError("--steer keeps its continuations: say where with --out")
            steered = steer_with_mapped(
                stores[1],
                found,
                out / "steering",
                attribute=about,
                alpha=alpha,
                count=prompts,
                seed=seed,
                device=device,
            )
            claims += steered.claims
        page = None
        if out is not None:
            with shown_as(about, lang):
                page = write_alignment(out, *stores, found, claims, steered)
    if as_json:
        tables = {n: getattr(found, n).to_dict("records") for n in ("similarity", "alignment", "subspaces")}
        show_json(
            {
                **tables,
                "steering": None if steered is None else steered.effects.to_dict("records"),
                "claims": [c.model_dump(mode="json") for c in claims],
                "page": None if page is None else str(page),
            }
        )
        return
    _print(found)
    for claim in claims:
        typer.echo(f"{claim.verdict}: {claim.statement} {claim.notes}")
    if page is not None:
        typer.echo(f"Page: {page.resolve()}")


def _store(folder: Path) -> Any:
    from emotion_circuits.activations import ActivationStore

    for place in (folder / "capture", folder):
        if (place / "rows.parquet").is_file():
            return ActivationStore.open(place)
    raise EmotionCircuitsError(f"{folder}: neither a run with a finished capture nor a capture folder")


def _print(found: Any) -> None:
    table = Table(
        "layers", "match", "CKA", "CKA, permuted", "RSA", "RSA, permuted", title="The same sentences in both models"
    )
    for _, r in found.similarity.iterrows():
        table.add_row(
            f"{r.layer_a} → {r.layer_b}", r.matching, f"{r.cka:.3f}", f"{r.cka_low:+.3f} … {r.cka_high:+.3f}", f"{r.rsa:.3f}",
            f"{r.rsa_low:+.3f} … {r.rsa_high:+.3f}",
        )  # fmt: skip
    print_table(table)
    table = Table(
        "layers", "match", "method", "pairs", "R² neutral", "R² emotion", "cos² apart", "shuffled", "AUROC", "shuffled",
        "own", title="Mapped directions on held-out sentences; 'shuffled': 95 % of directions of shuffled labels",
    )  # fmt: skip
    for _, r in found.alignment.iterrows():
        table.add_row(
            f"{r.layer_a} → {r.layer_b}", r.matching, r.method, r.control, f"{r.r2_neutral:.2f}", f"{r.r2_emotion:.2f}",
            f"{r.cos2_apart:.3f}", f"{r.apart_shuffled_low:.3f} … {r.apart_shuffled_high:.3f}",
            f"{r.auroc:.3f} [{r.auroc_low:.3f}, {r.auroc_high:.3f}]",
            f"{r.auroc_shuffled_low:.3f} … {r.auroc_shuffled_high:.3f}", f"{r.auroc_own:.3f}",
        )  # fmt: skip
    print_table(table)
