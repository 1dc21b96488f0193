"""The stations there are: the only list. Other packages add theirs by an entry point of the group :data:`GROUP`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.page.words import Aspect, Kind
from emotion_circuits.record.station import Station
from emotion_circuits.stations.alignment import ALIGNMENT
from emotion_circuits.stations.axes import AXES
from emotion_circuits.stations.capture import CAPTURE
from emotion_circuits.stations.circuits import CIRCUITS
from emotion_circuits.stations.directions import DIRECTIONS
from emotion_circuits.stations.map import MAP
from emotion_circuits.stations.scaling import SCALING
from emotion_circuits.stations.sharing import SHARING
from emotion_circuits.stations.steering import STEERING
from emotion_circuits.stations.steering_transfer import STEERING_TRANSFER
from emotion_circuits.stations.trace import TRACE
from emotion_circuits.stations.transfer import TRANSFER
from emotion_circuits.stations.tuning import TUNING

__all__ = ["GROUP", "STATIONS", "aspects", "kinds", "stations", "study_stations"]

GROUP = "emotion_circuits.stations"
"""Entry points: each is a :class:`Station`."""

STATIONS: tuple[Station, ...] = (
    CAPTURE, DIRECTIONS, MAP, TRACE, STEERING, AXES, CIRCUITS, ALIGNMENT, SCALING, TRANSFER, SHARING,
    STEERING_TRANSFER, TUNING,
)  # fmt: skip


@cache
def stations() -> tuple[Station, ...]:
    """The package's own stations, then those of other packages.

    Raises:
        EmotionCircuitsError: an entry point that is no station, two of one name, or one that needs what does not come before.
    """
    found = list(STATIONS)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        added = point.load()
        if not isinstance(added, Station):
            raise EmotionCircuitsError(f"entry point {point.value!r} of the group {GROUP!r} is no Station")
        found.append(added)
    known: set[str] = set()
    for station in found:
        if station.name in known:
            raise EmotionCircuitsError(f"two stations are called {station.name!r}")
        absent = sorted(set(station.needs) - known)
        if absent:
            raise EmotionCircuitsError(
                f"station {station.name!r} needs {', '.join(absent)}, which no station before it is"
            )
        known.add(station.name)
    return tuple(found)


def study_stations() -> tuple[Station, ...]:
    """Those of a study of one model; the others compare several runs."""
    return tuple(station for station in stations() if not station.needs_of_runs)


def kinds() -> dict[str, Kind]:
    """Every kind of claim, by its name."""
    return {kind.name: kind for station in stations() for kind in station.kinds}


def aspects() -> tuple[Aspect, ...]:
    """What claims answer, in the order of the stations."""
    return tuple(aspect for station in stations() for aspect in station.aspects)
