"""What a server can steer with: the values of a run, each with its range, its measured effect and its cost.

A *dose* of 1 is the strongest strength that the run found within its fluency bound, at the place that it chose; what is done to a
text's first token is scaled with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import read_finished
from emotion_circuits.record.studied import Studied, studied_in
from emotion_circuits.serve.curves import Curve, curve_of
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.steering import Condition, SteeringVectors
from emotion_circuits.steering.scoring import REPEATS

__all__ = ["Ranged", "Served", "Shelf", "called", "of_run", "shelved"]


@dataclass(frozen=True)
class Ranged:
    """A value at dose 1, and what the run measured of it.

    Attributes:
        condition: place, manner and strength at dose 1.
        measured: ``{"dose", "effects", "cost"}`` of the condition that the run reports on test openings; ``None``: nothing was.
        chosen: dose that the run chose, which ``emotion-circuits export`` writes.
        curve: what was tried on the way to it.
    """

    condition: Condition
    measured: Mapping[str, Any] | None = None
    chosen: float = 1.0
    curve: Curve = ()

    def at(self, dose: float) -> Condition:
        """The condition at another dose."""
        c = self.condition
        return replace(c, alpha=c.alpha * dose, first=c.first * dose)


@dataclass(frozen=True, eq=False)
class Served:
    """Named vectors and their ranges.

    Attributes:
        vectors: unit directions and norms.
        ranges: of the values that were chosen on validation.
        unranged: values that have vectors and no range, with the reason.
        run: folder they are from; ``None``: from no run.
        about: what it studied.
        bound: perplexity ratio, steered over unsteered, that a strength had to keep.
        unwritten: values without a direction, with the reason.
        chat: whether ranges, effects and costs are of a chat's replies; otherwise of openings that are continued. ``None``: of
            neither.
    """

    vectors: SteeringVectors
    ranges: Mapping[str, Ranged]
    unranged: Mapping[str, str]
    run: Path | None = None
    about: Studied | None = None
    bound: float | None = None
    unwritten: Mapping[str, str] = field(default_factory=dict)
    chat: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every value that can be named."""
        return (*self.ranges, *self.unranged)


@dataclass(frozen=True, eq=False)
class Shelf:
    """The values of one or more runs of one model; each keeps the vectors and norms of its own run.

    Attributes:
        runs: at least one.
        titles: what each run is called, empty where it has no name; a value of a run that has one is called ``title.value``.
            No two values are called alike (:func:`shelved`).
    """

    runs: tuple[Served, ...]
    titles: tuple[str, ...] = ()

    @property
    def _titled(self) -> tuple[tuple[Served, str], ...]:
        return tuple(zip(self.runs, self.titles or ("",) * len(self.runs), strict=True))

    @cached_property
    def _places(self) -> dict[str, tuple[Served, str]]:
        return {called(title, v): (run, v) for run, title in self._titled for v in run.names}

    def beside(self, run: Served) -> Shelf:
        """The shelf with one more run, which has no name."""
        runs, titles = zip(*self._titled, (run, ""), strict=True)
        return Shelf(runs, titles)

    @property
    def names(self) -> tuple[str, ...]:
        """Every value that can be named."""
        return tuple(self._places)

    @property
    def ranges(self) -> Mapping[str, Ranged]:
        """Of the values that were chosen on validation."""
        return {name: run.ranges[v] for name, (run, v) in self._places.items() if v in run.ranges}

    @property
    def unranged(self) -> dict[str, str]:
        """Values that have vectors and no range, with the reason."""
        return {name: run.unranged[v] for name, (run, v) in self._places.items() if v in run.unranged}

    @property
    def unwritten(self) -> dict[str, str]:
        """Values without a direction, with the reason."""
        return {called(title, value): why for run, title in self._titled for value, why in run.unwritten.items()}

    def of(self, value: str) -> Served:
        """The run that a value is of."""
        return self._places[value][0]

    def own(self, value: str) -> str:
        """What a value is called in its run."""
        return self._places[value][1]

    def called_of(self, run: Served) -> dict[str, str]:
        """The values of a run as its files call them, and as they are called here."""
        return {own: name for name, (other, own) in self._places.items() if other is run}


