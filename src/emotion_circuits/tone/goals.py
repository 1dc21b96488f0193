"""What is wanted of a text's tone, as data, and the few words and signs it can be said in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import Attribute

__all__ = ["FLUENCY", "LESS", "MORE", "SIMILARITY", "Goal", "Wish", "goal_of", "names_of"]

MORE, LESS = 0.5, 0.1
"""Probabilities that *more* and *less* ask for where no number is given: more likely than not, and unlikely."""
FLUENCY, SIMILARITY = 1.5, 0.5
"""Bounds where none are given."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of one value.

    Attributes:
        value: its name in the run.
        more: whether ``target`` is a least figure; otherwise a greatest one.
        target: from 0 to 1.
        of: ``probability`` that the judge gives the text, or ``share`` of the texts written at one dose that it calls so.
    """

    value: str
    more: bool
    target: float
    of: Literal["probability", "share"] = "probability"

    def __post_init__(self) -> None:
        if not 0 <= self.target <= 1:
            raise EmotionCircuitsError(f"{self.value}: a target is a number from 0 to 1, got {self.target:g}")
        if self.of not in ("probability", "share"):
            raise EmotionCircuitsError(f"{self.value}: a target is of a 'probability' or a 'share', got {self.of!r}")

    def __str__(self) -> str:
        return f"{'share of ' if self.of == 'share' else ''}{self.value} {'≥' if self.more else '≤'} {self.target:g}"

    def gap(self, figure: float) -> float:
        """How far a figure is from the target; 0 where it is met."""
        if math.isnan(figure):
            return math.inf
        return max(0.0, self.target - figure if self.more else figure - self.target)


@dataclass(frozen=True)
class Goal:
    """A tone, and what it may cost.

    Attributes:
        wishes: one per value.
        fluency: perplexity of the text over that of the unsteered replies, both to the unsteered model; at most.
        similarity: cosine of the sentence embeddings of the text and the unsteered reply nearest to it; at least. 0: not asked.
    """

    wishes: tuple[Wish, ...]
    fluency: float = FLUENCY
    similarity: float = SIMILARITY

    def __post_init__(self) -> None:
        if not self.wishes:
            raise EmotionCircuitsError("a goal names a value at least, e.g. 'more joy'")
        names = [wish.value for wish in self.wishes]
        if len(set(names)) != len(names):
            raise EmotionCircuitsError(f"a goal names each value once, got {', '.join(names)}")
        if not 1 <= self.fluency < math.inf:
            raise EmotionCircuitsError(
                f"fluency: a perplexity ratio of 1 (as fluent as unsteered) or more, got {self.fluency:g}"
            )
        if not 0 <= self.similarity <= 1:
            raise EmotionCircuitsError(f"similarity: a number from 0 (not asked for) to 1, got {self.similarity:g}")

    def __str__(self) -> str:
        bounds = f"perplexity ≤ {self.fluency:g} × unsteered"
        return ", ".join(
            [*map(str, self.wishes), bounds, *([f"similarity ≥ {self.similarity:g}"] if self.similarity else [])]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def names_of(attribute: Attribute, values: Sequence[str]) -> dict[str, str]:
    """What each value may be called: by itself, as reports call it in any language, and by a word of its lexicon alone.

    Args:
        attribute: whose words.
        values: of the run.

    Returns:
        Name in lower case → value. A word that two values share names neither.

    Example:
        >>> from emotion_circuits.prompts import load_attribute
        >>> names = names_of(load_attribute("emotion-en"), ["gratitude", "anger"])
        >>> names["感謝"], names["grateful"], names["angry"]
        ('gratitude', 'gratitude', 'anger')
    """
    found: dict[str, str] = {}
    lexicon = attribute.lexicon_words() or {}
    for words in (
        [(w, v) for v in values for w in lexicon.get(v, ())],
        [(names[v], v) for names in attribute.words.values() for v in values if v in names],
        [(v, v) for v in values],
    ):
        known: dict[str, set[str]] = {}
        for word, value in words:
            known.setdefault(word.strip().lower(), set()).add(value)
        for word, owners in known.items():
            found.pop(word, None)
            if len(owners) == 1:
                (found[word],) = owners
    return found


_CLAUSES = re.compile(r"[,;，、；\n]|\s+and\s+|\s+but\s+", re.IGNORECASE)
_MEANING = re.compile(r"(?:and )?keep(?:ing)? the meaning|意味(?:を保って|はそのまま(?:で)?|を変えずに)", re.IGNORECASE)
_NUMBER = r"(?:0?\.\d+|\d+(?:\.\d+)?)"
_CLAUSE = re.compile(
    rf"""\s*(?P<before>more|less|no|without|もっと)?\s*
    (?P<name>.+?)\s*
    (?:(?P<sign>>=|<=|≥|≤|=)\s*(?P<number>{_NUMBER})
       |[をは]?(?P<after>多めに|多く|増やして|少なめに|少なく|減らして|なしで))?\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_FEWER = ("less", "no", "without", "少なめに", "少なく", "減らして", "なしで")


