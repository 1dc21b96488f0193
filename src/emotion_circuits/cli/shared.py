"""What the commands share: option types, progress, JSON output."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotion_circuits.catalogues import LANGUAGES
from emotion_circuits.cli.completing import attributes, offering
from emotion_circuits.cli.visible import visible
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_style

if TYPE_CHECKING:
    from emotion_circuits.prompts import Attribute
    from emotion_circuits.record.engines import Engine

__all__ = [
    "AttributeName",
    "Columns",
    "Device",
    "Dtype",
    "EngineName",
    "EngineOptions",
    "JsonFlag",
    "Language",
    "Pickle",
    "Revision",
    "State",
    "Track",
    "VllmPython",
    "Workers",
    "WriterName",
    "attribute_for",
    "check_before_loading",
    "engine_for",
    "json_ready",
    "listen",
    "long_running",
    "mapped",
    "model_of",
    "note",
    "print_table",
    "recorded",
    "show_json",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, or auto (spread over what there is).")]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16, float16, float64, or auto: by the model's size, the device and what the processor multiplies."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Hub branch, tag or commit.")]
Language = Annotated[
    Literal[LANGUAGES],  # type: ignore[valid-type]  # known when the folder of catalogues is read
    typer.Option("--lang", help="Language of the page."),
]
AttributeName = Annotated[
    str | None,
    typer.Option(
        "--attribute",
        help="What is studied: a bundled attribute or a YAML file; by default that of the run, else emotion-en.",
        autocompletion=offering(attributes),
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--map", help="FIELD=COLUMN where a file's columns have other names, e.g. text=Sentence; repeat."),
]
Pickle = Annotated[bool, typer.Option("--allow-pickle", help="Accept pickled weights; only from sources you trust.")]

Track = Annotated[
    bool | None,
    typer.Option("--track/--no-track", help="Record in MLflow; by default where the extra 'tracking' is installed."),
]


EngineName = Annotated[
    Literal["inline", "processes", "ray", "slurm"],
    typer.Option(
        "--engine",
        help="Where parts of the work are computed: in this process, in worker processes, by Ray or by Slurm. What comes out is "
        "the same.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="How many parts at once, with --engine processes, ray or slurm; by default as many as there is room for. On a CPU "
        "set OMP_NUM_THREADS to the number of cores over the number of workers.",
    ),
]
EngineOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-option",
        help="KEY=VALUE; repeat. ray: address, folder, cpus, gpus, memory. slurm: folder, partition, account, qos, time, cpus, "
        "gpus, memory, parts_per_job, cluster. E.g. --engine ray --engine-option address=auto.",
    ),
]


WriterName = Annotated[
    Literal["own", "vllm"] | None,
    typer.Option(
        "--writer",
        help="What writes continuations: the model in this program (own, the default), or vLLM, started in its own environment.",
    ),
]
VllmPython = Annotated[
    Path | None,
    typer.Option(
        "--vllm-python",
        help="Python of an environment with vLLM and emotion-circuits-vllm; by default as EMOTION_CIRCUITS_VLLM_PYTHON says.",
    ),
]


class State:
    """Options given before the command."""

    debug = False
    quiet = False


def listen(verbose: bool) -> None:
    """Let the package's notes through to standard error: warnings always, more where ``--verbose`` asks for it."""
    logger = logging.getLogger("emotion_circuits")
    logger.handlers = [_Notes()]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


class _Notes(logging.Handler):
    """``warning: …`` on standard error, wherever that is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        sys.stderr.write(f"{prefix}{visible(record.getMessage())}\n")


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal; in a file or a pipe wide enough for names to stay whole.

    What stands in it is text: neither ``[bold]`` in a folder's name nor ``:smile:`` in a sentence means anything, nor what would
    steer a terminal.
    """
    fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    _Plain(width=None if fixed else 120, markup=False, emoji=False, highlight=False).print(table)


class _Plain(Console):
    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        return super().render_str(visible(text), **options)


def note(text: str) -> None:
    """A line for the person who waits, on standard error; nothing with ``--quiet``."""
    if not State.quiet:
        sys.stderr.write(f"{visible(text)}\n")


@contextmanager
def long_running() -> Iterator[None]:
    """Show progress bars on standard error, unless ``--quiet``."""
    with progress_style("silent" if State.quiet else "rich"):
        yield


def engine_for(name: str, workers: int | None, options: Sequence[str] | None) -> Engine:
    """The engine that ``--engine``, ``--workers`` and ``--engine-option`` ask for; close it when all work is done.

    Raises:
        EmotionCircuitsError: an unknown option or value, workers where there are none, or an extra that is not installed.
    """
    from emotion_circuits.record.engines import engine

    given: dict[str, str] = {}
    for item in options or ():
        key, equals, value = item.partition("=")
        if not equals or not key or key in given:
            why = "is given twice" if key in given else "is not KEY=VALUE"
            raise typer.BadParameter(f"{item!r} {why}", param_hint="--engine-option")
        given[key] = value
    return engine(name, workers=workers, options=given)