def called(title: str, value: str) -> str:
    """What a value is called where its run has a name.

    >>> called("politeness", "positive"), called("", "joy")
    ('politeness.positive', 'joy')
    """
    return f"{title}.{value}" if title else value


def shelved(runs: Sequence[Path], titles: Sequence[str] = ()) -> Shelf:
    """What finished runs make servable together.

    Args:
        runs: their folders, at least one.
        titles: their names, empty where one has none; by default none has.

    Raises:
        EmotionCircuitsError: as :func:`of_run`; two runs of one name, or a value that two of them have.
    """
    titles = tuple(titles) or ("",) * len(runs)
    shelf: list[Served] = []
    names: dict[str, Path] = {}
    for number, (run, title) in enumerate(zip(runs, titles, strict=True)):
        if title and title in titles[:number]:
            raise EmotionCircuitsError(f"--run {title}={run}: another run is named {title!r}; give it another name")
        found = of_run(run)
        if twice := sorted(names.keys() & {called(title, v) for v in found.names}):
            raise EmotionCircuitsError(
                f"--run {run}: its {', '.join(twice)} cannot be told from that of {names[twice[0]]}; give the run a name, "
                f"--run NAME={run}, and its values are called NAME.{found.names[0]} and so on"
            )
        names |= {called(title, v): run for v in found.names}
        shelf.append(found)
    return Shelf(tuple(shelf), titles)


def of_run(run: Path) -> Served:
    """What a finished run makes servable.

    Raises:
        EmotionCircuitsError: an unfinished, damaged or changed run, or one that has not steered.
    """
    manifest = read_finished(run)
    folder = SteeringFolder.of(run)
    vectors = folder.vectors()
    if vectors is None or not folder.choice.exists():
        raise EmotionCircuitsError(f"{run}: has no steering station; run the study with one, or serve another run")
    choice = folder.choice.read()
    grid = folder.grid.read()
    effects = folder.effects.read() if folder.effects.exists() else None
    bound = float(manifest["config"]["steering"]["max_perplexity_ratio"])
    chat = manifest["config"]["steering"].get("texts") == "chat"
    ranges = {}
    for value, chosen in choice.conditions().items():
        strongest = _strongest(chosen, grid, bound)
        scale = chosen.alpha / strongest.alpha if strongest.alpha else 1.0
        measured = None if effects is None else _measured(effects, value, scale, chat)
        ranges[value] = Ranged(strongest, measured, scale, curve_of(grid, strongest, bound))
    reason = f"no strength that the run tried kept perplexity within {bound:g} times the unsteered"
    about = studied_in(manifest)
    unranged = {v: reason for v in about.values if v in vectors.unit and v not in ranges}
    unwritten = {
        value: f"asked for it in words, the model wrote only {count} replies that came out so, too few for a direction; it is "
        "not forced"
        for value, count in choice.unwritten.items()
    }
    return Served(vectors, ranges, unranged, run, about, bound, unwritten, chat)


def _strongest(chosen: Condition, grid: pd.DataFrame, bound: float) -> Condition:
    rows = grid[(grid["kind"] == "emotion") & (grid["emotion"] == chosen.emotion) & (grid["how"] == chosen.how)]
    # What was tried on a few openings, on the way to the choice, is no range.
    rows = rows[(rows["layers"] == " ".join(map(str, chosen.layers))) & (rows["n"] == grid["n"].max())]
    fits = rows[(rows["ratio_high"] <= bound) & (rows["repetition_gain"] < REPEATS)]
    strongest = max([chosen.alpha, *fits["alpha"].tolist()])
    return replace(chosen, alpha=float(strongest))


def _measured(effects: pd.DataFrame, value: str, dose: float, chat: bool) -> dict[str, Any] | None:
    rows = effects[effects["emotion"] == value]
    if rows.empty:
        return None
    of = rows.to_dict("records")
    names = ("change", "low", "high", "wrong_way", "n")
    cost = {"perplexity_ratio": of[0].get("ratio"), "low": of[0].get("ratio_low"), "high": of[0].get("ratio_high")}
    return {
        "dose": dose,
        "effects": {str(row["metric"]): {name: row[name] for name in names} for row in of},
        "cost": cost,
        "on": "test requests of the run" if chat else "test openings of the run",
    }
