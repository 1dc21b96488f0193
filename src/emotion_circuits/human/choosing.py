"""The texts of a study: those that a finished run wrote on its test openings, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.records import ARMS, Arm, Source, sha256
from emotion_circuits.prompts import Attribute, load_prompts
from emotion_circuits.record.reading import read_finished
from emotion_circuits.record.studied import Studied, studied_in
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.settings import TRAINED
from emotion_circuits.steering import Condition

__all__ = ["Chosen", "Slot", "Tuned", "choose_texts", "gold_texts"]

LEAST = 8
"""Openings below which no verdict can be given."""

Slot = tuple[Arm, str]
"""An arm and the value meant, which is empty for unsteered texts."""


@dataclass(frozen=True)
class Chosen:
    """What a run offers.

    Attributes:
        attribute: studied.
        values: that have a chosen condition.
        openings: ``prompt_id`` → opening.
        texts: ``(slot, prompt_id)`` → the text and its source.
        missing: arms that are left out, with the reason.
    """

    attribute: Attribute
    values: tuple[str, ...]
    openings: dict[str, str]
    texts: dict[tuple[Slot, str], tuple[str, Source]]
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """In order."""
        return tuple(dict.fromkeys(slot for slot, _ in self.texts))

    @property
    def arms(self) -> tuple[Arm, ...]:
        """In order."""
        return tuple(dict.fromkeys(arm for arm, _ in self.slots))


@dataclass(frozen=True)
class Tuned:
    """Texts of tuned weights.

    Attributes:
        folder: that ``tune`` wrote for the run.
        method: whose texts, at the strength it was trained to.
    """

    folder: Path
    method: str


def choose_texts(
    run: Path,
    *,
    seed: int,
    openings: int | None = None,
    values: Sequence[str] | None = None,
    tuned: Tuned | None = None,
) -> Chosen:
    """One text per arm, value and opening, drawn by the seed from those the run wrote.

    Args:
        run: a finished run.
        seed: of the draws: which samples, which random directions, which openings.
        openings: how many; all that every arm has by default.
        values: of the run; all that have a chosen condition by default.
        tuned: texts of tuned weights, as a further arm; the study is of the value that they were tuned to then.

    Raises:
        EmotionCircuitsError: no finished steering, no such value, nothing chosen, or too few openings.
    """
    about, folder = studied_in(read_finished(run)), SteeringFolder.of(run)
    table = folder.test.read()
    conditions = folder.choice.read().conditions()
    learnt = (
        None if tuned is None else _Learnt.read(tuned, run, table, tuple(v for v in about.values if v in conditions))
    )
    wanted = _wanted(run, about, conditions, values if learnt is None else learnt.only(values))
    rng = np.random.default_rng([seed, 1])
    sources = {slot: _rows(table, slot, conditions) for slot in _slots(wanted)}
    if learnt is not None:
        sources["tuned", learnt.value] = learnt.rows
    missing: dict[str, str] = {}
    for arm in ARMS:
        few = {
            s: sources[s]["prompt_id"].nunique()
            for s in sources
            if s[0] == arm and sources[s]["prompt_id"].nunique() < LEAST
        }
        if not few:
            continue
        (_, value), found = min(few.items(), key=lambda pair: pair[1])
        of = f" for {value}" if value else ""
        why = (
            f"the run wrote no such texts{of}"
            if not found
            else f"the run wrote on {found} openings{of}, {LEAST} are needed"
        )
        if arm in ("unsteered", "steered"):
            raise EmotionCircuitsError(f"{run}: {arm} texts: {why}; nothing could be shown without them")
        missing[arm] = why
        sources = {s: rows for s, rows in sources.items() if s[0] != arm}
    common = sorted(set.intersection(*(set(rows["prompt_id"]) for rows in sources.values())))
    if openings is not None and openings > len(common):
        raise EmotionCircuitsError(f"--openings {openings}: every arm was written on {len(common)} openings only")
    if len(common) < LEAST:
        raise EmotionCircuitsError(
            f"{run}: all arms share {len(common)} openings, {LEAST} are needed; write more (steering.test_prompts, "
            "steering.null_prompts)"
        )
    kept = [common[int(i)] for i in np.sort(rng.permutation(len(common))[: openings or len(common)])]
    judges = _judge_columns(table, wanted, about.judge)
    texts: dict[tuple[Slot, str], tuple[str, Source]] = {}
    for slot, rows in sources.items():
        by_opening = dict(list(rows.groupby("prompt_id", sort=True)))
        for prompt_id in kept:
            some = by_opening[prompt_id]
            row = some.iloc[int(rng.integers(len(some)))]
            texts[slot, prompt_id] = (str(row["text"]), _source(slot, row, judges))
    first = table.drop_duplicates("prompt_id").set_index("prompt_id")["prompt"]
    return Chosen(about.attribute, wanted, {p: str(first[p]) for p in kept}, texts, missing)


@dataclass(frozen=True)
class _Learnt:
    """The texts of tuned weights on the run's own openings, as rows of the run's table.

    Attributes:
        value: that they were tuned to.
        rows: ``prompt_id prompt sample text condition`` and the judge's probability.
    """

    value: str
    rows: pd.DataFrame

    @classmethod
    def read(cls, tuned: Tuned, run: Path, table: pd.DataFrame, known: Sequence[str]) -> _Learnt:
        texts = TuningFolder.of(tuned.folder).texts
        if not texts.exists():
            raise EmotionCircuitsError(
                f"{tuned.folder}: holds no tuned texts; make them with emotion-circuits tune {run} --out {tuned.folder}"
            )
        manifest = read_finished(tuned.folder)
        # By what it was made of, not by the folder's name: a run may have been moved, or steered anew since.
        if [keys.get("steering") for keys in manifest.get("made_of", ())] != [
            read_finished(run)["stations"]["steering"]
        ]:
            raise EmotionCircuitsError(
                f"{tuned.folder}: was not made of {run} as it is now, but of {', '.join(manifest['runs'])}; tune it with "
                f"emotion-circuits tune {run} --out FOLDER"
            )
        if tuned.method not in TRAINED:
            raise EmotionCircuitsError(
                f"--method {tuned.method}: learns nothing, so it is no arm of tuned weights; one of {', '.join(TRAINED)}"
            )
        own = texts.read()
        own = own[own["strength"] == 1.0]
        if tuned.method not in set(own["method"]):
            raise EmotionCircuitsError(
                f"--method {tuned.method}: {tuned.folder} has no texts of it; it has: {', '.join(dict.fromkeys(own['method']))}"
            )
        value = manifest["config"]["tuning"]["value"] or known[0]
        ids = table.drop_duplicates("prompt").set_index("prompt")["prompt_id"]
        own = own[(own["method"] == tuned.method) & own["prompt"].isin(ids.index)]
        if own.empty:
            raise EmotionCircuitsError(
                f"{tuned.folder}: was written on other openings than {run}; tune with --set tuning.openings=report"
            )
        rows = own.assign(
            prompt_id=own["prompt"].map(ids), sample=own.groupby("prompt").cumcount(), condition=tuned.method,
            **{f"p_{value}": own["probability"]},
        )  # fmt: skip
        return cls(str(value), rows)

    def only(self, values: Sequence[str] | None) -> tuple[str, ...]:
        """Its value is what the study is of: other values have no such arm."""
        if values is not None and tuple(values) != (self.value,):
            raise EmotionCircuitsError(f"--value {', '.join(values)}: the weights were tuned to {self.value} alone")
        return (self.value,)


def _wanted(
    run: Path, about: Studied, conditions: Mapping[str, Condition], values: Sequence[str] | None
) -> tuple[str, ...]:
    wanted = tuple(v for v in about.values if v in conditions) if values is None else tuple(dict.fromkeys(values))
    if lacking := [v for v in wanted if v not in conditions]:
        raise EmotionCircuitsError(
            f"--value {lacking[0]}: the run chose no condition for it; there are: {', '.join(conditions) or 'none'}"
        )
    if not wanted:
        raise EmotionCircuitsError(
            f"{run}: steering chose no condition for any value, so there are no steered texts to rate"
        )
    return wanted


def _slots(values: Sequence[str]) -> list[Slot]:
    others: list[Slot] = [(arm, v) for arm in ("steered", "random", "prompted") for v in values]  # type: ignore[misc]
    return [("unsteered", ""), *others]


def _rows(table: pd.DataFrame, slot: Slot, conditions: Mapping[str, Condition]) -> pd.DataFrame:
    """The run's texts of an arm: random directions at the place and strength of the value's own condition."""
    arm, value = slot
    if arm == "unsteered":
        return table[table["kind"] == "none"]
    if arm == "prompted":
        return table[(table["kind"] == "prompting") & (table["emotion"] == value)]
    if arm == "steered":
        return table[(table["kind"] == "emotion") & (table["condition"] == conditions[value].name)]
    own = table[(table["kind"] == "emotion") & (table["condition"] == conditions[value].name)].head(1)
    random = table[table["kind"] == "random"]
    if own.empty:
        return own
    for column in ("layers", "how"):
        random = random[random[column] == own[column].iloc[0]]
    random = random[np.isclose(random["alpha"], float(own["alpha"].iloc[0]))]
    return random[random["emotion"].fillna("").isin(["", value])]


def _judge_columns(table: pd.DataFrame, values: Sequence[str], judge: str) -> dict[str, dict[str, str]]:
    """Judge → value → column of its probability."""
    found: dict[str, dict[str, str]] = {}
    for column in table.columns:
        for value in values:
            if column == f"p_{value}":
                found.setdefault(judge, {})[value] = column
            elif column.endswith(f"_p_{value}"):
                found.setdefault(column.removesuffix(f"_p_{value}"), {})[value] = column
    return found


def _source(slot: Slot, row: pd.Series, judges: Mapping[str, Mapping[str, str]]) -> Source:
    scores = {
        judge: {v: float(row[c]) for v, c in columns.items() if np.isfinite(row[c])}
        for judge, columns in judges.items()
    }
    return Source(
        arm=slot[0], value=slot[1], condition=str(row["condition"]), prompt_id=str(row["prompt_id"]), sample=int(row["sample"]),
        sha256=sha256(str(row["text"])), judges={judge: found for judge, found in scores.items() if found},
    )  # fmt: skip


def gold_texts(attribute: Attribute, values: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Sentences that are labelled in the attribute's own corpora, values in turn: ``(text, value)``.

    Args:
        attribute: whose corpora.
        values: of which.
        count: how many.
        seed: of the draw.
    """
    rng = np.random.default_rng([seed, 2])
    rows = load_prompts(attribute.corpora.fit[0])
    by_value = {v: [p.text for p in rows if p.label == v] for v in values}
    known = [v for v in values if by_value[v]]
    found: list[tuple[str, str]] = []
    for i in range(count if known else 0):
        value = known[i % len(known)]
        texts = by_value[value]
        if texts:
            found.append((texts.pop(int(rng.integers(len(texts)))), value))
    return found
