"""How many claims of each kind come out supported, where it is known whether they should."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emotion_circuits.statistics.claims import Claim
from emotion_circuits.statistics.shares import Share, clustered_share

__all__ = ["supported_shares"]


def supported_shares(draws: Iterable[Sequence[Claim]]) -> dict[str, Share]:
    """Share of supported claims per kind, with an interval that knows that claims of one draw go together.

    Args:
        draws: claims of several runs of one program, e.g. on shuffled labels.
    """
    hits: dict[str, list[bool]] = {}
    of: dict[str, list[int]] = {}
    for number, claims in enumerate(draws):
        for claim in claims:
            hits.setdefault(claim.kind, []).append(claim.verdict == "supported")
            of.setdefault(claim.kind, []).append(number)
    return {kind: clustered_share(found, of[kind]) for kind, found in hits.items()}
