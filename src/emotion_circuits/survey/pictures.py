"""A survey as a picture: what each of its studies claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import dress
from emotion_circuits.statistics import VERDICTS, Claim

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["verdict_bars"]

_COLOURS = {"supported": "#009E73", "inconclusive": "#E69F00", "not supported": "#D55E00"}


def verdict_bars(claims: Mapping[str, Sequence[Claim]]) -> Figure:
    """Verdicts of every study, one bar per study.

    Args:
        claims: of each study by its name.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for verdict in VERDICTS:
        counts = [sum(claim.verdict == verdict for claim in own) for own in claims.values()]
        figure.add_bar(
            y=list(claims), x=counts, name=term(verdict), orientation="h", marker={"color": _COLOURS[verdict]}
        )
    figure.update_layout(barmode="stack").update_xaxes(title=say("claims")).update_yaxes(autorange="reversed")
    return dress(figure, 140 + 34 * len(claims)).update_layout(margin={"l": 190})
