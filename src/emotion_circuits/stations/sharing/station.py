"""Compare what the runs' circuits stations have kept, and run supported circuits on one another's pairs: runs of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.circuits import Circuit, arena
from emotion_circuits.circuits.crossing import Crossed, crossed_circuit
from emotion_circuits.circuits.finding import split_task
from emotion_circuits.circuits.sharing import LEAST, HeadEffects, does_repeat, shared_effects
from emotion_circuits.heads import all_nodes
from emotion_circuits.language import N_
from emotion_circuits.prompts import load_pairs
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.notes import is_there
from emotion_circuits.record.reading import read_config, read_finished
from emotion_circuits.record.runs_model import model_of, noted_model
from emotion_circuits.record.station import Context
from emotion_circuits.record.studied import Studied, studied_in
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.sharing.folder import SharingFolder
from emotion_circuits.stations.sharing.settings import SharingSettings
from emotion_circuits.statistics import About, Draft, corrected, draft, holding, interval_p

__all__ = ["inputs", "run"]

NO_EFFECTS = N_("fewer than two of these studies kept what single heads do, for a value that they share")
NOT_REPEATED = N_("what heads do does not repeat between disjoint halves of the {task} of {names}")
NO_PAIRS = N_("{names} has no minimal pairs that fit the model")
NO_CIRCUIT = N_("of {names} no circuit is supported")
NO_OTHER = N_("no other study shares a value with {names} and has a supported circuit")
NOT_ASKED = N_("it was not asked for (gather: sharing: circuits)")

_SMALLEST = 0.1
"""Of a correlation, or of the gap: what is beyond chance by less is not called shared, however surely it is."""
_TASKS = {"pairs": N_("minimal pairs"), "carried": N_("sentences")}


@dataclass(frozen=True, eq=False)
class _Run:
    """One of the runs.

    Attributes:
        path: its folder.
        about: what it studied.
        config: its whole configuration.
        circuit: what its circuits station found; ``None`` where nothing was to be found.
    """

    path: Path
    about: Studied
    config: Mapping[str, Any]
    circuit: Circuit | None

    @property
    def name(self) -> str:
        return self.about.attribute.name

    @property
    def supported(self) -> bool:
        """Whether its circuit is claimed."""
        own = () if self.circuit is None else self.circuit.claims
        return any(c.kind == "circuits.faithfulness" and c.verdict == "supported" for c in own)

    def shares_a_value(self, other: _Run) -> bool:
        return bool(set(self.about.values) & set(other.about.values))


def inputs(context: Context) -> dict[str, Any]:
    """The settings and the seed; what runs hold is known by their circuits stations."""
    return {
        "sharing": context.config.of(SharingSettings).model_dump(mode="json"),
        "models": [str(read_finished(run)["model"]["weights_sha256"]) for run in context.runs],
        "seed": context.config.seed,
    }


def run(context: Context, folder: SharingFolder) -> None:
    """Heads first, then circuits; what cannot be compared is told."""
    runs = [_run(path) for path in context.runs]
    model = noted_model(
        context.runs, [r.name for r in runs], what="sharing",
        why=": heads of two models cannot be matched; a survey's scaling compares models",
    )  # fmt: skip
    name = str(model["name"])
    left: list[NotMeasured] = []
    drafts = [*_heads(context, folder, runs, name, left), *_circuits(context, folder, runs, left)]
    if not folder.shared.exists() and not folder.crossed.exists():
        # Nothing is measured at all: what lacks is told of the whole.
        left = [row.model_copy(update={"what": ""}) for row in left]
    if left:
        folder.leave_out(*left)
    folder.write_claims(corrected(drafts))


def _run(path: Path) -> _Run:
    kept = CircuitsFolder.of(path)
    circuit = kept.circuit() if is_there(kept.path / "circuit.json") else None
    return _Run(path, studied_in(read_finished(path)), read_config(path), circuit)


# -- heads ----------------------------------------------------------------------------------------------------------


def _heads(
    context: Context, folder: SharingFolder, runs: Sequence[_Run], model: str, left: list[NotMeasured]
) -> list[Draft]:
    own, seed = context.config.of(SharingSettings), context.config.seed
    kept = [(r.name, file.read()) for r in runs if (file := CircuitsFolder.of(r.path).effects).exists()]
    shared, strongest = [], []
    for task in _TASKS:
        points = [HeadEffects.of(name, table[table["task"] == task]) for name, table in kept]
        points = [point for point in points if point.by_value]
        shared_value = any(set(a.by_value) & set(b.by_value) for a in points for b in points if a is not b)
        if not shared_value or len(set.intersection(*(set(point.heads) for point in points))) < LEAST:
            continue
        found = shared_effects(
            points, ks=own.strongest, draws=own.draws, halvings=own.halvings, resamples=own.resamples, seed=seed
        )
        shared.append(found.table.assign(task=task, model=model))
        strongest.append(found.top.assign(task=task))
    if not shared:
        left.append(NotMeasured(reason=NO_EFFECTS, what="what heads share"))
        return []
    table = pd.concat(shared, ignore_index=True)
    folder.shared.write(table)
    if any(map(len, strongest)):
        folder.strongest.write(pd.concat(strongest, ignore_index=True))
    told: dict[tuple[str, str], None] = {}
    for row in table[table["correlation"].isna()].to_dict("records"):
        for side in ("source", "target"):
            if not does_repeat(row[f"repeats_{side}"], row[f"least_{side}"]):
                told[str(row["task"]), str(row[side])] = None
    left += [
        NotMeasured(reason=NOT_REPEATED, values={"task": _TASKS[task], "names": name}, what="what heads share")
        for task, name in told
    ]
    return [d for row in table.to_dict("records") for d in _head_drafts(row, model)]


def _head_drafts(row: Mapping[Any, Any], model: str) -> list[Draft]:
    if not np.isfinite(row["correlation"]):
        return []
    names, n = f"{row['task']}.{row['source']}.{row['target']}", int(row["groups"])
    about = About(corpus=str(row["target"]), arm=str(row["source"]), task=str(row["task"]), model=model)
    estimate, chance = float(row["correlation"]), float(row["chance"])
    interval = holding(estimate, row["low"], row["high"])
    beside = ("raw", "reliability_source", "reliability_target", "others", "wrong")
    heads = draft(
        f"sharing.heads.{names}", "sharing.heads", about, family="sharing.heads", estimate=estimate, interval=interval,
        chance=chance, null=(float(row["null_low"]), float(row["null_high"])),
        p=max(float(row["p"]), interval_p(estimate, interval, zero=chance, n=max(n, 2))), n=n, smallest=_SMALLEST, reach=True,
        beside={name: float(row[name]) for name in beside if np.isfinite(row[name])},
    )  # fmt: skip
    if not np.isfinite(row["specific"]):
        return [heads]
    apart, ends = float(row["specific"]), holding(row["specific"], row["specific_low"], row["specific_high"])
    return [
        heads,
        draft(
            f"sharing.specific.{names}", "sharing.specific", about, family="sharing.specific", estimate=apart, interval=ends,
            p=interval_p(apart, ends, n=max(n, 2)), n=n, smallest=_SMALLEST, reach=True, beside={"wrong": float(row["wrong"])},
            given=heads.id,
        ),
    ]  # fmt: skip


# -- circuits -------------------------------------------------------------------------------------------------------


def _circuits(
    context: Context,
    folder: SharingFolder,
    runs: Sequence[_Run],
    left: list[NotMeasured],
) -> list[Draft]:
    """Every supported circuit on the pairs of every other run that shares a value."""
    own, seed = context.config.of(SharingSettings), context.config.seed
    if not own.circuits:
        left.append(NotMeasured(reason=NOT_ASKED, what="a shared circuit"))
        return []
    left += [
        NotMeasured(
            reason=NO_PAIRS if r.circuit is None else NO_CIRCUIT, values={"names": r.name}, what="a shared circuit"
        )
        for r in runs
        if not r.supported
    ]
    able = [r for r in runs if r.supported]
    if not any(a.shares_a_value(b) for a in able for b in able if a is not b):
        left += [NotMeasured(reason=NO_OTHER, values={"names": r.name}, what="a shared circuit") for r in able]
        return []
    model = model_of(
        context, able[0].path, what=f"the circuit of {able[0].path} was",
        remedy="give the model's own files, or gather without circuits",
    )  # fmt: skip
    rows = []
    for target in able:
        sources = [r for r in able if r is not target and r.shares_a_value(target)]
        if not sources:
            continue
        about, c = target.about, target.config["circuits"]
        given = c["pairs"] or about.attribute.pairs
        assert given is not None  # a circuit was found on them
        pairs = [p for p in load_pairs(given) if {p.label, p.corrupted_label} <= set(about.labels)]
        ring = arena(model, split_task(model, pairs, "test", int(c["test_pairs"])).one_way())
        for source in sources:
            strange = [r for r in able if not r.shares_a_value(source) and not r.shares_a_value(target)]
            members = {r.name: _found(r).members() for r in (source, target, *strange)}
            found = crossed_circuit(
                model, ring, members[source.name], members[target.name], {r.name: members[r.name] for r in strange},
                samples=own.samples, seed=seed, batch_rows=int(c["batch_rows"]),
            )  # fmt: skip
            rows.append(
                {
                    "model": model.name, "source": source.name, "target": target.name, "size": len(members[source.name]),
                    "heads": sum(n.kind == "head" for n in members[source.name]), "total": len(all_nodes(model)),
                    "groups": len(set(ring.task.groups)), **_figures(found),
                }
            )  # fmt: skip
    folder.crossed.write(pd.DataFrame(rows))
    return [d for row in rows for d in _circuit_drafts(row)]


def _found(run: _Run) -> Circuit:
    assert run.circuit is not None
    return run.circuit


def _figures(found: Crossed) -> dict[str, Any]:
    against, missing = found.against, float("nan")
    row: dict[str, Any] = {
        "faithfulness": against.faithfulness, "low": against.low, "high": against.high, "own": found.own,
        "samples": against.random.samples, "unrelated": found.unrelated, "wrong": found.wrong, "specific": found.apart[0],
        "specific_low": found.apart[1], "specific_high": found.apart[2],
    }  # fmt: skip
    for name, null in (("random", against.random), ("layers", against.same_mlps)):
        ends = (missing,) * 4 if null is None else (null.mean, null.low, null.high, null.p)
        row |= dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_p"), ends, strict=True))
    beyond = found.own - against.random.mean
    row["share"] = (against.faithfulness - against.random.mean) / beyond if beyond > 0 else missing
    return row


def _circuit_drafts(row: Mapping[str, Any]) -> list[Draft]:
    """Beyond both kinds of random circuits: the kind that keeps more is the bar, the larger p counts."""
    names, n = f"{row['source']}.{row['target']}", int(row["groups"])
    about = About(corpus=str(row["target"]), arm=str(row["source"]), model=str(row["model"]))
    estimate, interval = float(row["faithfulness"]), holding(row["faithfulness"], row["low"], row["high"])
    kinds = [kind for kind in ("random", "layers") if np.isfinite(row[kind])]
    bar = max(kinds, key=lambda kind: float(row[kind]))
    beside = {
        name: float(row[name]) for name in ("size", "total", "samples", "own", "share", "wrong", "random", "layers")
    }
    whole = draft(
        f"sharing.circuit.{names}", "sharing.circuit", about, family="sharing.circuit", estimate=estimate, interval=interval,
        chance=float(row[bar]), null=(float(row[f"{bar}_low"]), float(row[f"{bar}_high"])),
        p=max(
            *(float(row[f"{kind}_p"]) for kind in kinds),
            interval_p(estimate, interval, zero=float(row[bar]), n=max(n, 2)),
        ),
        n=n, smallest=_SMALLEST, reach=True, beside={k: v for k, v in beside.items() if np.isfinite(v)},
    )  # fmt: skip
    if not row["unrelated"]:
        return [whole]
    apart, ends = float(row["specific"]), holding(row["specific"], row["specific_low"], row["specific_high"])
    foreign = draft(
        f"sharing.circuit.specific.{names}", "sharing.circuit.specific", about, family="sharing.circuit.specific",
        estimate=apart, interval=ends, p=interval_p(apart, ends, n=max(n, 2)), n=n, smallest=_SMALLEST, reach=True,
        beside={"wrong": float(row["wrong"])}, given=whole.id,
    )  # fmt: skip
    return [whole, foreign]
