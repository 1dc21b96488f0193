"""``emotion-circuits capture``: states of sentences to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from emotion_circuits.cli.completing import MODELS, offering
from emotion_circuits.cli.shared import (
    Columns,
    Device,
    Dtype,
    JsonFlag,
    Revision,
    Track,
    check_before_loading,
    long_running,
    mapped,
    recorded,
    show_json,
)
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["capture_command"]


def _integers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise EmotionCircuitsError(f"--layers: give whole numbers separated by commas, got {text!r}") from None


def capture_command(
    out: Annotated[Path, typer.Option(help="Folder for shards, table and manifest.")],
    model: Annotated[
        str, typer.Option(help="Bundled name, hub id, folder or .gguf file.", autocompletion=offering(MODELS))
    ] = "smollm2-135m",
    prompts: Annotated[list[str] | None, typer.Option(help="Corpus: bundled name or file; may be repeated.")] = None,
    columns: Columns = None,
    kinds: Annotated[
        str, typer.Option(help="Site kinds, separated by commas; also z,q,k,v,pattern,scores.")
    ] = "resid_post,mlp_out",
    pooling: Annotated[
        str, typer.Option(help="Any of last,emotion,mean,weighted,frame, or tokens to keep every token.")
    ] = "last,emotion,mean",
    layers: Annotated[str | None, typer.Option(help="Layers, separated by commas; all by default.")] = None,
    batch_tokens: Annotated[int, typer.Option(min=16, help="Tokens in one forward pass (memory).")] = 1024,
    shard_rows: Annotated[int, typer.Option(min=1, help="Sentences per shard.")] = 256,
    prefix: Annotated[
        Literal["auto", "none"],
        typer.Option(help="auto: one neutral token before every text, so that no first word is the sink."),
    ] = "none",
    moments: Annotated[
        bool, typer.Option("--moments", help="Write only count, mean and covariance per label (constant memory).")
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    track: Track = None,
    as_json: JsonFlag = False,
) -> None:
    """Record the states of sentences at every layer; an interrupted capture goes on where it was.

    Example: emotion-circuits capture --prompts core --layers 9,17 --out runs/states
    """
    from emotion_circuits.activations import capture, capture_moments
    from emotion_circuits.model import load_model
    from emotion_circuits.paths import make_folder
    from emotion_circuits.prompts import load_prompts
    from emotion_circuits.study.tracking import Tracker, default_uri, track_capture

    rows = load_prompts(mapped(prompts or ["core"], columns))
    wanted, pools = [k.strip() for k in kinds.split(",")], [p.strip() for p in pooling.split(",")]
    chosen = _integers(layers)
    check_before_loading(model, revision, option="--layers", layers=chosen)
    with long_running():
        loaded = load_model(model, device=device, dtype=dtype, revision=revision, prefix=prefix)
        if moments:
            if len(pools) != 1:
                raise EmotionCircuitsError("--moments takes one pooling, e.g. --pooling last")
            labels = list(dict.fromkeys(p.label for p in rows))
            found = capture_moments(
                loaded, rows, labels, kinds=wanted, pooling=pools[0], layers=chosen, batch_tokens=batch_tokens
            )
            make_folder(out)
            for kind, m in found.items():
                m.save(out, f"{kind}.{pools[0]}")
            facts = {"folder": str(out), "rows": len(rows), "kinds": wanted, "pooling": pools, "moments": True}
        else:
            store = capture(
                loaded, rows, out, kinds=wanted, pooling=pools, layers=chosen, batch_tokens=batch_tokens,
                shard_rows=shard_rows,
            )  # fmt: skip
            size = sum(p.stat().st_size for p in out.glob("shard-*"))
            facts = {
                "folder": str(out),
                "hash": store.manifest["hash"],
                "rows": len(store.rows),
                "layers": len(store.layers),
                "kinds": list(store.kinds),
                "pooling": list(store.poolings),
                "megabytes": round(size / 1e6, 1),
            }
            facts["run_id"] = recorded(track, lambda: track_capture(out, store.manifest, Tracker(default_uri(out))))
    if as_json:
        show_json(facts)
    else:
        for key, value in facts.items():
            if value is None:  # not tracked
                continue
            typer.echo(f"{key:10} {', '.join(map(str, value)) if isinstance(value, list) else value}")
