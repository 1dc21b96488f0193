"""From a station's drafts to its claims: every figure is corrected within its declared family, in one place.

A *family* is the set of tests that one question is answered by. It is declared with every draft, by name; a family of one is
one, too. Nothing is corrected across families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.claims import About, Claim, Figures, judge
from emotion_circuits.statistics.multiplicity import fdr

__all__ = ["Draft", "corrected", "draft", "together"]


@dataclass(frozen=True)
class Draft:
    """A claim before its family is known.

    Attributes:
        id: as in :class:`Claim`.
        kind: as in :class:`Claim`.
        about: as in :class:`Claim`.
        family: name of the declared family.
        figures: the numbers, without ``q`` and ``tests``.
        reach: see :func:`emotion_circuits.statistics.judge`.
        given: a claim, or the id of another draft, without which this one cannot hold.
    """

    id: str
    kind: str
    about: About
    family: str
    figures: dict[str, Any] = field(default_factory=dict)
    reach: bool = False
    given: Claim | str | None = None


def draft(
    id: str,
    kind: str,
    about: About,
    *,
    family: str,
    reach: bool = False,
    given: Claim | str | None = None,
    **figures: Any,
) -> Draft:
    """A claim that is still to be corrected and judged.

    ``p`` may be two-sided or that of the claimed side. It comes out as that of the claimed side: where the estimate lies at
    chance or on its other side, ``max(p, 1 - p/2)``. On the claimed side a two-sided p stays as it is: twice as strict as it need
    be, and in step with a 95 % interval, whose end beyond chance is a one-sided level of 2.5 %.

    Args:
        id: as in :class:`Claim`.
        kind: as in :class:`Claim`.
        about: as in :class:`Claim`.
        family: name of the declared family, the same for all drafts corrected together, e.g. ``trace.writers``.
        reach: see :func:`emotion_circuits.statistics.judge`.
        given: see :class:`Draft`.
        **figures: fields of :class:`Figures` but ``q``, ``tests`` and ``family``. ``p`` is needed with an interval; a figure
            that was not computed has neither.

    Raises:
        EmotionCircuitsError: figures that are no figures, q or tests among them, an interval without a p-value.

    Example:
        >>> draft("a", "test.a", About(), family="test.a", estimate=-1.0, interval=(-2.0, 0.1), p=0.04, n=20).figures["p"]
        0.98
    """
    if unwanted := sorted({"q", "tests"} & figures.keys()):
        raise EmotionCircuitsError(f"claim {id!r}: give no {' and no '.join(unwanted)}, its family computes it")
    if not family.strip():
        raise EmotionCircuitsError(f"claim {id!r}: name the family of tests that it is corrected with")
    if figures.get("interval") is not None and figures.get("p") is None:
        raise EmotionCircuitsError(
            f"claim {id!r}: has an interval but no p: test it (a permutation test, rank_p against a null's figures, "
            "interval_p where there is nothing but the interval), or leave the interval out as uncomputed"
        )
    try:
        checked = Figures.model_validate(figures)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise EmotionCircuitsError(f"claim {id!r}: {problems}") from error
    if checked.p is not None and checked.towards <= 0:
        figures = {**figures, "p": max(checked.p, 1 - checked.p / 2)}
    return Draft(id, kind, about, family, figures, reach, given)


def corrected(drafts: Sequence[Draft], *, method: str = "fdr_bh") -> list[Claim]:
    """Judged claims, each with the q of its family (Benjamini & Hochberg 1995 within each family).

    Args:
        drafts: all drafts of a station; families that lie across several calls are not seen as one.
        method: as for :func:`emotion_circuits.statistics.fdr`.

    Returns:
        The claims in the order of the drafts.

    Raises:
        EmotionCircuitsError: two drafts of one id, or one that is given a draft that is not there, or that is given itself.

    Example:
        >>> some = [
        ...     draft(i, "test.a", About(), family="two", estimate=1.0, interval=(0.5, 1.5), p=p, n=20)
        ...     for i, p in (("a", 0.01), ("b", 0.04))
        ... ]
        >>> [(c.figures.q, c.figures.tests) for c in corrected(some)]
        [(0.02, 2), (0.04, 2)]
    """
    by_id = {d.id: d for d in drafts}
    if len(by_id) < len(drafts):
        doubled = next(d.id for i, d in enumerate(drafts) if by_id[d.id] is not d or d in drafts[:i])
        raise EmotionCircuitsError(f"two claims are called {doubled!r}: they could not be told apart")
    families: dict[str, dict[str, float]] = {}
    for d in drafts:
        if d.figures.get("p") is not None:
            families.setdefault(d.family, {})[d.id] = float(d.figures["p"])
    q = {id: value for name, p in families.items() for id, value in fdr(p, family=name, method=method).q.items()}
    judged: dict[str, Claim] = {}

    def judge(d: Draft, path: tuple[str, ...]) -> Claim:
        if d.id in path:
            raise EmotionCircuitsError(f"claim {d.id!r} rests on itself: {' → '.join((*path, d.id))}")
        if d.id not in judged:
            given = d.given
            if isinstance(given, str):
                if given not in by_id:
                    raise EmotionCircuitsError(f"claim {d.id!r} rests on {given!r}, which is not among the drafts")
                given = judge(by_id[given], (*path, d.id))
            tests = len(families[d.family]) if d.id in q else None
            judged[d.id] = Claim.judged(
                d.id, d.kind, d.about, reach=d.reach, given=given,
                **{**d.figures, "family": d.family, "q": q.get(d.id), "tests": tests},
            )  # fmt: skip
        return judged[d.id]

    return [judge(d, ()) for d in drafts]


def together(claims: Sequence[Claim], *, method: str = "fdr_bh") -> list[Claim]:
    """Claims of several pieces of work, those of one family corrected over all of them; for none does q become smaller.

    Args:
        claims: with the verdicts they have within their own pieces of work.
        method: as for :func:`emotion_circuits.statistics.fdr`.

    Returns:
        In order. A claim that was supported is judged anew; none becomes supported by this.
    """
    families: dict[str, list[int]] = {}
    for i, claim in enumerate(claims):
        if claim.figures.p is not None and claim.figures.family is not None:
            families.setdefault(claim.figures.family, []).append(i)
    found = list(claims)
    for name, members in families.items():
        p_values = {str(i): float(claims[i].figures.p or 0.0) for i in members}
        corrected_together = fdr(p_values, family=name, method=method).q
        for i in members:
            old = claims[i]
            q = max(corrected_together[str(i)], old.figures.q or 0.0)
            figures = old.figures.model_copy(update={"q": q, "tests": len(members)})
            verdict, reason = judge(figures) if old.verdict == "supported" else (old.verdict, old.reason)
            found[i] = old.model_copy(update={"figures": figures, "verdict": verdict, "reason": reason})
    return found
