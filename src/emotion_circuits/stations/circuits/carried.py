"""What heads and MLPs carry to the directions: the circuit's other task, which needs no pairs and no answer words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from emotion_circuits.activations import ActivationStore
from emotion_circuits.circuits.attribution import Attribution
from emotion_circuits.directions import DirectionSet, shuffled_vectors
from emotion_circuits.directions.fitting import examples_at, rows_of
from emotion_circuits.directions.trace_questions import SPLITS
from emotion_circuits.heads import PairTask
from emotion_circuits.heads.carrying import Carried, carried_states, carried_tables
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.prompts import evenly, load_prompts
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.circuits.effects import carried_effects
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.circuits.settings import CircuitsSettings
from emotion_circuits.stations.directions.folder import DirectionsFolder, set_name
from emotion_circuits.stations.trace.calibrating import tested_as
from emotion_circuits.stations.trace.claims import selected_drafts
from emotion_circuits.stations.trace.settings import TraceSettings, traced_corpus, traced_sentences
from emotion_circuits.stations.trace.station import traced_layer
from emotion_circuits.statistics import About, Claim, Draft, corrected, draft, interval_p

__all__ = ["agreement", "agreement_drafts", "carried", "carrier_drafts", "shuffled_carriers", "slopes"]

_NEUTRAL = 64
"""Neutral training sentences over whose tokens a part's mean is taken, at most."""


def carried(context: Context, folder: CircuitsFolder) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What every part carries, for every value and split, with what was chosen; from traced sentences. Then group by group."""
    own, seed = context.config.of(TraceSettings), context.config.seed
    store = context.of(CaptureFolder).store()
    states, directions, layer = _states(context, folder.parts)
    nulls = shuffled_vectors(store, directions, layer, draws=own.draws(len(directions.labels)), seed=seed)
    found = carried_tables(states, directions, nulls, slopes=slopes(store, directions, layer), top=own.top, seed=seed)
    folder.drop_parts()
    return found, carried_effects(states, directions)


def shuffled_carriers(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """What is claimed with directions of shuffled labels in the place of the real ones, once per draw.

    Args:
        context: of a finished run; what its parts carry is measured once for all calls with it.
        draws: numbers of the shuffles; all of one call are held against the same nulls.
    """
    own, (states, directions, layer) = context.config.of(TraceSettings), _measured(context)
    store = context.of(CaptureFolder).store()
    count = own.draws(len(directions.labels))
    drawn = shuffled_vectors(store, directions, layer, draws=len(draws) + count, seed=65_537 + draws[0])
    tables: list[list[pd.DataFrame]] = [[] for _ in draws]
    for label in directions.labels:
        asked = {split: states[split].ask(directions, label, drawn[:, directions.row(label)]) for split in SPLITS}
        for index, found in enumerate(tables, start=1):
            of = tested_as(asked, index, len(draws), own.top, two_sided=True, seed=context.config.seed)
            found.append(of.assign(emotion=label))
    return [corrected(carrier_drafts(pd.concat(found), layer)) for found in tables]


@lru_cache(maxsize=1)
def _measured(context: Context) -> tuple[dict[str, Carried], DirectionSet, int]:
    return _states(context, None)


def _states(context: Context, folder: Path | None) -> tuple[dict[str, Carried], DirectionSet, int]:
    config, model = context.config, context.model
    directions = context.of(DirectionsFolder).load_set(set_name(config.of(TraceSettings).directions))
    layer = traced_layer(directions, model)
    about = context.about
    compared = {label for value in about.values for label in about.compared_with(value)}
    neutral = load_prompts(traced_corpus(config), labels=compared, split="train")
    states = carried_states(
        model, {split: traced_sentences(config, split) for split in SPLITS}, [p.text for p in evenly(neutral, _NEUTRAL)],
        layer, batch_rows=config.of(CircuitsSettings).batch_rows, folder=folder, engine=context.engine,
    )  # fmt: skip
    return states, directions, layer


def slopes(store: ActivationStore, directions: DirectionSet, layer: int) -> dict[str, float]:
    """Log-odds of each value against what it is compared with, per residual norm of projection: logistic regression, train."""
    chosen = rows_of(store, "train", None, directions.names)
    examples, _ = examples_at(
        store, directions.kind, directions.reading, layer, chosen, directions.names, directions.reference
    )
    found = {}
    for index, label in enumerate(directions.labels):
        rows = torch.isin(examples.labels, torch.tensor([index, *examples.against(index)]))
        x = examples.states[rows] @ directions.unit(label, layer).double() / directions.norm(layer)
        fitted = LogisticRegression(C=100.0).fit(x.numpy()[:, None], (examples.labels[rows] == index).numpy())
        found[label] = float(fitted.coef_[0, 0])
    return found


def carrier_drafts(table: pd.DataFrame, layer: int) -> list[Draft]:
    """One claim per value and part chosen on validation, all of them one family; see :mod:`.directions.trace_selection`."""
    return selected_drafts("circuits.carrier", table, layer, side="different", beside=("log_odds",))


def agreement(
    table: pd.DataFrame, scored: Attribution, train: PairTask, values: Sequence[str], *, draws: int = 999, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation of both tasks' signed effects over the parts that both measured.

    Its interval is that of parts resampled within layers; null are parts permuted within layers, which keeps what depth alone
    explains.

    Args:
        table: of :func:`carried`; its validation rows, which no figure of a claim rests on.
        scored: attribution on train pairs.
        train: these pairs.
        values: emotions.
        draws: permutations, and resamples of parts.
        seed: of both.
    """
    rng, rows = np.random.default_rng(seed), []
    for value in values:
        pairs = [i for i, p in enumerate(train.pairs) if p.label == value]
        own = table[(table["emotion"] == value) & (table["split"] == "validation")].set_index("component")["difference"]
        nodes = [i for i, n in enumerate(scored.nodes) if str(n) in own.index]
        if len(pairs) < 2 or len(nodes) < 3:
            continue
        groups = [train.groups[i] for i in pairs]
        effect = by_group(scored.node_scores[pairs][:, nodes].double().cpu().numpy(), groups).mean(0)
        other = own.loc[[str(scored.nodes[i]) for i in nodes]].to_numpy()
        layers = np.array([scored.nodes[i].layer for i in nodes])
        null = [_rank(effect, other[_within(layers, rng)]) for _ in range(draws)]
        found = _rank(effect, other)
        picks = [_drawn(layers, rng) for _ in range(draws)]
        ends = np.nanquantile([_rank(effect[at], other[at]) for at in picks], [0.025, 0.975])
        beside = np.quantile(null, [0.025, 0.975])
        p = (1 + sum(v >= found for v in null)) / (1 + draws)
        rows.append((value, found, *map(float, (*ends, *beside)), p, len(nodes)))
    return pd.DataFrame(rows, columns=["emotion", "rank", "low", "high", "null_low", "null_high", "p", "parts"])


