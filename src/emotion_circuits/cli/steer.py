"""``emotion-circuits steer``: what a model writes with and without a direction, side by side."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from emotion_circuits.cli.completing import MODELS, offering, values
from emotion_circuits.cli.export import OtherModel
from emotion_circuits.cli.shared import (
    AttributeName,
    Device,
    Dtype,
    JsonFlag,
    Pickle,
    Revision,
    VllmPython,
    WriterName,
    attribute_for,
    check_before_loading,
    long_running,
    model_of,
    prefix_of,
    print_table,
    show_json,
)
from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from emotion_circuits.exchange import PortableVector
    from emotion_circuits.model import LanguageModel
    from emotion_circuits.prompts import Attribute
    from emotion_circuits.steering import Condition, SteeringVectors

ALPHA = 0.2
DEPTH = 0.45  # of the model: the middle layers, where emotion directions steer best for their cost


def steer(
    prompts: Annotated[list[str], typer.Argument(help="Openings to continue.")],
    emotion: Annotated[
        str | None,
        typer.Option(
            help="A value of the attribute, or another direction of the run.", autocompletion=offering(values)
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Bundled name, hub id, folder or .gguf file.", autocompletion=offering(MODELS))
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Strength as a fraction of the layer's residual norm; about 0.05 to 0.4 stays fluent."),
    ] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Layers to steer; repeatable.")] = None,
    run: Annotated[Path | None, typer.Option(help="Use the directions and the choice of this run.")] = None,
    vector: Annotated[
        str | None,
        typer.Option(
            help="A vector instead of a direction: .gguf, .safetensors, an exported folder, or OWNER/NAME of the hub."
        ),
    ] = None,
    scale: Annotated[float, typer.Option(help="Times the vector; 1 is the strength it was made with.")] = 1.0,
    other_model: OtherModel = False,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of a LoRA adapter (peft, safetensors) that is merged into the model.")
    ] = None,
    attribute: AttributeName = None,
    tokens: Annotated[int, typer.Option("--max-new-tokens", help="Length of the continuation.")] = 30,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Both texts share their random draws.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    writer: WriterName = None,
    vllm_python: VllmPython = None,
    allow_pickle: Pickle = False,
    as_json: JsonFlag = False,
) -> None:
    """Print what the model writes, unsteered and steered, side by side.

    Without --run, directions are fitted on the attribute's traced sentences (difference of means, once per model). With --vector
    the strength is that of its file.

    Example: emotion-circuits steer --model smollm2-135m --emotion gratitude "When the bus arrived, she"
    """
    from emotion_circuits.evaluation import Fluency
    from emotion_circuits.model import Sampling, generate, load_model, writing_model
    from emotion_circuits.model.generation import row_seed
    from emotion_circuits.steering.injecting import layer_interventions
    from emotion_circuits.study import writer_of

    ready = None
    if vector is not None:
        _alone("--vector", emotion, alpha, layer, run, attribute)
        ready = _ready(vector, scale)
    elif emotion is None:
        raise EmotionCircuitsError("--emotion: what is to be steered towards? Or give a --vector")
    elif other_model or scale != 1:
        raise EmotionCircuitsError("--scale and --other-model go with --vector only")
    with long_running():
        own = None if ready is None or ready.card is None else ready.card.model
        if own is not None and model is None:
            model, revision = own.name, revision or own.revision
        name, revision = model_of(run, model, revision)
        check_before_loading(name, revision, layers=layer)
        prefix = prefix_of(run) if own is None else own.prefix
        loaded = load_model(
            name,
            device=device,
            dtype=dtype,
            revision=revision,
            allow_pickle=allow_pickle,
            prefix=prefix,
            adapter=adapter,
        )
        steered = list(
            range(1, 2 * len(prompts), 2)
        )  # every second row: what is written without comes before what is with
        if ready is not None:
            ready.check_fits(loaded, other_model=other_model)
            done, told = ready.interventions(scale, steered), _vector_told(ready, str(vector), scale)
        else:
            assert emotion is not None
            vectors = fitted_vectors(loaded, attribute_for(attribute)) if run is None else _of_run(run)
            vectors.check_fits(loaded)
            condition = _condition(loaded, vectors, emotion, alpha, layer, run)
            done, told = layer_interventions(condition, vectors, tuple(steered)), _condition_told(condition)
        how = Sampling(max_new_tokens=tokens, temperature=temperature)
        texts = [p for p in prompts for _ in range(2)]
        seeds = [row_seed(seed, p, 0) for p in texts]
        if writer == "vllm":
            rows_done = [[replace(i, rows=None) for i in done] if row % 2 else [] for row in range(len(texts))]
            with closing(writer_of(vllm_python, None)) as service:
                written = service.generate(loaded, texts, how, interventions=rows_done, seeds=seeds)
        else:
            written = generate(writing_model(loaded), texts, how, interventions=done, seeds=seeds)
        cost = Fluency(loaded).score(
            [g.prompt for g in written], [g.text for g in written], ids=[g.token_ids for g in written]
        )["perplexity"]
    rows = [
        {
            "prompt": prompt,
            "base": written[2 * i].text,
            "steered": written[2 * i + 1].text,
            "base_perplexity": float(cost[2 * i]),
            "steered_perplexity": float(cost[2 * i + 1]),
        }
        for i, prompt in enumerate(prompts)
    ]
    if as_json:
        show_json({"model": loaded.name, **told.said, "seed": seed, "rows": rows})
        return
    typer.echo(f"{loaded.name}: {told.line}")
    _table(rows)
    if told.strong:
        typer.echo("note: above about 0.4 of the residual norm a text usually breaks down; try --alpha 0.2", err=True)


class _Told(NamedTuple):
    """What is steered, for the answer."""

    said: dict[str, Any]
    line: str
    strong: bool = False


def _condition_told(condition: Condition) -> _Told:
    first = f", at the first token {condition.first:g}" if condition.first else ""
    line = f"{condition.emotion}, layers {', '.join(map(str, condition.layers))}, alpha {condition.alpha:g}{first}"
    return _Told({"condition": condition.to_json()}, line, abs(condition.alpha) > 0.4)


def _vector_told(vector: PortableVector, source: str, scale: float) -> _Told:
    card = None if vector.card is None else vector.card.model_dump(mode="json")
    said = {"vector": source, "scale": scale, "layers": list(vector.layers), "card": card}
    value = source if vector.card is None else f"{vector.card.value} ({source})"
    return _Told(said, f"{value}, layers {', '.join(map(str, vector.layers))}, scale {scale:g}")


def _ready(vector: str, scale: float) -> PortableVector:
    from emotion_circuits.exchange import read_vector

    if not math.isfinite(scale):
        raise EmotionCircuitsError(f"--scale: must be finite, got {scale}")
    return read_vector(vector)


def _alone(option: str, *others: Any) -> None:
    if any(other is not None and other != [] for other in others):
        raise EmotionCircuitsError(
            f"{option}: says itself what is added where; leave --emotion, --alpha, --layer, --run and --attribute out"
        )


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("prompt", "base", "steered", show_lines=True)
    for row in rows:
        cells = [Text(row["prompt"])]
        cells += [Text(f"{row[k].strip()}\n(perplexity {row[f'{k}_perplexity']:.1f})") for k in ("base", "steered")]
        table.add_row(*cells)
    print_table(table)


def _of_run(run: Path) -> SteeringVectors:
    """As the run injected them, or as it fitted them where it has not steered."""
    from emotion_circuits.stations.directions.folder import DirectionsFolder
    from emotion_circuits.stations.steering.folder import SteeringFolder
    from emotion_circuits.steering import SteeringVectors

    injected = SteeringFolder.of(run).vectors()
    return injected or SteeringVectors.from_directions(DirectionsFolder.of(run).chosen_set())


def fitted_vectors(model: LanguageModel, attribute: Attribute) -> SteeringVectors:
    """Differences of means on an attribute's traced sentences; their states are kept in the cache."""
    from emotion_circuits.activations import capture
    from emotion_circuits.model import weights_sha256
    from emotion_circuits.paths import cache_dir, hash_json
    from emotion_circuits.prompts import load_prompts, prompts_sha256
    from emotion_circuits.steering import vectors_from_store

    rows = load_prompts(attribute.traced, split="train", labels=attribute.labels)
    key = hash_json([weights_sha256(model), str(model.dtype), prompts_sha256(rows)])[:16]
    folder = cache_dir() / "steer" / f"{Path(model.name).name}-{key}"
    store = capture(model, rows, kinds=("resid_post",), pooling=("mean",), folder=folder)
    return vectors_from_store(store, pooling="mean", reference=attribute.reference)


def _condition(
    model: LanguageModel,
    vectors: SteeringVectors,
    emotion: str,
    alpha: float | None,
    layers: list[int] | None,
    run: Path | None,
) -> Condition:
    from emotion_circuits.steering import Condition

    chosen = _chosen(run, emotion)
    where = tuple(layers or []) or (chosen.layers if chosen else (round(DEPTH * (model.n_layers - 1)),))
    strength = alpha if alpha is not None else chosen.alpha if chosen else ALPHA
    for one in where:
        vectors.direction(emotion, one)
    if chosen is None:
        return Condition(name=emotion, emotion=emotion, layers=where, alpha=strength)
    # Another strength scales what is done to the first token with it.
    first = chosen.first * (strength / chosen.alpha if chosen.alpha else 1.0)
    return replace(chosen, name=emotion, layers=where, alpha=strength, first=first)


def _chosen(run: Path | None, emotion: str) -> Condition | None:
    """The condition the run chose on validation, where it has come so far."""
    if run is None:
        return None
    from emotion_circuits.stations.steering.folder import SteeringFolder

    choice = SteeringFolder.of(run).choice
    return choice.read().conditions().get(emotion) if choice.exists() else None
