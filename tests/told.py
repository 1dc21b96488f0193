"""Claims of a real run and of a comparison of two models, and one of each kind that such a run need not make."""

from pathlib import Path

from pydantic import TypeAdapter

from emotion_circuits.stations.registry import kinds
from emotion_circuits.statistics import Claim

CLAIMS = TypeAdapter(list[Claim]).validate_json((Path(__file__).parent / "told_claims.json").read_bytes())
KINDS = kinds()


def changed(claim, *, figures=None, **fields):
    """A claim with other figures, verdict …; nothing is judged anew."""
    return claim.model_copy(update={**fields, "figures": claim.figures.model_copy(update=figures or {})})
