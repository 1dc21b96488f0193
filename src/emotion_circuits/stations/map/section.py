"""The report's map: where the values lie, and how closely that follows people's ratings, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emotion_circuits.language import say, term
from emotion_circuits.page.page import Figure, Section, Table
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.map.figures import by_layer, places
from emotion_circuits.stations.map.folder import MapFolder

__all__ = ["sections"]


def sections(folder: MapFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """One section: the map, the layers, the distances."""
    choice, table = folder.choice.read(), folder.places.read()
    dimensions = [name.removeprefix("rated_") for name in map(str, table.columns) if name.startswith("rated_")]
    return (
        Section(
            "map",
            say("How do the values lie to one another?"),
            (
                say(
                    "A value's vector is the mean of its sentences' states minus those of the neutral sentence of the same "
                    "group. Axes were fitted on training sentences without any rating; which of the first {axes} is compared "
                    "with a rating was chosen on training sentences, and permuted ratings choose theirs likewise. Places and "
                    "correlations are of test sentences. Ratings: {source} ({licence}).",
                    axes=4, source=choice.source, licence=choice.licence,
                ),
            ),
            tuple(claims),
            (
                Figure(
                    "map",
                    say("The map of layer {layer}", layer=choice.layer),
                    say(
                        "One point per value: its place on the first two axes, in residual norms, test sentences. Colour: how "
                        "people rated its {dimension}; grey: nobody was asked. The axes know nothing of the ratings.",
                        dimension=term(dimensions[0]),
                    ),
                    places(table, dimensions[0]),
                ),
                Figure(
                    "map-by-layer",
                    say("Correlation with the ratings, by layer"),
                    say(
                        "Test sentences, with 95 % interval over values. Dashed: the model's static embeddings. Grey: 95 % of "
                        "labels shuffled within groups, which choose their axes likewise. Dotted: how far distances between "
                        "values agree on training and test sentences."
                    ),
                    by_layer(folder.layers.read()),
                ),
                Table(
                    "map-layers",
                    say("Every layer against the ratings"),
                    say("Layer −1: static embeddings. p: permuted ratings whose own axis fits at least as well."),
                    folder.layers.read(),
                    folded=True,
                ),
                Table(
                    "map-distances",
                    say("Values that lie close"),
                    say("One minus the cosine of two values' vectors, the mean of all taken off; closest first."),
                    folder.distances.read().sort_values("distance", ignore_index=True),
                    folded=True,
                ),
            ),
        ),
    )  # fmt: skip
