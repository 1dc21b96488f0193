"""What a request asks to be done to its text, as data: read from JSON, checked, and named by a hash.

A request holds names and numbers only. Vectors lie on the server, which registered them when it was started.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["KEY", "Asked", "AskedWrongError", "Edit", "read"]

KEY = "emotion_circuits"
"""Of ``SamplingParams.extra_args``, of ``vllm_xargs`` over HTTP, and of what the answer carries."""

LONGEST = 1_000_000
MOST_EDITS, MOST_PLACES = 512, 100_000
STRONGEST = 10_000.0
"""Residual norms; only there so that no number becomes infinite."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OPERATIONS, _WHEN, _SIDES = ("add", "ablate", "clamp"), ("prompt", "generated", "all"), ("above", "below")
_POSITIONS = ("all", "rest", "last", "first")


class AskedWrongError(ValueError):
    """A request that cannot be done as it is; the message says where and why."""


@dataclass(frozen=True)
class Edit:
    """One change of the residual stream behind a decoder block.

    Attributes:
        vector: name of a direction.
        layer: whose output is changed, from 0.
        alpha: ``add``: strength in residual norms of the layer, times the unit direction; ``clamp``: the projection
            afterwards, in residual norms.
        operation: ``add``, ``ablate`` (take the direction out), ``clamp``.
        when: ``prompt`` tokens, ``generated`` tokens, or ``all``.
        positions: ``all``; ``rest``, all but the text's first token; ``first``, that one alone; ``last``, the prompt's last token
            and every generated one; or places in the text, from 0.
        gate: name of a direction whose projection must lie on a ``side`` of ``threshold`` (in residual norms); empty: none.
        threshold: see ``gate``.
        side: see ``gate``.
    """

    vector: str
    layer: int
    alpha: float = 0.0
    operation: str = "add"
    when: str = "all"
    positions: str | tuple[int, ...] = "all"
    gate: str = ""
    threshold: float = 0.0
    side: str = "above"

    @property
    def acts(self) -> bool:
        """Whether it can change anything."""
        return self.operation != "add" or self.alpha != 0


