"""A found circuit as it is kept: every figure with its unit, written to JSON and read back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from emotion_circuits.circuits.completeness import Measure
from emotion_circuits.circuits.joint import Joint
from emotion_circuits.circuits.overlap import Stability
from emotion_circuits.circuits.random_circuits import AgainstRandom
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.page.notebook import card
from emotion_circuits.paths import read_json, write_json
from emotion_circuits.prompts.loading import validation_messages
from emotion_circuits.record.notes import checked
from emotion_circuits.statistics import Claim

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = [
    "FORMAT",
    "Agreement",
    "Area",
    "Circuit",
    "CircuitEdge",
    "CircuitNode",
    "CurvePoint",
    "HeadEvidence",
    "PairCounts",
    "load_circuit",
]

FORMAT: Literal[4] = 4
"""Version of the JSON's layout."""


class CircuitNode(BaseModel):
    """A member.

    Attributes:
        node: its name.
        score: estimated share of the gap on train pairs, signed.
        exact: mean effect of noising it on test pairs, as a share of their gap; ``None`` where it was not measured.
        low: 95 % interval by group of pairs.
        high: 95 % interval by group of pairs.
        role: estimated role of a head, ``mlp`` or ``embed``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: str
    score: float
    exact: float | None = None
    low: float | None = None
    high: float | None = None
    role: str = ""


class CircuitEdge(BaseModel):
    """A link: ``score`` is its estimated share of the gap on train pairs, signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    writer: str
    reader: str
    score: float


class PairCounts(BaseModel):
    """How many pairs were used.

    Attributes:
        train: pairs on which parts were scored.
        validation: pairs on which the size was chosen.
        test: pairs from which every figure is.
        excluded: pairs of all splits that did not fit the model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int
    validation: int
    test: int
    excluded: int


class CurvePoint(BaseModel):
    """Faithfulness at one size: shares of the clean-corrupted gap.

    Attributes:
        size: heads and MLPs kept.
        share: the same as a share of all heads and MLPs.
        faithfulness: of the strongest ``size`` parts.
        low: lower end of its 95 % interval by group of pairs.
        high: upper end of its 95 % interval by group of pairs.
        random: mean of random circuits of the same make-up; ``None`` (as their quantiles) where none were run.
        random_low: 2.5 % quantile of the random circuits.
        random_high: 97.5 % quantile of the random circuits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    share: float
    faithfulness: float
    low: float
    high: float
    random: float | None = None
    random_low: float | None = None
    random_high: float | None = None


class Area(BaseModel):
    """An area under or beside the curve of faithfulness over the share of parts kept (both 0 to 1).

    Attributes:
        circuit: of the parts in their order.
        random: mean over random orders of the same make-up; ``None`` where none were run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    circuit: float
    random: float | None = None


class Agreement(BaseModel):
    """Whether estimates on train pairs order the nodes as exact effects on test pairs do.

    Attributes:
        spearman: rank correlation of both, −1 to 1; 0 where it is not defined.
        nodes: number of nodes measured both ways.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    spearman: float
    nodes: int


