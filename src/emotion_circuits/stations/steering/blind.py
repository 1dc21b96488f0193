"""A blind sample of a finished run's steered texts, and the shares corrected by its labels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import blind_sample, read_labels, write_sample
from emotion_circuits.record.reading import read_finished
from emotion_circuits.record.studied import Studied, studied_in
from emotion_circuits.stations.steering.folder import Labels, SteeringFolder
from emotion_circuits.steering import labelled_shares

__all__ = ["draw_blind", "take_labels"]

_SHOWN = ("none", "emotion", "prompting")


def draw_blind(run: Path, out: Path, *, openings: int = 20, seed: int = 0) -> tuple[int, tuple[str, ...]]:
    """Write a sample of the test's texts, arms hidden, and keep its key in the run.

    Drawn are unsteered texts, those of the chosen conditions and those of prompting.

    Args:
        run: a finished run.
        out: where the sample goes.
        openings: per arm.
        seed: of the draw.

    Returns:
        How many texts, and which labels may be given.

    Raises:
        EmotionCircuitsError: no steered texts, another sample drawn before, or a file in the way.
    """
    folder, about = SteeringFolder.of(run), _studied(run)
    scored = folder.test.read()
    chosen = {condition.name for condition in folder.choice.read().conditions().values()}
    arms = scored[["condition", "kind"]].drop_duplicates()
    shown = arms["kind"].isin(_SHOWN) & ((arms["kind"] != "emotion") | arms["condition"].isin(chosen))
    rows, key = blind_sample(
        scored, list(arms["condition"][shown]), about.attribute.labels, openings=openings, seed=seed
    )
    if folder.blind.exists() and folder.blind.read() != key:
        raise EmotionCircuitsError(
            f"{folder.blind.path}: another sample was drawn before, whose labels could no longer be read; delete this file to "
            "draw anew"
        )
    write_sample(rows, out)
    folder.blind.write(key)
    return len(rows), key.labels


def take_labels(run: Path, path: Path) -> pd.DataFrame:
    """Read the labels back, keep them in the run, and correct the shares.

    Args:
        run: the run the sample was drawn from.
        path: the labelled sample.

    Returns:
        The table ``labelled``.

    Raises:
        EmotionCircuitsError: no sample was drawn, a bad line, or too few labels in every arm.
    """
    folder, about = SteeringFolder.of(run), _studied(run)
    if not folder.blind.exists():
        raise EmotionCircuitsError(
            f"{run}: no blind sample was drawn; first: emotion-circuits evaluate blind {run} --out FILE"
        )
    key = folder.blind.read()
    labels = read_labels(path, key)
    table = labelled_shares(folder.test.read(), key, labels, list(about.values), judge=about.judge)
    if table.empty:
        raise EmotionCircuitsError(f"{path}: {len(labels)} labels, but no arm has labels for 8 openings or more")
    folder.labels.write(Labels(given=labels))
    folder.labelled.write(table)
    return table


def _studied(run: Path) -> Studied:
    return studied_in(read_finished(run))