@dataclass(frozen=True)
class Asked:
    """All of a request.

    Attributes:
        vectors: name of the registered file.
        edits: in the order in which they are done.
        idle: a text of which no token is chosen is an answer, too (a sweep's text that ends before its first token).
        follow: what was done so far is told with every token, and not with the last one alone.
    """

    vectors: str
    edits: tuple[Edit, ...]
    idle: bool = False
    follow: bool = False

    @property
    def entries(self) -> tuple[tuple[str, int], ...]:
        """``(vector, layer)`` of everything that is measured, in order."""
        return tuple(dict.fromkeys((e.vector, e.layer) for e in self.edits if e.acts))

    def text(self) -> str:
        """Back as JSON, always in the same letters."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def salt(self, prompt: int, mark: str) -> str:
        """What keys and values that were computed under this steering are kept by.

        Which tokens are the prompt's decides what is done to them, unless all edits act on both alike; then a beginning is
        shared by texts that go on differently.

        Args:
            prompt: tokens of the prompt.
            mark: hash of the numbers used.
        """
        ends = any(e.when != "all" or e.positions == "last" for e in self.edits if e.acts)
        said = json.dumps([asdict(e) for e in self.edits if e.acts], sort_keys=True)
        return hashlib.sha256(f"{mark}\n{said}\n{prompt if ends else ''}".encode()).hexdigest()


def read(given: Any, names: Sequence[str] = (), doses: Callable[[str], Mapping[str, Any]] = lambda _name: {}) -> Asked:
    """Read what a request holds under :data:`KEY`.

    Args:
        given: JSON as text, or what it stands for: ``{"vectors": NAME, "edits": [{…}], "idle": false}``, or
            ``{"vectors": NAME, "steering": {VALUE: DOSE, VALUE: {"alpha": …, "layers": […]}}}``. ``vectors`` may be left out
            where one file is registered.
        names: of registered files.
        doses: of a file, by value, what dose 1 is: ``{"alpha", "first", "layers", "positions", "when"}``.

    Raises:
        AskedWrongError: anything else.

    Example:
        >>> read('{"vectors": "demo", "steering": {"joy": {"alpha": 0.1, "layers": [3]}}}').entries
        (('joy', 3),)
    """
    body = _parsed(given)
    _only(body, ("vectors", "edits", "steering", "idle", "follow"), "")
    name = body.get("vectors")
    if name is None and len(names) == 1:
        (name,) = names
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AskedWrongError(
            f"vectors: the name of a registered file is needed; there are: {', '.join(names[:20]) or 'none'}"
        )
    if ("edits" in body) == ("steering" in body):
        raise AskedWrongError("give either 'edits' or 'steering'")
    idle, follow = body.get("idle", False), body.get("follow", False)
    if not isinstance(idle, bool) or not isinstance(follow, bool):
        raise AskedWrongError("idle, follow: true or false")
    edits = _edits(body["edits"]) if "edits" in body else _steering(body["steering"], doses(name))
    if not any(e.acts for e in edits):
        return Asked(name, (), idle, follow)
    return Asked(name, edits, idle, follow)


def _parsed(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        if len(given) > LONGEST:
            raise AskedWrongError(f"longer than {LONGEST} characters")
        try:
            given = json.loads(given, object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise AskedWrongError(f"no JSON: {error}") from error
    if not isinstance(given, dict):
        raise AskedWrongError("an object of JSON is needed")
    return given


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AskedWrongError("a key stands twice")
    return found


def _no_constant(text: str) -> Any:
    raise AskedWrongError(f"{text} is no number")


def _only(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    other = next((k for k in given if k not in known), None)
    if other is not None:
        raise AskedWrongError(f"{where}{str(other)[:60]!r}: is not known; there are: {', '.join(known)}")


def _number(given: Any, where: str) -> float:
    if (
        isinstance(given, bool)
        or not isinstance(given, int | float)
        or not math.isfinite(given)
        or abs(given) > STRONGEST
    ):
        raise AskedWrongError(f"{where}: a number from -{STRONGEST:g} to {STRONGEST:g} is needed")
    return float(given)


def _whole(given: Any, where: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 10_000_000:
        raise AskedWrongError(f"{where}: a whole number from 0 is needed")
    return given


def _one_of(given: Any, known: tuple[str, ...], where: str) -> str:
    if not isinstance(given, str) or given not in known:
        raise AskedWrongError(f"{where}: one of {', '.join(known)} is needed")
    return given


def _word(given: Any, where: str) -> str:
    if not isinstance(given, str) or not given or len(given) > 400:
        raise AskedWrongError(f"{where}: the name of a direction is needed")
    return given


def _positions(given: Any, where: str) -> str | tuple[int, ...]:
    if isinstance(given, list | tuple):
        if not 0 < len(given) <= MOST_PLACES:
            raise AskedWrongError(f"{where}: 1 to {MOST_PLACES} places are needed")
        return tuple(sorted({_whole(one, where) for one in given}))
    return _one_of(given, _POSITIONS, where)


def _edits(given: Any) -> tuple[Edit, ...]:
    if not isinstance(given, list) or len(given) > MOST_EDITS:
        raise AskedWrongError(f"edits: a list of at most {MOST_EDITS} is needed")
    return tuple(_edit(one, f"edits.{place}.") for place, one in enumerate(given))


def _edit(given: Any, where: str) -> Edit:
    if not isinstance(given, dict):
        raise AskedWrongError(f"{where[:-1]}: an object is needed")
    _only(given, tuple(Edit.__dataclass_fields__), where)
    operation = _one_of(given.get("operation", "add"), _OPERATIONS, f"{where}operation")
    made = Edit(
        vector=_word(given.get("vector"), f"{where}vector"),
        layer=_whole(given.get("layer"), f"{where}layer"),
        alpha=_number(given.get("alpha", 0.0), f"{where}alpha"),
        operation=operation,
        when=_one_of(given.get("when", "all"), _WHEN, f"{where}when"),
        positions=_positions(given.get("positions", "all"), f"{where}positions"),
        gate=_word(given["gate"], f"{where}gate") if given.get("gate") else "",
        threshold=_number(given.get("threshold", 0.0), f"{where}threshold"),
        side=_one_of(given.get("side", "above"), _SIDES, f"{where}side"),
    )
    if not isinstance(made.positions, str) and made.when == "generated":
        raise AskedWrongError(f"{where}positions: places in the text go with when 'prompt' or 'all'")
    if made.positions == "first" and made.when == "generated":
        raise AskedWrongError(f"{where}positions: the first token is the prompt's; 'when' cannot be 'generated'")
    return made


def _steering(given: Any, doses: Mapping[str, Mapping[str, Any]]) -> tuple[Edit, ...]:
    if not isinstance(given, dict) or len(given) > MOST_EDITS:
        raise AskedWrongError("steering: an object, by value, is needed")
    found: list[Edit] = []
    for value, push in given.items():
        where = f"steering.{str(value)[:60]}"
        one = {"dose": push} if not isinstance(push, dict) else push
        _only(one, ("dose", "alpha", "layers", "first", "when", "positions"), f"{where}.")
        if ("dose" in one) == ("alpha" in one):
            raise AskedWrongError(f"{where}: give either 'dose', or 'alpha' with 'layers'")
        if "dose" in one:
            at = doses.get(value)
            if at is None:
                raise AskedWrongError(
                    f"{where}: the file gives it no dose (those with one: {', '.join(sorted(doses)) or 'none'}); "
                    "give 'alpha' and 'layers'"
                )
            _only(one, ("dose", "when"), f"{where}.")
            scale = _number(one["dose"], f"{where}.dose")
            one = {
                **at,
                "alpha": at["alpha"] * scale,
                "first": at.get("first", 0.0) * scale,
                **({"when": one["when"]} if "when" in one else {}),
            }
        layers = one.get("layers")
        if not isinstance(layers, list | tuple) or not layers:
            raise AskedWrongError(f"{where}: 'alpha' needs 'layers'")
        when = _one_of(one.get("when", "all"), _WHEN, f"{where}.when")
        for layer in layers:
            common = {"vector": value, "layer": layer, "when": when}
            found.append(
                _edit({**common, "alpha": one["alpha"], "positions": one.get("positions", "rest")}, f"{where}.")
            )
            if one.get("first") and when != "generated":  # the first token is the prompt's
                found.append(_edit({**common, "alpha": one["first"], "positions": "first"}, f"{where}.first."))
    return tuple(found)