def goal_of(
    words: str | None,
    targets: Sequence[str],
    names: Mapping[str, str],
    *,
    fluency: float = FLUENCY,
    similarity: float = SIMILARITY,
) -> Goal:
    """A goal as a person says it.

    Args:
        words: clauses, ``more gratitude, less anger``, ``anger <= 0.1``, ``感謝を多めに、怒りを減らして``; *keep the meaning*
            asks for the similarity that is asked for anyway.
        targets: numbers, each ``gratitude=0.8`` (at least, unless the words say *less*), ``anger<=0.1`` or
            ``share:gratitude=0.5``.
        names: of values (:func:`names_of`).
        fluency: see :class:`Goal`.
        similarity: see :class:`Goal`.

    Raises:
        EmotionCircuitsError: a clause that cannot be read, naming it and the values that there are.

    Example:
        >>> str(goal_of("more joy, less fear", ["joy=0.8"], {"joy": "joy", "fear": "fear"}))
        'joy ≥ 0.8, fear ≤ 0.1, perplexity ≤ 1.5 × unsteered, similarity ≥ 0.5'
    """
    wishes: dict[str, Wish] = {}
    for clause in _CLAUSES.split(words or ""):
        if not clause.strip() or (_MEANING.fullmatch(clause.strip()) and similarity > 0):
            continue
        wish = _wish(clause, names, {})
        if wish.value in wishes:
            raise EmotionCircuitsError(f"goal: {clause.strip()!r} speaks of {wish.value} again; say it once")
        wishes[wish.value] = wish
    told: set[str] = set()
    for target in targets:
        share, _, rest = target.partition(":") if target.startswith("share:") else ("", "", target)
        wish = _wish(rest, names, wishes, number=target)
        if wish.value in told:
            raise EmotionCircuitsError(f"target: {target!r} speaks of {wish.value} again; give one")
        told.add(wish.value)
        wishes[wish.value] = Wish(wish.value, wish.more, wish.target, "share" if share else "probability")
    return Goal(tuple(wishes.values()), fluency, similarity)


def _wish(clause: str, names: Mapping[str, str], said: Mapping[str, Wish], *, number: str = "") -> Wish:
    """One clause; with ``number`` it is a target, which has one and takes its side from what was ``said``."""
    what = f"target {number!r}" if number else f"goal {clause.strip()!r}"
    found = _CLAUSE.fullmatch(clause)
    if found is None or (number and (found["number"] is None or found["before"])):
        raise EmotionCircuitsError(f"{what}: cannot be read; write VALUE=NUMBER, e.g. {next(iter(names.values()))}=0.8")
    value = names.get(found["name"].strip().lower())
    if value is None:
        known = ", ".join(dict.fromkeys(names.values()))
        raise EmotionCircuitsError(
            f"{what}: cannot be read; say 'more VALUE', 'less VALUE' or 'VALUE >= NUMBER', of {known}"
        )
    side, sign = (found["before"] or found["after"] or "").lower(), found["sign"]
    more = side not in _FEWER
    if sign in ("=", None) and value in said:
        more = said[value].more
    elif sign in ("<=", "≤", ">=", "≥"):
        if side and more != (sign in (">=", "≥")):
            raise EmotionCircuitsError(f"{what}: {side!r} and {sign!r} go against one another")
        more = sign in (">=", "≥")
    return Wish(value, more, float(found["number"]) if found["number"] else MORE if more else LESS)