def agreement_drafts(table: pd.DataFrame) -> list[Draft]:
    """One claim per value: both tasks order the model's parts alike, beyond what their layers explain.

    Args:
        table: of :func:`agreement`.
    """
    drafts = []
    for row in table.to_dict("records"):
        ends, n = (float(row["low"]), float(row["high"])), int(row["parts"])
        drafts.append(
            draft(
                f"circuits.agreement.{row['emotion']}", "circuits.agreement", About(value=str(row["emotion"])),
                family="circuits.agreement", estimate=float(row["rank"]), interval=ends, chance=0.0,
                null=(float(row["null_low"]), float(row["null_high"])),
                p=max(float(row["p"]), interval_p(float(row["rank"]), ends, n=n)), n=n, side="greater", smallest=0.1,
            )
        )  # fmt: skip
    return drafts


def _rank(a: Float[np.ndarray, " part"], b: Float[np.ndarray, " part"]) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _drawn(layers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many parts of every layer, drawn with replacement."""
    return np.concatenate(
        [rng.choice(inside, len(inside)) for inside in (np.flatnonzero(layers == at) for at in np.unique(layers))]
    )


def _within(layers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A permutation that leaves every part in its layer."""
    order = np.arange(len(layers))
    for layer in np.unique(layers):
        inside = np.flatnonzero(layers == layer)
        order[inside] = rng.permutation(inside)
    return order
