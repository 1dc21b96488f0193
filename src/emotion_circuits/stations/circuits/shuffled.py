"""The station's claims where prompts and answers have nothing to do with emotions."""

from __future__ import annotations

from collections.abc import Sequence

from emotion_circuits.prompts import load_pairs
from emotion_circuits.record.station import Context
from emotion_circuits.stations.circuits.calibrating import circuit_claims, shuffled
from emotion_circuits.stations.circuits.carried import shuffled_carriers
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.circuits.settings import CircuitsSettings, measures_carried, pairs_of
from emotion_circuits.statistics import Claim

__all__ = ["AT_ONCE", "shuffled_claims"]

AT_ONCE = 1


def shuffled_claims(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """What the station claims after shuffling its pairs' emotions and its directions' labels, patched texts apart.

    ``circuits.none``, which says that there is no circuit, is no false claim here and is left out.

    Args:
        context: of a finished run.
        draws: numbers of the shuffles.
    """
    paired = CircuitsFolder.of(context.folder).heads.exists()
    of_pairs = _on_pairs(context, draws) if paired else [[] for _ in draws]
    of_carriers: list[list[Claim]] = [[] for _ in draws]
    if measures_carried(context.config, paired=paired):
        of_carriers = shuffled_carriers(context, draws)
    return [[*a, *b] for a, b in zip(of_pairs, of_carriers, strict=True)]


def _on_pairs(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    about, name = context.about, pairs_of(context.config)
    if name is None:
        return [[] for _ in draws]
    pairs = [p for p in load_pairs(name) if {p.label, p.corrupted_label} <= set(about.labels)]
    settings = context.config.of(CircuitsSettings)
    return [
        [
            claim
            for claim in circuit_claims(
                context.model, shuffled(pairs, draw), settings, about.values, reference=about.reference, name=name,
                seed=context.config.seed,
            )
            if claim.kind != "circuits.none"
        ]
        for draw in draws
    ]  # fmt: skip
