"""A station over several finished runs, in a folder of its own: kept, resumed and checked like any station of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import create_model

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.record.manifest import environment
from emotion_circuits.record.reading import write_manifest
from emotion_circuits.record.running import StationReport, keys_of_runs, run_stations, station_keys
from emotion_circuits.record.settings import Settings, StudySettings
from emotion_circuits.record.station import Context, Station

__all__ = ["run_over"]


def run_over(
    station: Station,
    runs: Sequence[Path],
    folder: Path,
    settings: Settings,
    *,
    model: LanguageModel | None = None,
    model_name: str = "",
    command: str = "",
    dry: bool = False,
    told: Callable[[Station, str], None] | None = None,
    **shared: Any,
) -> StationReport:
    """Run a station that needs stations of other runs, and write the manifest.

    Args:
        station: with ``needs_of_runs``.
        runs: folders of the other runs, in the order the station takes them.
        folder: where its own folder goes.
        settings: the station's.
        model: a loaded model, where it needs one.
        model_name: of the model that is loaded where it needs one and none is given.
        command: that makes the same again, for the manifest.
        dry: only say what would run; nothing is written.
        told: called with the station and its status before it runs.
        **shared: further fields of :class:`StudySettings` (``seed``, ``device``, ``revision`` …).

    Raises:
        EmotionCircuitsError: a run that has not finished, bad settings, a busy folder, an artefact that was changed.
    """
    if not station.needs_of_runs:
        raise EmotionCircuitsError(f"station {station.name!r} belongs to one run: it needs no others")
    fields: dict[str, Any] = {station.name: (station.settings, settings)}
    made = create_model(f"{station.name.title()}Config", __base__=StudySettings, **fields)
    config: StudySettings = made(model=model_name, **shared)
    context = Context(config, folder, loaded=model, runs=tuple(Path(run) for run in runs))
    (report,) = run_stations(context, [station], dry=dry, told=told)
    if not dry:
        write_manifest(
            folder,
            {
                "command": command,
                "seed": config.seed,
                "config": config.model_dump(mode="json"),
                "runs": [str(run) for run in runs],
                "made_of": keys_of_runs(station, context.runs),
                "studied": context.about.to_json(),
                "environment": environment(),
                "stations": station_keys(context, [station]),
            },
        )
    return report
