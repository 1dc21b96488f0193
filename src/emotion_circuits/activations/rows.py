"""What a capture's table of sentences says of each: its corpus and its group."""

from __future__ import annotations

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from emotion_circuits.prompts import corpus_of

__all__ = ["corpora_of", "group_numbers"]


def corpora_of(rows: pd.DataFrame) -> pd.Series:
    """The corpus of each row: its ``set`` without the part of the corpus it names."""
    return rows["set"].map(corpus_of)


def group_numbers(rows: pd.DataFrame) -> Int[Tensor, " row"]:
    """Groups numbered in order of appearance; groups of one name in two corpora are two."""
    return torch.tensor(pd.factorize(corpora_of(rows) + "\x1f" + rows["group"])[0].copy())