class HeadEvidence(BaseModel):
    """The figures that a head's role stands on: shares of the clean-corrupted gap on test pairs, signed.

    Attributes:
        node: name of the head.
        layer: its layer.
        head: its place in the layer.
        denoising: its clean output in the corrupted run.
        noising: its corrupted output in the clean run.
        at_last: the larger of both at the last token alone; ``None`` (as ``elsewhere``) where neither is relevant.
        elsewhere: the larger of both at all other tokens.
        direct: noising its edge to the logits alone.
        alone: zero-ablating it in the clean run.
        after: zero-ablating it once another causal head is gone.
        condition: that other head; empty where none makes a difference.
        q_patch: of the smaller one of denoising and noising, over all heads and figures.
        q_direct: of ``direct``, likewise.
        q_backup: of ``after − alone``, likewise.
        to_span: attention to the differing word, from the later token that attends to it most (0 to 1, no share of the gap).
        role: the role that the rules give to these figures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: str
    layer: int
    head: int
    denoising: float
    noising: float
    at_last: float | None
    elsewhere: float | None
    direct: float
    alone: float
    after: float
    condition: str
    q_patch: float
    q_direct: float
    q_backup: float
    to_span: float
    role: str


class Circuit(BaseModel):
    """A found circuit, as written to JSON.

    Attributes:
        format: version of this layout.
        model: name of the model.
        weights_sha256: of the model's weights; empty in circuits that were kept before it was noted.
        task: name of the pairs.
        method: how parts were scored.
        pairs: pairs by split, and how many did not fit the model.
        groups: groups of test pairs, the unit of every interval.
        gap: mean logit difference clean − corrupted on test pairs.
        target: faithfulness that a circuit must reach on validation pairs.
        largest: heads and MLPs of the largest circuit that was tried.
        reached: whether any did. Where none did there is no circuit: ``nodes`` then are the strongest parts at the size that
            keeps most.
        nodes: members, strongest first.
        edges: strongest links among members, embedding and logits.
        curve: faithfulness over size on test pairs, with random circuits of the same make-up.
        cpr: area under the curve; 1 is a circuit that carries everything at every size.
        cmd: area of the curve's distance from 1; 0 is perfect.
        against_random: faithfulness of the chosen circuit beside random ones, test pairs.
        stability: Jaccard index of the best parts over resampled groups of train pairs, with chance.
        agreement: estimated (train) against exact effects (test).
        evidence: the figures that the roles stand on, per head.
        joint: joint effect of the members' heads against the sum of single ones, test pairs.
        incompleteness: mean over random parts of the circuit, as a share of the gap.
        weakest: what the member adds that adds least, as a share of the gap.
        unneeded: members without which faithfulness drops by less than 0.01 or not surely (q > 0.05); ``None`` (as ``joint``,
            ``incompleteness`` and ``weakest``) where the search was not thorough, or found no circuit.
        claims: what is supported and what is not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[4] = FORMAT
    model: str
    weights_sha256: str = ""
    task: str
    method: str
    pairs: PairCounts
    groups: int
    gap: float
    target: float
    largest: int
    reached: bool
    nodes: list[CircuitNode]
    edges: list[CircuitEdge]
    curve: list[CurvePoint]
    cpr: Area
    cmd: Area
    against_random: AgainstRandom
    stability: Stability
    agreement: Agreement
    evidence: list[HeadEvidence]
    claims: list[Claim]
    joint: Joint | None = None
    incompleteness: Measure | None = None
    weakest: Measure | None = None
    unneeded: list[str] | None = None

    @property
    def made_of(self) -> ModelMark | None:
        """The model it was found in."""
        return ModelMark.noted({"name": self.model, "weights_sha256": self.weights_sha256})

    def __repr__(self) -> str:
        what = "circuit" if self.reached else "no circuit reached the target; strongest parts"
        return f"Circuit({self.model}, {self.task}: {what}, {len(self.nodes)} heads and MLPs of {self.largest} at most)"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        facts = {
            "model": self.model, "pairs": self.task, "faithfulness": self.against_random.faithfulness, "target": self.target,
            "reached": self.reached,
        }  # fmt: skip
        rows = pd.DataFrame([{"part": n.node, "role": n.role, "score": n.score} for n in self.nodes])
        return card("Circuit" if self.reached else "No circuit: the strongest parts", facts, rows)

    def plot(self, kind: Literal["parts", "sizes"] = "parts") -> Figure:
        """The report's picture of it.

        Args:
            kind: ``parts``: heads, MLPs and their strongest links; ``sizes``: how much circuits of every size carry.

        Raises:
            EmotionCircuitsError: no such picture.
        """
        from emotion_circuits.circuits.drawing import circuit_figure, curve_figure

        if kind == "parts":
            return circuit_figure(self)
        if kind == "sizes":
            return curve_figure(self)
        raise EmotionCircuitsError(f"no picture {kind!r} of a circuit; there are parts, sizes")

    def members(self) -> list[Node]:
        """The nodes."""
        return [Node.parse(n.node) for n in self.nodes]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, self.model_dump(mode="json"))


def load_circuit(path: Path) -> Circuit:
    """Read a circuit's JSON.

    Raises:
        EmotionCircuitsError: unreadable, written by another version, or not a circuit.
    """
    value = read_json(checked(path))
    version = value.get("format") if isinstance(value, dict) else None
    if isinstance(version, int) and version != FORMAT:
        how = "a newer" if version > FORMAT else "an older"
        raise EmotionCircuitsError(
            f"{path}: has format {version}, this version reads {FORMAT}: {how} version of emotion-circuits wrote it; "
            "use that version, or find the circuit again"
        )
    try:
        return Circuit.model_validate(value)
    except ValidationError as error:
        raise EmotionCircuitsError(f"{path}: is not a circuit: {'; '.join(validation_messages(error)[:3])}") from error
