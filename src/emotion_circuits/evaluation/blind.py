"""Texts for a person to label who must not know what was done to the model: drawn, shuffled, their arms in a key apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import replacing
from emotion_circuits.prompts.tables import read_table

__all__ = ["BlindKey", "BlindRow", "blind_sample", "read_labels", "write_sample"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BlindRow(_Record):
    """What an id stands for.

    Attributes:
        condition: the arm.
        prompt_id: the opening.
        sample: which of the texts on it.
        text_sha256: of the text that is shown, so that labels of another text are not taken for it.
    """

    condition: str
    prompt_id: str
    sample: int
    text_sha256: str


class BlindKey(_Record):
    """What the person who labels does not see.

    Attributes:
        seed: of the draw.
        openings: drawn per arm.
        labels: those that may be given.
        rows: by id.
    """

    seed: int
    openings: int
    labels: tuple[str, ...]
    rows: dict[str, BlindRow]


def blind_sample(
    scored: pd.DataFrame, conditions: Sequence[str], labels: Sequence[str], *, openings: int = 20, seed: int = 0
) -> tuple[list[dict[str, Any]], BlindKey]:
    """Draw openings at random in every arm, and hide which arm a text is of.

    Args:
        scored: a sweep: ``condition prompt_id sample prompt text``.
        conditions: the arms.
        labels: that may be given.
        openings: per arm; all samples on them are shown. All of an arm's where it has fewer.
        seed: of the draw.

    Returns:
        Rows ``id opening text label`` (the label open) in the order of their ids, and the key.

    Raises:
        EmotionCircuitsError: an arm that is not there.
    """
    rng = np.random.default_rng(seed)
    shown: dict[str, dict[str, Any]] = {}
    rows: dict[str, BlindRow] = {}
    for condition in conditions:
        arm = scored[scored["condition"] == condition]
        if arm.empty:
            raise EmotionCircuitsError(f"a blind sample: no condition named {condition!r} was written")
        every = sorted(set(arm["prompt_id"]))
        drawn = {every[int(i)] for i in rng.permutation(len(every))[:openings]}
        for row in arm[arm["prompt_id"].isin(drawn)].to_dict("records"):
            name = _sha256(f"{seed}\x1f{condition}\x1f{row['prompt_id']}\x1f{row['sample']}")[:12]
            shown[name] = {"id": name, "opening": row["prompt"], "text": row["text"], "label": None}
            rows[name] = BlindRow(
                condition=condition,
                prompt_id=str(row["prompt_id"]),
                sample=int(row["sample"]),
                text_sha256=_sha256(str(row["text"])),
            )
    key = BlindKey(seed=seed, openings=openings, labels=tuple(labels), rows=rows)
    return [shown[name] for name in sorted(shown)], key


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_sample(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One JSON object a line, for a person to fill in ``label``.

    Raises:
        EmotionCircuitsError: the file is there already; it may hold labels.
    """
    if path.exists():
        raise EmotionCircuitsError(f"{path}: is there already and may hold labels; choose another name or delete it")
    with replacing(path) as temporary:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        temporary.write_text("".join(lines), encoding="utf-8")


def read_labels(path: Path, key: BlindKey) -> dict[str, str]:
    """Labels by id; rows whose label is still open are left out.

    Args:
        path: a table (JSON lines, CSV …) with ``id`` and ``label``; ``text``, where it is there, must be the one that was shown.
        key: of the sample.

    Raises:
        EmotionCircuitsError: with the number of the line: no JSON, no id, an id of another sample or one that comes twice, a
            label that may not be given, a text that is not the one shown; or no label at all.
    """
    table = read_table(path)
    if table.problems:
        raise EmotionCircuitsError(table.problems[0].at(path))
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, cells in table.rows:
        row = _row(cells, where=f"{path}:{number}", key=key)
        if row["id"] in seen:
            raise EmotionCircuitsError(f"{path}:{number}: id {row['id']!r} stands in line {seen[row['id']]} already")
        seen[row["id"]] = number
        if row.get("label"):
            found[row["id"]] = row["label"]
    if not found:
        raise EmotionCircuitsError(f"{path}: no row has a label; write one of {', '.join(key.labels)} into each")
    return found


def _row(row: dict[str, Any], *, where: str, key: BlindKey) -> dict[str, Any]:
    if not isinstance(row.get("id"), str):
        raise EmotionCircuitsError(f"{where}: needs an 'id' and a 'label'")
    if row["id"] not in key.rows:
        raise EmotionCircuitsError(f"{where}: id {row['id']!r} is not of this run's sample")
    label = row.get("label")
    if label and label not in key.labels:
        raise EmotionCircuitsError(f"{where}: label {label!r} is none of {', '.join(key.labels)}")
    if "text" in row and _sha256(str(row["text"])) != key.rows[row["id"]].text_sha256:
        raise EmotionCircuitsError(f"{where}: the text is not the one that was shown under {row['id']!r}")
    return row
