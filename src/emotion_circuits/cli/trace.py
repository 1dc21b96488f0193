"""``emotion-circuits trace``: where a text writes an emotion, which parts write it, where it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_circuits.cli.completing import MODELS, offering
from emotion_circuits.cli.shared import (
    AttributeName,
    Device,
    Dtype,
    JsonFlag,
    Language,
    Revision,
    attribute_for,
    check_before_loading,
    long_running,
    model_of,
    prefix_of,
    show_json,
)
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["trace_command"]


def trace_command(
    text: Annotated[str, typer.Argument(help="The text to trace.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Bundled name, hub id, folder or .gguf file; by default that of --run, else smollm2-135m.",
            autocompletion=offering(MODELS),
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Take directions from this run instead of fitting them.")] = None,
    emotion: Annotated[str | None, typer.Option(help="Which emotion; by default the strongest at the end.")] = None,
    attribute: AttributeName = None,
    layer: Annotated[int | None, typer.Option(help="Layer whose directions parts are attributed along.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this HTML file.")] = None,
    lang: Language = "en",
    top: Annotated[int, typer.Option(min=1, help="How many parts are listed.")] = 12,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    as_json: JsonFlag = False,
) -> None:
    """Follow an emotion through a text: layer by token, part by part, summing exactly to the residual stream.

    Without --run, directions are fitted on the attribute's traced sentences and kept in the cache.

    Example: emotion-circuits trace "Thank you so much for your help." --out trace.html
    """
    from emotion_circuits.directions import trace
    from emotion_circuits.model import load_model
    from emotion_circuits.page.appearance import shown_as
    from emotion_circuits.stations.trace.section import write_trace

    name, revision = model_of(run, model, revision, default="smollm2-135m")
    check_before_loading(name, revision, layers=None if layer is None else [layer])
    with long_running():
        loaded = load_model(name, device=device, dtype=dtype, revision=revision, prefix=prefix_of(run))
        about = attribute_for(attribute, run)
        directions = _from_run(run) if run is not None else _fitted(loaded, about)
        found = trace(loaded, text, directions, layer)
    if emotion is not None and emotion not in found.labels:
        raise EmotionCircuitsError(f"--emotion: no direction for {emotion!r}; there are {', '.join(found.labels)}")
    chosen = emotion or found.labels[int(found.whole[:, -1].argmax())]
    k = found.labels.index(chosen)
    table = found.components(chosen)
    facts: dict[str, Any] = {
        "text": found.text,
        "emotion": chosen,
        "layer": found.layer,
        "unit": "residual norms of that layer",
        "projection": {label: float(found.whole[i, -1]) for i, label in enumerate(found.labels)},
        "tokens": [{"token": token, "projection": float(found.whole[k, i])} for i, token in enumerate(found.tokens)],
        "components": table.head(top).to_dict("records"),
        "others": {"count": max(len(table) - top, 0), "part": float(table["part"].iloc[top:].sum())},
        "gap": found.gap,
        "next_tokens": [{"token": token, "probability": p} for token, p in found.logit_lens[-1]],
        "note": found.note,
    }
    if out is not None:
        with shown_as(about, lang):
            write_trace(out, found, chosen)
        facts["figures"] = str(out)
    if as_json:
        show_json(facts)
        return
    _say(facts)


def _say(facts: dict[str, Any]) -> None:
    ends = "  ".join(f"{label} {value:+.3f}" for label, value in facts["projection"].items())
    typer.echo(f"at the last token, layer {facts['layer']}, in residual norms: {ends}")
    typer.echo(f"\n{facts['emotion']} at every token:")
    for entry in facts["tokens"]:
        typer.echo(f"  {entry['projection']:+.3f}  {entry['token']!r}")
    typer.echo(f"\nwho writes {facts['emotion']} at the last token:")
    for entry in facts["components"]:
        typer.echo(f"  {entry['part']:+.3f}  {entry['component']}")
    typer.echo(f"  {facts['others']['part']:+.3f}  {facts['others']['count']} others")
    typer.echo(f"parts and whole differ by {facts['gap']:.1e} of the largest part")
    typer.echo("next: " + ", ".join(f"{e['token']!r} {e['probability']:.2f}" for e in facts["next_tokens"]))
    for key in ("note", "figures"):
        if facts.get(key):
            typer.echo(f"{key}: {facts[key]}")


def _from_run(run: Path) -> Any:
    """The directions the run itself traces."""
    from emotion_circuits.stations.directions.folder import DirectionsFolder
    from emotion_circuits.stations.trace.folder import TraceFolder

    return DirectionsFolder.of(run).load_set(TraceFolder.of(run).choice.read().directions)


def _fitted(model: Any, attribute: Any) -> Any:
    """Mean-difference directions of an attribute's traced sentences, kept in the cache with the capture's hash."""
    from emotion_circuits.activations import POOLINGS, capture, capture_config
    from emotion_circuits.directions import choose_directions, evaluate_directions, fit_directions
    from emotion_circuits.paths import cache_dir, hash_json
    from emotion_circuits.prompts import load_prompts

    rows = load_prompts(attribute.traced, labels=attribute.labels)
    config = capture_config(model, rows, ("resid_post",), POOLINGS, range(model.n_layers), 256)
    store = capture(model, rows, cache_dir() / "captures" / hash_json(config)[:16], kinds=("resid_post",))
    directions = fit_directions(store, labels=attribute.values, reference=attribute.reference)
    return choose_directions(evaluate_directions(store, [directions], splits=("validation",)), [directions])
