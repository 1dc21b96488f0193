"""Read every run's test sentences with every other run's directions: runs of one model, each of another language or attribute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.activations import ActivationStore, corpora_of
from emotion_circuits.directions.labelled_states import LabelledStates
from emotion_circuits.directions.transferring import transfer_table
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import read_finished
from emotion_circuits.record.runs_model import noted_model
from emotion_circuits.record.station import Context
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.transfer.folder import TransferFolder
from emotion_circuits.stations.transfer.settings import TransferSettings
from emotion_circuits.statistics import About, Draft, corrected, draft, holding, interval_p

__all__ = ["inputs", "labelled", "run"]


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the captures and the seed."""
    return {
        "transfer": context.config.of(TransferSettings).model_dump(mode="json"),
        "captures": [CaptureFolder.of(run).store().manifest["hash"] for run in context.runs],
        "seed": context.config.seed,
    }


def labelled(run: Path, *, pooling: str, corpora: Sequence[str] | None, name: str = "") -> LabelledStates:
    """The states of a run's sentences, by the attribute that it studied.

    Args:
        run: folder of a finished run.
        pooling: which states.
        corpora: of whose sentences; ``None``: of all.
        name: that it is shown with, by default the attribute's.

    Raises:
        EmotionCircuitsError: the run has not finished, or holds no such states.
    """
    about, store = studied_in(read_finished(run)), CaptureFolder.of(run).store()
    if corpora is not None:
        known = corpora_of(store.rows)
        if absent := sorted(set(corpora) - set(known)):
            raise EmotionCircuitsError(
                f"{run}: captured no {', '.join(absent)}; there is: {', '.join(dict.fromkeys(known))}"
            )
        # What is not wanted has a label that nothing asks for.
        store = _only(store, known.isin(list(corpora)))
    return LabelledStates.of(store, name or about.attribute.name, about.values, about.reference or "", pooling=pooling)


def _only(store: ActivationStore, wanted: pd.Series) -> ActivationStore:
    labels = store.rows["label"].where(wanted, "")
    return store.relabelled([str(label) for label in labels])


def run(context: Context, folder: TransferFolder) -> None:
    """Every run to every other, the family of claims corrected over all pairs."""
    own, seed = context.config.of(TransferSettings), context.config.seed
    sets = [labelled(path, pooling=own.pooling, corpora=own.corpora) for path in context.runs]
    model = noted_model(
        context.runs,
        [s.name for s in sets],
        what="transfer",
        why="; to compare models use align, or a survey's scaling",
    )
    name = str(model["name"])
    table = transfer_table(sets, draws=own.draws, seed=seed, resamples=own.resamples)
    folder.transfers.write(table.assign(model=name))
    folder.write_claims(corrected([d for row in table.to_dict("records") for d in _drafts(row, name)]))


def _drafts(row: dict[Any, Any], model: str) -> list[Draft]:
    if row["source"] == row["target"]:
        return []
    about = About(corpus=str(row["target"]), arm=str(row["source"]), layer=int(row["layer"]), model=model)
    names = f"{row['source']}.{row['target']}"
    reading = draft(
        f"transfer.reading.{names}", "transfer.reading", about, family="transfer.reading", estimate=row["auroc"],
        interval=holding(row["auroc"], row["low"], row["high"]), chance=0.5,
        null=(row["shuffled_low"], row["shuffled_high"]), p=row["p"], smallest=0.05, n=int(row["groups"]),
        beside={
            "own": row["own"], "share": row["share"],
            **({} if pd.isna(row["wrong"]) else {"wrong": row["wrong"]}),
        },
    )  # fmt: skip

    def ahead(kind: str, column: str, smallest: float, beside: dict[str, float]) -> Draft:
        interval = holding(row[column], row[f"{column}_low"], row[f"{column}_high"])
        return draft(
            f"{kind}.{names}", kind, about, family=kind, estimate=row[column], interval=interval, chance=0.0,
            smallest=smallest, n=int(row["groups"]), p=interval_p(row[column], interval, n=max(int(row["groups"]), 2)),
            beside=beside, given=reading.id,
        )  # fmt: skip

    found = [reading, ahead("transfer.words", "difference", 0.05, {"words": row["words"]})]
    if not pd.isna(row["wrong"]):
        found.append(ahead("transfer.other", "beyond", 0.02, {"other": row["wrong"]}))
    return found
