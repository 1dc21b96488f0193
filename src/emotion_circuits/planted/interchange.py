"""Strict interchange-intervention training: a transformer learns until its parts do what a program says, and no others matter.

Every step runs prompts and other prompts (the sources), then the prompts once more with some nodes' outputs taken from a source.
Three losses, summed, as in InterpBench (Gupta et al. 2024, on Geiger et al. 2022):

* *behaviour*: the answers to the prompt itself;
* *interchange*: with an aligned node's output from the source, the answers that the program gives once the variable is exchanged;
* *strictness*: with the outputs of nodes outside of the alignment from a second source, answers as if nothing had happened.

The last two share a run: each row draws which aligned and which other nodes are exchanged. Targets leave a tenth of the
probability to wrong answers, so that every logit has a value that it must keep: saturated answers would hide small effects.
A fourth loss makes decoys look at the emotion word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from emotion_circuits.heads.nodes import Node, all_nodes
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import at_path
from emotion_circuits.planted.programs import Program
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.planted.texts import Sentences

__all__ = ["Fidelity", "Training", "fidelity", "train"]


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        steps: of AdamW.
        rows: prompts per step.
        rate: largest learning rate; it rises over the first twentieth and falls to 0 along a half cosine.
        left: probability that targets leave to wrong answers.
    """

    steps: int = 600
    rows: int = 96
    rate: float = 4e-3
    left: float = 0.1


@dataclass(frozen=True)
class Fidelity:
    """How far a model obeys its program, on fresh prompts.

    Attributes:
        behaviour: share of prompts answered as the program answers them.
        interchange: lowest over aligned nodes: share of interchanges after which it answers as the program does.
        leak: highest over nodes outside of the alignment (and all of them at once): mean absolute change of the logit
            difference once their outputs are another prompt's, as a share of the gap.
    """

    behaviour: float
    interchange: float
    leak: float

    def reached(self) -> bool:
        """Whether the model may serve as truth: 98 % of prompts and of every interchange, leaks below 5 % of the gap."""
        return self.behaviour >= 0.98 and self.interchange >= 0.98 and self.leak <= 0.05


