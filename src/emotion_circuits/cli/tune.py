"""``emotion-circuits tune``: a run's steering beside words, tuned weights and a vector that preferences taught."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.completing import offering, values
from emotion_circuits.cli.shared import Device, JsonFlag, Language, long_running, note, print_table, show_json
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["tune"]


def tune(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run that has steered.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the comparison; by default the run's name with '-tuned'.")
    ] = None,
    emotion: Annotated[
        str | None,
        typer.Option(
            help="A value of the run's attribute; by default the first that it has a place for.",
            autocompletion=offering(values),
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Any of prompting,steering,sft,dpo,preference,baked. Default: all. sft and dpo need the extra 'hybrid'."
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(help="full, or quick: fewer examples and strengths, smaller batches; --set changes it further."),
    ] = "full",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the station's settings, e.g. dpo_steps=64; repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say whether it is done already; compute nothing.")
    ] = False,
    lang: Language = "en",
    device: Device = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a run's steering with prompting, LoRA adapters, a trained vector and a baked one on unseen openings.

    What is trained learns from train splits and from the model's own steered texts. All of it is read by the run's judge, at
    several strengths, beside what it costs: fluency, other labels, plain text, answers to harmful requests. Adapters and
    vector are kept for 'steer --adapter' and 'steer --vector'.

    Example: emotion-circuits tune runs/demo --emotion gratitude --profile quick --out runs/demo-tuned
    """
    from emotion_circuits.page.telling import claim_json, tell
    from emotion_circuits.record.reading import read_claims, read_config
    from emotion_circuits.report.runs_page import write_tuning_page
    from emotion_circuits.stations.registry import kinds
    from emotion_circuits.stations.tuning import TUNING
    from emotion_circuits.stations.tuning.folder import TuningFolder
    from emotion_circuits.stations.tuning.section import overview
    from emotion_circuits.study.over_runs import run_over

    own, asked = read_config(run), _settings(profile, emotion, methods, set_ or [])
    place = out if out is not None else run.with_name(f"{run.name}-tuned")
    if place.resolve() == run.resolve():
        raise EmotionCircuitsError("--out: the comparison needs a folder of its own")
    with long_running():
        done = run_over(
            TUNING, (run,), place, asked, model_name=str(own["model"]), dry=dry_run, seed=seed, device=device,
            command=f"emotion-circuits tune {run} --out {place}{_said(asked)}", attribute=str(own["attribute"]),
            told=lambda station, status: note(f"{station.title}: {status}"), revision=own.get("revision"),
        )  # fmt: skip
        if dry_run:
            show_json({"folder": str(place), "station": done.name, "status": done.status}) if as_json else typer.echo(
                f"{done.name}: {done.status}"
            )
            return
        page = write_tuning_page(place, language=lang)
    folder, claims = TuningFolder.of(place), tell(read_claims(place), kinds())
    if as_json:
        tables = {
            name: getattr(folder, name)
            for name in ("methods", "arms", "equal", "additive", "harm", "shift", "inside", "heads", "less")
        }
        show_json(
            {
                "folder": str(place),
                **{name: table.read().to_dict("records") if table.exists() else [] for name, table in tables.items()},
                "claims": [claim_json(told) for told in claims],
                "left_out": [str(row) for row in folder.left_out()],
                "page": str(page),
            }
        )
        return
    _print(overview(folder))
    for gone in folder.left_out():
        typer.echo(f"{gone.what} was not measured: {gone}")
    for told in claims:
        typer.echo(f"{told.claim.verdict}: {told.statement}")
    typer.echo(f"Page: {page.resolve()}")


def _settings(profile: str, emotion: str | None, methods: str | None, given: list[str]) -> Any:
    from pydantic import ValidationError

    from emotion_circuits.cli.run import settings_of
    from emotion_circuits.prompts.loading import validation_messages
    from emotion_circuits.stations.tuning.settings import PROFILES, TuningSettings

    if profile not in PROFILES:
        raise EmotionCircuitsError(f"--profile: no {profile!r}; there are {', '.join(PROFILES)}")
    asked: dict[str, Any] = {**PROFILES[profile], **settings_of(given)}
    if emotion is not None:
        asked["value"] = emotion
    if methods is not None:
        asked["methods"] = tuple(name.strip() for name in methods.split(",") if name.strip())
    try:
        return TuningSettings(**asked)
    except ValidationError as error:
        raise EmotionCircuitsError("; ".join(f"tune: {problem}" for problem in validation_messages(error))) from error


def _said(asked: Any) -> str:
    """What was asked otherwise than by default, as options."""
    plain = type(asked)()
    changed = {key: value for key, value in asked.model_dump().items() if value != getattr(plain, key)}
    words = [f" --emotion {changed.pop('value')}"] if "value" in changed else []
    for key, value in changed.items():
        shown = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else value
        words.append(f" --set '{key}={shown}'")
    return "".join(words)


def _print(table: Any) -> None:
    shown = Table(
        "method", "effect", "95 % interval", "perplexity", "KL, nats", "loss, nats", "astray", "harm", "seconds", "parameters",
        title="At strength 1 (prompting: sentences shown)",
    )  # fmt: skip
    for row in table.to_dict("records"):
        known = row["seconds"] == row["seconds"]
        shown.add_row(
            row["method"], f"{row['effect']:+.2f}", f"{row['low']:+.2f} to {row['high']:+.2f}", f"{row['ratio']:.2f}",
            f"{row['kl']:.3f}", f"{row['loss']:+.3f}", f"{row['astray']} {row['astray_change']:+.2f}", f"{row['harm']:+.2f}",
            f"{row['seconds']:.0f}" if known else "", f"{row['parameters']:,.0f}" if known else "",
        )  # fmt: skip
    print_table(shown)