def check_before_loading(
    model: str,
    revision: str | None,
    *,
    option: str = "--layer",
    layers: Sequence[int] | None = None,
    nodes: str | None = None,
) -> None:
    """Refuse layers and heads a model does not have, from its configuration alone.

    Args:
        model: as given.
        revision: as given.
        option: that named the layers.
        layers: layers; ``None``: none were named.
        nodes: names of heads and MLPs, ``L3H2 M4``.

    Raises:
        EmotionCircuitsError: naming the option and what there is.
    """
    if not layers and not nodes:
        return
    from emotion_circuits.heads.nodes import parse_nodes
    from emotion_circuits.model import blueprint
    from emotion_circuits.model.layers import check_layers

    plan = blueprint(model, revision=revision)
    if plan is None:
        return
    check_layers(option, layers or (), plan.n_layers, plan.name)
    if nodes is not None and nodes not in ("all", "heads", "mlps"):
        try:
            parse_nodes(plan, nodes.split())
        except EmotionCircuitsError as error:
            raise EmotionCircuitsError(f"--nodes: {error}") from error


def attribute_for(given: str | None, *runs: Path | None) -> Attribute:
    """The attribute that was named, else that of the first run that has finished, else the default one.

    Args:
        given: ``--attribute``.
        runs: folders of runs, or of anything else.

    Raises:
        EmotionCircuitsError: no such attribute, or a damaged run.
    """
    from emotion_circuits.prompts import load_attribute
    from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE
    from emotion_circuits.record.reading import MANIFEST, STUDY, read_config, read_finished
    from emotion_circuits.record.studied import studied_in

    if given is None:
        for run in runs:
            # A folder of a capture has a manifest too, of another kind.
            if run is not None and (run / STUDY).is_file():
                config = read_config(run)
                if (run / MANIFEST).is_file():
                    return studied_in(read_finished(run)).attribute
                return load_attribute(config.get("attribute", DEFAULT_ATTRIBUTE))
    return load_attribute(DEFAULT_ATTRIBUTE if given is None else given)


def mapped(names: Sequence[str | Path], columns: Sequence[str] | None) -> list[str]:
    """Corpora as they were named, with the columns of ``--map`` where they are a user's own.

    Raises:
        EmotionCircuitsError: an item that is not ``FIELD=COLUMN``.
    """
    from emotion_circuits.prompts.loading import parse_column_map, with_columns

    wanted = parse_column_map(columns or ())
    return [with_columns(name, wanted) for name in names]


def model_of(
    run: Path | None, given: str | None, revision: str | None, default: str | None = None
) -> tuple[str, str | None]:
    """The model that was named and its revision, else those of the run, else the default one.

    Raises:
        EmotionCircuitsError: none of them; not the folder of a run, or a damaged one.
    """
    from emotion_circuits.record.reading import read_config

    if given is None and run is not None:
        config = read_config(run)
        return str(config["model"]), revision or config.get("revision")
    if given is None and default is None:
        raise EmotionCircuitsError("name a model with --model, or a run with --run")
    return str(given or default), revision


def prefix_of(run: Path | None) -> Literal["auto", "none"]:
    """What stands before every text in a run, as its configuration says; nothing without a run.

    Raises:
        EmotionCircuitsError: not the folder of a run, or a damaged one.
    """
    from emotion_circuits.record.reading import read_config

    return "auto" if run is not None and read_config(run).get("prefix") == "auto" else "none"


def recorded(track: bool | None, record: Callable[[], str]) -> str | None:
    """The id of a recorded run, or ``None`` where nothing is recorded.

    What was computed is finished by then: where recording was not asked for in so many words, a store that fails is said
    on standard error and the command goes on.

    Args:
        track: ``--track``, ``--no-track`` or neither.
        record: records and returns the id.
    """
    from emotion_circuits.study.tracking import tracking_installed

    if track is False or (track is None and not tracking_installed()):
        return None
    try:
        return record()
    except EmotionCircuitsError as error:
        if track:
            raise
        sys.stderr.write(f"warning: not recorded in MLflow: {visible(str(error))}\n")
        return None


def show_json(value: Any) -> None:
    """Print one JSON object; NaN becomes null, as JSON has none."""
    # Escapes where the output is in an encoding that lacks most characters: JSON in any encoding.
    plain = (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"
    typer.echo(json.dumps(json_ready(value), indent=2, ensure_ascii=plain, allow_nan=False))


def json_ready(value: Any) -> Any:
    """A value as JSON can hold it; NaN becomes null."""
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
