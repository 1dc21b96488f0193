"""A few aligned pairs for the tiny models' character tokenizer."""

from __future__ import annotations

from emotion_circuits.prompts import Pair


def character_pairs() -> list[Pair]:
    rows = []
    for i, (good, bad, rest) in enumerate(
        [("joy", "mud", " is it"), ("win", "rag", " then we go"), ("sun", "fog", " x")]
    ):
        rows.append(
            Pair(
                id=str(i), group=str(i), text=f"a {good}{rest}", corrupted=f"a {bad}{rest}",
                label="gratitude", corrupted_label="anger",
                spans=((2, 5),), corrupted_spans=((2, 5),), answers=("a", "b"), corrupted_answers=("c",),
                split="test", language="en", set="t",
            )
        )  # fmt: skip
    return rows