class _Exchange:
    """Runs a model with every node's output kept, or with some rows' outputs taken from other runs."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.nodes = all_nodes(model)
        self.place = {node: index for index, node in enumerate(self.nodes)}
        self.kept: dict[tuple[str, int], Tensor] = {}
        self.sources: list[tuple[dict[tuple[str, int], Tensor], Bool[Tensor, "row node"]]] = []

    def _pass(self, kind: str, layer: int, value: Tensor) -> Tensor:
        heads = [self.place[n] for n in self.nodes if n.layer == layer and n.kind == kind]
        for kept, mask in self.sources:
            chosen = mask[:, None, heads]
            if kind == "head":
                chosen = chosen.repeat_interleave(self.model.d_head, dim=-1)
            value = torch.where(chosen, kept[kind, layer], value)
        self.kept[kind, layer] = value
        return value

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Inside the ``with`` block every run passes through here."""
        handles: list[Any] = []
        for layer, block in enumerate(self.model.blocks):
            out, mlp = (at_path(block, path) for path in (self.model.family.out_proj, self.model.family.mlp_out))
            handles.append(
                out.register_forward_pre_hook(lambda _m, args, at=layer: (self._pass("head", at, args[0]), *args[1:]))
            )
            handles.append(mlp.register_forward_hook(lambda _m, _a, value, at=layer: self._pass("mlp", at, value)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def run(
        self,
        ids: Int[Tensor, "row position"],
        sources: list[tuple[dict[tuple[str, int], Tensor], Bool[Tensor, "row node"]]] | None = None,
        *,
        attentions: bool = False,
    ) -> tuple[Float[Tensor, "row vocabulary"], dict[tuple[str, int], Tensor], Any]:
        """Logits at the last token, the nodes' outputs, and (where asked for) the attention patterns."""
        self.kept, self.sources = {}, sources or []
        out = self.model.hf(input_ids=ids, output_attentions=attentions, use_cache=False)
        return out.logits[:, -1], self.kept, out.attentions


def _rolled(kept: dict[tuple[str, int], Tensor], by: int) -> dict[tuple[str, int], Tensor]:
    return {key: value.roll(by, 0) for key, value in kept.items()}


class _Draws:
    """Prompts whose neighbours in the batch are each other's sources (same language and layout)."""

    def __init__(self, spec: PlantedSpec, sentences: Sentences, rows: int, generator: torch.Generator) -> None:
        self.language = int(torch.randint(spec.languages, (1,), generator=generator))
        self.ids, self.emotion, self.word = sentences.draw(rows, self.language, generator)
        self.languages = torch.full_like(self.emotion, self.language)


def train(
    model: LanguageModel,
    program: Program,
    spec: PlantedSpec,
    sentences: Sentences,
    generator: torch.Generator,
    training: Training,
) -> None:
    """Train a model in place; the same generator state gives the same weights on the same number of threads.

    Args:
        model: freshly initialised, with ``eager`` attention where decoys are to be trained.
        program: what its parts shall do.
        spec: of languages.
        sentences: of prompts and answers.
        generator: of prompts and exchanges.
        training: how long.
    """
    hf, exchange = model.hf.train().requires_grad_(True), _Exchange(model)
    optimiser = torch.optim.AdamW(hf.parameters(), lr=training.rate, weight_decay=0.01, betas=(0.9, 0.98))
    warm = max(1, training.steps // 20)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, 0.05, 1.0, warm),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps - warm),
        ],
        [warm],
    )
    targets = sentences.targets(training.left)
    aligned = [exchange.place[node] for node in program.nodes]
    others = [index for index in range(len(exchange.nodes)) if index not in aligned]
    with exchange.hooked():
        for _ in range(training.steps):
            draws = _Draws(spec, sentences, training.rows, generator)
            logits, kept, attentions = exchange.run(draws.ids, attentions=bool(program.decoys))
            loss = cross_entropy(logits, targets[draws.emotion])
            loss = loss + _unseen(attentions, program.decoys, draws.word)
            swapped = _some_aligned(training.rows, len(exchange.nodes), aligned, generator)
            strict = _some_others(training.rows, len(exchange.nodes), others, generator)
            wanted = _answers(program, draws, swapped, aligned)
            changed, _, _ = exchange.run(draws.ids, [(_rolled(kept, 1), swapped), (_rolled(kept, 2), strict)])
            loss = loss + 2 * cross_entropy(changed, targets[wanted])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(hf.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    hf.eval().requires_grad_(False)


def _answers(
    program: Program, draws: _Draws, swapped: Bool[Tensor, "row node"], aligned: list[int]
) -> Int[Tensor, " row"]:
    """The emotion whose answers the program gives after the exchange with the row before."""
    source = {name: v.roll(1, 0) for name, v in program.states(draws.emotion, draws.languages).items()}
    chosen = {variable.name: swapped[:, index] for variable, index in zip(program.variables, aligned, strict=True)}
    return program.interchanged(draws.emotion, draws.languages, source, chosen)[program.variables[-1].name]


def _some_aligned(rows: int, nodes: int, aligned: list[int], generator: torch.Generator) -> Bool[Tensor, "row node"]:
    """One aligned node for two thirds of the rows, none for the others."""
    mask = torch.zeros(rows, nodes, dtype=torch.bool)
    which = torch.randint(len(aligned), (rows,), generator=generator)
    mask[torch.arange(rows), torch.tensor(aligned)[which]] = torch.rand(rows, generator=generator) < 2 / 3
    return mask


def _some_others(rows: int, nodes: int, others: list[int], generator: torch.Generator) -> Bool[Tensor, "row node"]:
    """Of the nodes outside of the alignment a share that each row draws between none and all."""
    mask = torch.zeros(rows, nodes, dtype=torch.bool)
    share = torch.rand(rows, 1, generator=generator) * 1.5 - 0.25
    mask[:, others] = torch.rand(rows, len(others), generator=generator) < share
    return mask


def _unseen(attentions: Any, decoys: tuple[Node, ...], word: int) -> Tensor:
    """Mean attention of the last token that decoys do not pay to the emotion word."""
    if not decoys:
        return torch.zeros(())
    return torch.stack([1 - attentions[n.layer][:, n.head, -1, word].mean() for n in decoys]).mean()


@torch.no_grad()
def fidelity(
    model: LanguageModel,
    program: Program,
    spec: PlantedSpec,
    sentences: Sentences,
    generator: torch.Generator,
    *,
    rows: int = 128,
    layouts: int = 6,
) -> Fidelity:
    """Interchange every node on fresh prompts.

    Args:
        model: the trained model.
        program: what its parts shall do.
        spec: of languages.
        sentences: of prompts and answers.
        generator: of prompts.
        rows: prompts per layout.
        layouts: of prompts.
    """
    exchange = _Exchange(model)
    answers = sentences.targets(0.0)
    aligned = [exchange.place[node] for node in program.nodes]
    others = [index for index in range(len(exchange.nodes)) if index not in aligned]
    behaviour: list[float] = []
    right: dict[int, list[float]] = {}
    moved: dict[tuple[int, ...], list[float]] = {}
    gaps: list[float] = []
    with exchange.hooked():
        for _ in range(layouts):
            draws = _Draws(spec, sentences, rows, generator)
            logits, kept, _ = exchange.run(draws.ids)
            means = logits @ answers.T
            behaviour.append(float((means.argmax(-1) == draws.emotion).float().mean()))
            source = draws.emotion.roll(1, 0)
            differ = source != draws.emotion
            row = torch.arange(rows)

            def difference(found: Tensor, now: Tensor = draws.emotion, then: Tensor = source) -> Tensor:
                here = found @ answers.T
                return here[row, now] - here[row, then]  # noqa: B023 - used within the turn

            plain = difference(logits)
            gaps.append(float((plain * 2)[differ].mean()))
            for nodes in [(index,) for index in range(len(exchange.nodes))] + [tuple(others)]:
                mask = torch.zeros(rows, len(exchange.nodes), dtype=torch.bool)
                mask[:, list(nodes)] = True
                changed, _, _ = exchange.run(draws.ids, [(_rolled(kept, 1), mask)])
                if nodes[0] in aligned:
                    wanted = _answers(program, draws, mask, aligned)
                    hit = (changed @ answers.T).argmax(-1) == wanted
                    right.setdefault(nodes[0], []).append(float(hit.float().mean()))
                else:
                    moved.setdefault(nodes, []).append(float((difference(changed) - plain)[differ].abs().mean()))
    gap = sum(gaps) / len(gaps)
    return Fidelity(
        behaviour=sum(behaviour) / len(behaviour),
        interchange=min(sum(found) / len(found) for found in right.values()),
        leak=max(sum(found) / len(found) for found in moved.values()) / gap if gap > 0 else float("inf"),
    )
