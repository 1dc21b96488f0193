"""``emotion-circuits align``: do two models' emotion directions correspond?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.shared import (
    AttributeName,
    Device,
    JsonFlag,
    Language,
    long_running,
    note,
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say whether it is done already; compute nothing.")
    ] = False,
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
    import pandas as pd

    from emotion_circuits.page.telling import claim_json, tell
    from emotion_circuits.record.reading import read_claims
    from emotion_circuits.report.runs_page import write_alignment_page
    from emotion_circuits.stations.alignment import ALIGNMENT
    from emotion_circuits.stations.alignment.folder import AlignmentFolder
    from emotion_circuits.stations.registry import kinds
    from emotion_circuits.study.over_runs import run_over

    asked = _settings(
        pooling=pooling,
        kind=kind,
        methods=methods,
        depths=depths,
        draws=draws,
        steer=steer,
        alpha=alpha,
        prompts=prompts,
    )
    if steer and out is None:
        raise EmotionCircuitsError("--steer keeps its continuations: say where with --out")
    with tempfile.TemporaryDirectory() as nowhere, long_running():
        place = out or Path(nowhere)
        command = f"emotion-circuits align {run_a} {run_b} --out {place}{' --steer' if steer else ''}"
        done = run_over(
            ALIGNMENT, (run_a, run_b), place, asked, command=command, dry=dry_run, seed=seed, device=device,
            told=lambda station, status: note(f"{station.title}: {status}"), **_second(run_b, steer),
            attribute=_attribute(attribute, run_a, run_b),
        )  # fmt: skip
        if dry_run:
            show_json({"folder": str(out), "station": done.name, "status": done.status}) if as_json else typer.echo(
                f"{done.name}: {done.status}"
            )
            return
        page = None if out is None else write_alignment_page(out, language=lang)
        folder = AlignmentFolder.of(place)
        tables = {
            name: getattr(folder, name).read() if getattr(folder, name).exists() else pd.DataFrame()
            for name in ("similarity", "alignment", "subspaces", "steering")
        }
        claims = tell(read_claims(place), kinds())
        left_out = [str(row) for row in folder.left_out()]
    if as_json:
        rows = {name: table.to_dict("records") for name, table in tables.items()}
        show_json(
            {
                **rows,
                "steering": rows["steering"] or None,
                "claims": [claim_json(told) for told in claims],
                "left_out": left_out,
                "page": None if page is None else str(page),
            }
        )
        return
    _print(tables["similarity"], tables["alignment"])
    for told in claims:
        typer.echo(f"{told.claim.verdict}: {told.statement} {told.notes}")
    for why in left_out:
        typer.echo(f"left out: {why}")
    if page is not None:
        typer.echo(f"Page: {page.resolve()}")


def _settings(*, methods: str, depths: str, **asked: Any) -> Any:
    from pydantic import ValidationError

    from emotion_circuits.prompts.loading import validation_messages
    from emotion_circuits.stations.alignment.settings import AlignmentSettings

    try:
        wanted = tuple(float(d) for d in depths.split(","))
    except ValueError:
        raise EmotionCircuitsError(f"--depths: give numbers separated by commas, got {depths!r}") from None
    if any(not 0 <= d <= 1 for d in wanted):
        raise EmotionCircuitsError(f"--depths: relative depths lie between 0 and 1, got {depths!r}")
    try:
        return AlignmentSettings(methods=tuple(m.strip() for m in methods.split(",")), depths=wanted, **asked)
    except ValidationError as error:
        raise EmotionCircuitsError("; ".join(f"--{problem}" for problem in validation_messages(error))) from error


def _attribute(given: str | None, *runs: Path) -> str:
    """The attribute that was named, else that of the first of the runs; a folder of a capture names none."""
    from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE
    from emotion_circuits.record.reading import STUDY, read_config

    for run in runs:
        if given is None and (run / STUDY).is_file():
            given = str(read_config(run)["attribute"])
    return given or DEFAULT_ATTRIBUTE


def _second(run: Path, steer: bool) -> dict[str, Any]:
    """Name and revision of the second model, which is loaded where it is steered."""
    from emotion_circuits.stations.alignment.station import captured

    if not steer:
        return {}
    about = captured(run).manifest["model"]
    return {"model_name": str(about["name"]), "revision": about["revision"]}


def _print(similarity: Any, alignment: Any) -> None:
    table = Table(
        "layers", "match", "CKA", "CKA, permuted", "RSA", "RSA, permuted", title="The same sentences in both models"
    )
    for _, r in similarity.iterrows():
        table.add_row(
            f"{r.layer_a} → {r.layer_b}", r.matching, f"{r.cka:.3f}", f"{r.cka_low:+.3f} … {r.cka_high:+.3f}", f"{r.rsa:.3f}",
            f"{r.rsa_low:+.3f} … {r.rsa_high:+.3f}",
        )  # fmt: skip
    print_table(table)
    table = Table(
        "layers", "match", "method", "pairs", "R² neutral", "R² emotion", "cos² apart", "shuffled", "AUROC", "shuffled",
        "own", title="Mapped directions on held-out sentences; 'shuffled': 95 % of directions of shuffled labels",
    )  # fmt: skip
    for _, r in alignment.iterrows():
        table.add_row(
            f"{r.layer_a} → {r.layer_b}", r.matching, r.method, r.control, f"{r.r2_neutral:.2f}", f"{r.r2_emotion:.2f}",
            f"{r.cos2_apart:.3f}", f"{r.apart_shuffled_low:.3f} … {r.apart_shuffled_high:.3f}",
            f"{r.auroc:.3f} [{r.auroc_low:.3f}, {r.auroc_high:.3f}]",
            f"{r.auroc_shuffled_low:.3f} … {r.auroc_shuffled_high:.3f}", f"{r.auroc_own:.3f}",
        )  # fmt: skip
    print_table(table)
