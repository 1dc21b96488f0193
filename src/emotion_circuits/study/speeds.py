"""How long stages really took on this machine: the better half of an estimate of how long they will take."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import cache_dir, write_json
from emotion_circuits.record.running import StationReport, read_note, station_folder
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.study.config import StudyConfig

__all__ = ["corrections", "remember"]

FORMAT = 1
KEPT = 5
"""Runs remembered of a model on a device."""
LEAST = 2.0
"""Seconds: a stage that took less says nothing about one that takes long."""


def _file() -> Path:
    return cache_dir() / "speeds.json"


def _place(model: LanguageModel) -> dict[str, Any]:
    """What two runs must share for one to tell of the other."""
    return {
        "machine": f"{platform.node()} {os.cpu_count()}",
        "model": model.name,
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _records() -> list[dict[str, Any]]:
    """What is remembered; nothing where the file is missing, damaged or another version's: it only sharpens a guess."""
    try:
        found = loads(_file().read_text(encoding="utf-8"))
        return list(found["runs"]) if found["format"] == FORMAT else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def remember(config: StudySettings, model: LanguageModel, folder: Path, reports: Sequence[StationReport]) -> None:
    """Note the times of the stages that a run computed from beginning to end."""
    taken = {}
    for report in reports:
        timing = (read_note(station_folder(folder, report.name)) or {}).get("timing", {})
        if report.status == "ran" and timing.get("whole") and report.seconds >= LEAST:
            taken[report.name] = report.seconds
    if taken:
        record = {**_place(model), "config": config.model_dump(mode="json"), "seconds": taken}
        with suppress(EmotionCircuitsError):  # a cache that cannot be written must not end a finished run
            write_json(_file(), {"format": FORMAT, "runs": _kept([*_records(), record])})


def _kept(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The latest few of every place, and none of a model's folder that is gone."""
    found: list[dict[str, Any]] = []
    count: dict[str, int] = {}
    for record in reversed(records):
        place = json.dumps({key: record.get(key) for key in ("machine", "model", "device", "dtype", "threads")})
        count[place] = count.get(place, 0) + 1
        name = str(record.get("model"))
        if count[place] <= KEPT and (not Path(name).is_absolute() or Path(name).exists()):
            found.append(record)
    return found[::-1]


def corrections(
    model: LanguageModel, expected: Callable[[StudySettings], dict[str, float]], stages: Sequence[str]
) -> dict[str, tuple[float, int]]:
    """By how much stages took longer than expected, and in how many runs that was seen.

    Args:
        model: only runs of the same model, device, precision, threads and machine count.
        expected: uncorrected seconds per stage of a configuration.
        stages: which.

    Returns:
        Per stage the median of real over expected seconds (1 where no run is known), and the number of runs.
    """
    place = _place(model)
    ratios: dict[str, list[float]] = {stage: [] for stage in stages}
    for record in _records():
        if any(record.get(key) != value for key, value in place.items()):
            continue
        with suppress(ValidationError, EmotionCircuitsError, KeyError, TypeError):
            guess = expected(StudyConfig.model_validate(record["config"]))
            for stage, seconds in record["seconds"].items():
                if stage in ratios and guess.get(stage, 0) > 0:
                    ratios[stage].append(float(seconds) / guess[stage])
    return {s: (float(np.median(found)) if found else 1.0, len(found)) for s, found in ratios.items()}
