"""The points of a survey, each a study in a folder of its own, and over which of them something is gathered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_attribute
from emotion_circuits.record.reading import read_config, read_finished
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.stations.steering import STEERING
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.study.config import load_config
from emotion_circuits.survey.config import SurveyConfig

__all__ = ["Gathering", "Point", "gatherings", "points_of"]


@dataclass(frozen=True)
class Point:
    """One study.

    Attributes:
        name: of its folder.
        model: as the survey names it.
        attribute: name of what is studied.
        seed: of the study.
        folder: of the run.
        config: what is asked; ``None``: a finished run that the survey takes as it is.
    """

    name: str
    model: str
    attribute: str
    seed: int
    folder: Path
    config: StudySettings | None


@dataclass(frozen=True)
class Gathering:
    """One station over some points.

    Attributes:
        station: its name.
        name: of its folder, inside that of the station's gatherings.
        points: which, in order.
    """

    station: str
    name: str
    points: tuple[Point, ...]

    def folder(self, out: Path) -> Path:
        """Where it goes."""
        return out / "gathered" / self.station / self.name


def points_of(config: SurveyConfig, out: Path | str) -> list[Point]:
    """Every point of the grid, then the runs that were named.

    Args:
        config: the survey.
        out: its folder.

    Raises:
        EmotionCircuitsError: settings that a study does not know, two points of one name, a run that has not finished.
    """
    out, found = Path(out), []
    for model in config.models:
        for attribute in config.attributes:
            for seed in config.seeds:
                asked = {
                    **config.settings, **config.of_models.get(model, {}), **config.of_attributes.get(attribute, {}),
                    "model": model, "attribute": attribute, "seed": seed,
                }  # fmt: skip
                study = load_config(config.profile, overrides=asked)
                about = load_attribute(attribute).name
                name = f"{_slug(model)}--{_slug(about)}" + (f"--s{seed}" if len(config.seeds) > 1 else "")
                found.append(Point(name, model, about, seed, out / "runs" / name, study))
    for given in config.runs:
        folder = Path(given)
        kept, manifest = read_config(folder), read_finished(folder)
        about = str(manifest["studied"]["attribute"]["name"])
        name = f"{_slug(str(kept['model']))}--{_slug(about)}--{_slug(folder.name)}"
        found.append(Point(name, str(kept["model"]), about, int(kept["seed"]), folder, None))
    names = [point.name for point in found]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise EmotionCircuitsError(
            f"two points of the survey are called {doubled[0]!r}; name each model and attribute once"
        )
    return found


def _slug(text: str) -> str:
    """A name for a folder; of what lies on this machine its own name, wherever it lies."""
    path = Path(text)
    own = path.stem if text.endswith((".yaml", ".gguf")) else path.name if path.exists() else text
    return re.sub(r"[^a-z0-9.]+", "-", own.lower()).strip("-.")[-60:] or "x"


def gatherings(config: SurveyConfig, points: Sequence[Point]) -> list[Gathering]:
    """What is gathered over which points: what a survey asks for, or everything that fits.

    Args:
        config: the survey.
        points: its points.
    """
    wanted = tuple(config.gather) or tuple(name for name in _OVER if name not in _ASKED)
    return [Gathering(station, name, own) for station in wanted for name, own in _OVER[station](points)]


_Groups = Iterator[tuple[str, tuple[Point, ...]]]


def _by(points: Sequence[Point], key: Callable[[Point], Any]) -> Iterator[tuple[Any, list[Point]]]:
    groups: dict[Any, list[Point]] = {}
    for point in points:
        groups.setdefault(key(point), []).append(point)
    yield from groups.items()


def _models(points: Sequence[Point]) -> _Groups:
    """All models that studied one attribute."""
    for (attribute, seed), own in _by(points, lambda p: (p.attribute, p.seed)):
        if len({p.model for p in own}) == len(own) > 1:
            yield f"{_slug(attribute)}--s{seed}", tuple(own)


def _pairs(points: Sequence[Point]) -> _Groups:
    """Every two models that studied one attribute."""
    for name, own in _models(points):
        for a, b in combinations(own, 2):
            yield f"{name}--{_slug(a.model)}--{_slug(b.model)}", (a, b)


def _attributes(points: Sequence[Point]) -> _Groups:
    """All attributes that one model was studied for."""
    for (model, seed), own in _by(points, lambda p: (p.model, p.seed)):
        if len({p.attribute for p in own}) == len(own) > 1 and _share_a_value(own):
            yield f"{_slug(model)}--s{seed}", tuple(own)


def _steered(points: Sequence[Point]) -> _Groups:
    """The same where texts were steered in more than one study."""
    yield from _attributes([p for p in points if _is_steered(p)])


def _each(points: Sequence[Point]) -> _Groups:
    """Every study that steered, by itself."""
    for point in points:
        if _is_steered(point):
            yield point.name, (point,)


def _is_steered(point: Point) -> bool:
    if point.config is None:
        return SteeringFolder.of(point.folder).skipped is None
    return STEERING.left_out(point.config, {}) is None


def _share_a_value(points: Sequence[Point]) -> bool:
    values = [set(_values(p)) for p in points]
    return any(a & b for a, b in combinations(values, 2))


def _values(point: Point) -> Sequence[str]:
    if point.config is not None:
        return load_attribute(point.config.attribute).some(point.config.emotions)
    return tuple(read_finished(point.folder)["studied"]["values"])


_OVER: dict[str, Callable[[Sequence[Point]], _Groups]] = {
    "scaling": _models, "alignment": _pairs, "transfer": _attributes, "sharing": _attributes,
    "steering_transfer": _steered, "tuning": _each,
}  # fmt: skip
_ASKED = ("tuning",)
"""Gathered only where a survey names it: it trains, and needs an extra."""
