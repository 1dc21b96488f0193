"""``emotion-circuits export``: what a run has chosen, as a file of other programs, a repository of the hub, or a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emotion_circuits.cli.completing import MODELS, offering, values
from emotion_circuits.cli.shared import Device, Dtype, JsonFlag, long_running, note, show_json
from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from emotion_circuits.exchange import PortableVector

To = Literal["llama.cpp", "repeng", "steering-vectors", "easysteer", "safetensors", "hub", "weights"]
OtherModel = Annotated[
    bool, typer.Option("--other-model", help="Use the vector with a model of other weights than it was made of.")
]


def export(
    source: Annotated[
        str,
        typer.Argument(help="Folder of a run whose steering has finished; or a vector, to write it in another kind."),
    ],
    to: Annotated[To, typer.Option("--to", help="Kind of file; 'weights' saves a model with the vector baked in.")],
    out: Annotated[Path, typer.Option(help="File or folder to write.")],
    emotion: Annotated[
        str | None, typer.Option(help="A value of the run's attribute.", autocompletion=offering(values))
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="With --to hub: also upload the folder to this repository, OWNER/NAME.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="With --to weights: the model; by default the vector's own.", autocompletion=offering(MODELS)
        ),
    ] = None,
    other_model: OtherModel = False,
    device: Device = None,
    dtype: Dtype = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the vector that a run has chosen, its strength folded in, for another program, with a card of what to expect.

    Kinds: llama.cpp and repeng (.gguf), steering-vectors and safetensors (.safetensors), easysteer and hub (folders), weights (a
    model folder that plain transformers loads). What a kind cannot carry is said, and stands in the card.

    Example: emotion-circuits export runs/demo --emotion gratitude --to llama.cpp --out gratitude.gguf
    """
    from emotion_circuits.exchange import push_to_hub, write_vector

    alone = ((push, "--push", "hub"), (model, "--model", "weights"), (other_model, "--other-model", "weights"))
    for given, option, kind in alone:
        if given and to != kind:
            raise EmotionCircuitsError(f"{option}: goes with --to {kind} only")
    vector = _vector(source, emotion)
    result: dict[str, Any] = {"to": to, "out": str(out)}
    if to == "weights":
        vector, more = _baked(vector, out, model, other_model, device, dtype)
        result |= more
    else:
        vector = write_vector(vector, to, out)
    if push is not None:
        note(f"uploading to {push}")
        result["commit"] = push_to_hub(out, push)
    result |= {
        "layers": list(vector.layers),
        "card": None if vector.card is None else vector.card.model_dump(mode="json"),
    }
    if as_json:
        show_json(result)
        return
    _tell(vector, result)


def _vector(source: str, emotion: str | None) -> PortableVector:
    from emotion_circuits.exchange import read_vector
    from emotion_circuits.paths import path_of
    from emotion_circuits.record.reading import STUDY, is_run

    place = path_of(source)
    if is_run(place) or (place / STUDY).is_file():
        if emotion is None:
            raise EmotionCircuitsError("--emotion: which value of the run's attribute is to be exported?")
        from emotion_circuits.stations.steering.exporting import portable_of

        return portable_of(place, emotion)
    if emotion is not None and place.is_dir():
        raise EmotionCircuitsError(f"{place}: is not the folder of a run")
    vector = read_vector(source)
    if emotion is not None and (vector.card is None or vector.card.value != emotion):
        known = "not known" if vector.card is None else vector.card.value
        raise EmotionCircuitsError(f"{source}: is one vector, and its value is {known}; leave --emotion out")
    return vector


def _baked(
    vector: PortableVector, out: Path, model: str | None, other_model: bool, device: str | None, dtype: str | None
) -> tuple[PortableVector, dict[str, Any]]:
    from emotion_circuits.exchange import as_written, bake, write_card
    from emotion_circuits.model import load_model

    name = model or (vector.card.model.name if vector.card is not None else None)
    if name is None:
        raise EmotionCircuitsError(
            "--model: the vector's file does not name its model; into which one is it to be baked?"
        )
    found = as_written(vector, "weights")
    with long_running():
        revision = found.card.model.revision if found.card is not None and model is None else None
        loaded = load_model(name, device=device, dtype=dtype, revision=revision)
        found.check_fits(loaded, other_model=other_model)
        baked = bake(loaded, found, out)
    if found.card is not None:
        write_card(out / "README.md", found.card, "plain transformers, baked into the model's weights")
    return found, {"architecture": baked.architecture, "divergence": baked.divergence, "moved": baked.moved}


def _tell(vector: PortableVector, result: dict[str, Any]) -> None:
    layers = ", ".join(map(str, vector.layers))
    typer.echo(f"{result['out']}: for {result['to']}, behind layer {layers}")
    if "divergence" in result:
        typer.echo(
            f"saved as {result['architecture']}; its next token differs from the steered model's by at most "
            f"{result['divergence']:.1g} nats (steering moves it by up to {result['moved']:.2g})"
        )
    if "commit" in result:
        typer.echo(result["commit"])
    if vector.card is None:
        typer.echo("the source has no card: neither its model nor its effect are known")
        return
    for e in vector.card.effects:
        typer.echo(f"{e.metric} {e.said} [{e.low:.3f}, {e.high:.3f}] on {e.n} openings, with {e.pushed} pushed")
    for one in vector.card.cannot:
        typer.echo(f"not in it: {one}")
