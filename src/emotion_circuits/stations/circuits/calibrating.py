"""How often the station claims something where nothing is to be found: its whole program on pairs with shuffled emotions.

``shuffled`` pairs keep their prompts and lose what those have to do with emotions and answers: every group is given emotions at
random, and with them the answers of other pairs of those emotions. Everything after that is the station's own program: parts are
scored, a size is searched, everything is measured and judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion_circuits.circuits.finding import split_task
from emotion_circuits.model import LanguageModel
from emotion_circuits.prompts import Pair
from emotion_circuits.stations.circuits.program import measure
from emotion_circuits.stations.circuits.settings import CircuitsSettings
from emotion_circuits.statistics import Claim, corrected

__all__ = ["circuit_claims", "shuffled"]


def shuffled(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The same prompts with emotions, and their answers, drawn anew for every group.

    A group's emotions are renamed by a random permutation of all labels, so that either side of a pair is as likely to be
    given any emotion, and the two never the same one. Answers are those of a random pair of the new emotion.

    Args:
        pairs: minimal pairs; those of one group are renamed alike, mirrors with them.
        seed: of the renaming.
    """
    rng = np.random.default_rng(seed)
    labels = sorted({label for p in pairs for label in (p.label, p.corrupted_label)})
    answers: dict[str, set[tuple[str, ...]]] = {label: set() for label in labels}
    for p in pairs:
        answers[p.label].add(p.answers)
        answers[p.corrupted_label].add(p.corrupted_answers)
    pool = {label: sorted(found) for label, found in answers.items()}
    named: dict[str, tuple[dict[str, str], dict[str, tuple[str, ...]]]] = {}
    for group in dict.fromkeys(p.group for p in pairs):
        names = dict(zip(labels, [labels[i] for i in rng.permutation(len(labels))], strict=True))
        named[group] = names, {label: pool[label][rng.integers(len(pool[label]))] for label in labels}
    found = []
    for p in pairs:
        names, words = named[p.group]
        label, other = names[p.label], names[p.corrupted_label]
        update = {
            "label": label, "corrupted_label": other, "answers": words[label], "corrupted_answers": words[other],
        }  # fmt: skip
        found.append(p.model_copy(update=update))
    return found


def circuit_claims(
    model: LanguageModel,
    pairs: Sequence[Pair],
    c: CircuitsSettings,
    values: Sequence[str],
    *,
    reference: str | None = "neutral",
    name: str = "pairs",
    seed: int = 0,
) -> list[Claim]:
    """Everything the station claims on pairs, patched texts apart.

    Args:
        model: the model.
        pairs: minimal pairs of all splits, e.g. :func:`shuffled` ones.
        c: the station's settings.
        values: emotions.
        reference: label of prompts without any.
        name: of the pairs.
        seed: of everything random.

    Raises:
        EmotionCircuitsError: a split without pairs that fit the model.
    """
    limits = {"train": c.train_pairs, "validation": c.validation_pairs, "test": c.test_pairs}
    tasks = {split: split_task(model, pairs, split, limit) for split, limit in limits.items()}
    found = measure(model, tasks, c, values, reference=reference, name=name, seed=seed)
    return [*found.circuit.claims, *corrected(found.drafts)]
