"""Known algorithms of the pair task, and which head or MLP is to hold each of their variables.

A program is a small causal model over whole numbers: which emotion a prompt names goes in, which emotion's answers are to
follow comes out. Its variables can be interchanged: given the value that they have on another prompt, the program says what
must come out. Training makes a transformer obey the same (:mod:`emotion_circuits.planted.interchange`).

==============  ====================================================================================================
relay           a head of the first layer finds the emotion (one head per language), a head of the second carries it on,
                an MLP turns it into the answer
halves          two heads carry one binary digit of the emotion each, an MLP joins them
split relay     a head finds the emotion, two later heads carry one digit of it each, an MLP joins them
==============  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from emotion_circuits.heads.nodes import EMBED, LOGITS, Edge, Node
from emotion_circuits.planted.spec import PlantedSpec

__all__ = ["Program", "Variable", "draw_program"]

Values = Int[Tensor, " row"]
State = Mapping[str, Values]


@dataclass(frozen=True)
class Variable:
    """One variable of a program.

    Attributes:
        name: unique within its program.
        node: the head or MLP that is to hold it.
        compute: its value from those before it (``emotion`` and ``language`` are given).
        reads: names of the variables it depends on; none: it reads the prompt.
    """

    name: str
    node: Node
    compute: Callable[[State], Values]
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A causal model and its alignment with nodes; the last variable is the answer.

    Attributes:
        name: which of the algorithms.
        variables: in the order in which they are computed.
        decoys: heads outside of the alignment that are to look at the emotion word all the same.
    """

    name: str
    variables: tuple[Variable, ...]
    decoys: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The aligned nodes, in the order of the variables."""
        return tuple(variable.node for variable in self.variables)

    @property
    def edges(self) -> frozenset[Edge]:
        """Every edge that the variables' dependencies make, embedding and logits included."""
        holds = {variable.name: variable.node for variable in self.variables}
        edges = {(holds[name], variable.node) for variable in self.variables for name in variable.reads}
        edges |= {(EMBED, variable.node) for variable in self.variables if not variable.reads}
        return frozenset(edges | {(self.variables[-1].node, LOGITS)})

    def states(self, emotion: Values, language: Values) -> dict[str, Values]:
        """Every variable's value on some prompts."""
        return self.interchanged(emotion, language, {}, {})

    def interchanged(
        self, emotion: Values, language: Values, source: State, swapped: Mapping[str, Bool[Tensor, " row"]]
    ) -> dict[str, Values]:
        """Every variable's value where some have another prompt's.

        Args:
            emotion: that each prompt names, as a number.
            language: of its word, 0 or 1.
            source: values of the variables on the other prompts (same language, row by row).
            swapped: variable → rows in which it takes the source's value.
        """
        state: dict[str, Values] = {"emotion": emotion, "language": language}
        for variable in self.variables:
            value = variable.compute(state)
            if variable.name in swapped:
                value = torch.where(swapped[variable.name], source[variable.name], value)
            state[variable.name] = value
        return state


def draw_program(spec: PlantedSpec, layers: int, heads: int, generator: torch.Generator) -> Program:
    """The program of a seed, with places for its variables and decoys.

    Args:
        spec: seeds take turns over the algorithms; ``difficulty`` adds decoys, ``languages`` detectors.
        layers: of the model, three or more.
        heads: per layer.
        generator: of the places.
    """

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    taken: set[Node] = set()

    def head(layer: int) -> Node:
        free = [node for h in range(heads) if (node := Node("head", layer, h)) not in taken]
        chosen = free[pick(0, len(free) - 1)]
        taken.add(chosen)
        return chosen

    count = len(spec.values) + 1
    name = ("relay", "halves", "split relay")[spec.seed % 3]
    variables: list[Variable] = []
    if name != "halves":
        variables += [
            Variable(f"found {language}", head(0), _found(language, count)) for language in range(spec.languages)
        ]
    found = tuple(variable.name for variable in variables)
    emotion = _first(found, count) if found else _given
    if name == "relay":
        last = head(1)
        variables.append(Variable("carried", last, emotion, found))
        mlp = Node("mlp", pick(1, layers - 1))
        variables.append(Variable("answer", mlp, _same("carried"), ("carried",)))
    else:
        low = 0 if name == "halves" else 1
        high_node, low_node = head(pick(low, low + 1)), head(pick(low, low + 1))
        variables.append(Variable("high digit", high_node, lambda s: emotion(s) // 2, found))
        variables.append(Variable("low digit", low_node, lambda s: emotion(s) % 2, found))
        mlp = Node("mlp", pick(max(high_node.layer, low_node.layer), layers - 1))
        digits = ("high digit", "low digit")
        variables.append(Variable("answer", mlp, lambda s: (2 * s["high digit"] + s["low digit"]) % count, digits))
    decoys = tuple(head(pick(0, layers - 1)) for _ in range(round(1 + 2 * spec.difficulty)) if len(taken) < 9)
    return Program(name, tuple(variables), decoys)


def _given(state: State) -> Values:
    return state["emotion"]


def _same(name: str) -> Callable[[State], Values]:
    return lambda state: state[name]


def _found(language: int, count: int) -> Callable[[State], Values]:
    """The emotion where the word is of this language, else ``count``: nothing is found."""
    return lambda s: torch.where(s["language"] == language, s["emotion"], torch.full_like(s["emotion"], count))


def _first(names: tuple[str, ...], count: int) -> Callable[[State], Values]:
    """What the first detector found that found anything."""

    def value(state: State) -> Values:
        found = state[names[0]]
        for name in names[1:]:
            found = torch.where(found == count, state[name], found)
        return found

    return value
