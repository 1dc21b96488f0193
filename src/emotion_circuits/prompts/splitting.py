"""Group-aware splits: a group is never divided."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from emotion_circuits.prompts.schema import Split

__all__ = ["split_groups"]


def split_groups(
    groups: Iterable[str], *, validation: float = 0.2, test: float = 0.2, salt: str = ""
) -> dict[str, Split]:
    """Assign each group to a split.

    Groups are ordered by a hash of their name, so that the assignment depends on nothing but the names, and the
    shares are met to within one group.
    """
    ordered = sorted(set(groups), key=lambda g: hashlib.sha256(f"{salt}\x1f{g}".encode()).digest())
    n_test = round(len(ordered) * test)
    n_validation = round(len(ordered) * validation)
    result: dict[str, Split] = {}
    for index, group in enumerate(ordered):
        result[group] = "test" if index < n_test else "validation" if index < n_test + n_validation else "train"
    return result
