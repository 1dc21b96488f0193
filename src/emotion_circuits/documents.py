"""The one place where a file that somebody wrote becomes text, JSON or YAML: whatever is doubtful in it is refused.

JSON and YAML let a writer say things that readers take differently: a key twice, numbers that are none, nesting without end,
aliases that unfold to gigabytes, half of a character. None of it is guessed at here.
"""

from __future__ import annotations

import codecs
import copy
import json
import math
import re
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

from emotion_circuits.errors import EmotionCircuitsError

__all__ = [
    "LARGEST", "UnreadableError", "bytes_of", "decoded", "loads", "parse_json", "parse_yaml", "read_document", "read_json_file",
]  # fmt: skip

LARGEST = 256 * 2**20
"""Bytes that a file may have which is read as a whole."""

_LARGEST_YAML = 256 * 2**10
_DEEPEST = 64
_MOST_NODES = 200_000
_MOST_DIGITS = 20
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)  # fmt: skip


class UnreadableError(ValueError):
    """What is wrong with a text, without the file it stands in.

    Attributes:
        line: where, counted from 1.
        message: what, as the end of a sentence that begins with the place.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def bytes_of(path: Path, largest: int = LARGEST) -> bytes:
    """A file's bytes.

    Args:
        path: a file, or a pipe.
        largest: more bytes are refused.

    Raises:
        EmotionCircuitsError: it cannot be read, is no file, or is larger.
    """
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise EmotionCircuitsError(f"{path}: is a {'folder' if stat.S_ISDIR(kind) else 'device'}; name a file")
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        raise EmotionCircuitsError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name with a NUL or half of a character
        raise EmotionCircuitsError(f"{str(path)!r}: cannot be the name of a file: {error}") from error
    if len(content) > largest:
        size = f"{largest / 2**20:.0f} MiB" if largest >= 2**20 else f"{largest / 2**10:.0f} KiB"
        raise EmotionCircuitsError(f"{path}: is larger than {size}; divide it")
    return content


def decoded(content: bytes) -> str:
    """UTF-8 text, without a byte-order mark.

    Raises:
        UnreadableError: another encoding; with the line.
    """
    for mark, name in _OTHER_ENCODINGS:
        if content.startswith(mark):
            raise UnreadableError(1, f"is {name}, not UTF-8; save the file as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = error.start - content.rfind(b"\n", 0, error.start)
        raise UnreadableError(line, f"is not UTF-8 (byte {byte}); save the file as UTF-8") from error


def parse_json(text: str, start: int = 0) -> tuple[Any, int]:
    """A JSON value and where it ends.

    Args:
        text: what holds it.
        start: where it begins; white space before it is passed over.

    Raises:
        UnreadableError: with the line, counted from the beginning of ``text``.

    Example:
        >>> parse_json('{"a": [1, 2.5]} rest')
        ({'a': [1, 2.5]}, 15)
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
            ...
        emotion_circuits.documents.UnreadableError: holds the key 'a' twice
    """
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    try:
        value, end = _DECODER.raw_decode(text, start)
        if end - start > _DEEPEST and text.count("[", start, end) + text.count("{", start, end) > _DEEPEST:
            _check_depth(value)
        if _SURROGATE.search(text, start, end) and (half := next(_halves(value), None)) is not None:
            raise UnreadableError(1, f"holds half of a character (\\u{ord(half):04x} without its other half)")
    except json.JSONDecodeError as error:
        raise UnreadableError(error.lineno, f"is not JSON (column {error.colno}): {error.msg}") from error
    except RecursionError as error:
        raise UnreadableError(text.count("\n", 0, start) + 1, _TOO_DEEP) from error
    except UnreadableError as error:
        raise UnreadableError(text.count("\n", 0, start) + 1, error.message) from error
    return value, end


def loads(text: str | bytes) -> Any:
    """As :func:`json.loads`, by the rules of this module.

    Raises:
        UnreadableError: a ``ValueError``.
    """
    if isinstance(text, bytes):
        text = decoded(text)
    value, end = parse_json(text)
    if text[end:].strip():
        raise UnreadableError(text.count("\n", 0, end) + 1, "goes on behind the end of its JSON")
    return value


_TOO_DEEP = f"is nested more than {_DEEPEST} deep"


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise UnreadableError(1, f"holds a whole number of {len(digits)} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise UnreadableError(1, f"holds {digits[:20]}, which is no finite number")
    return value


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(1, f"holds {name}, which is no finite number")


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        seen: set[str] = set()
        doubled = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise UnreadableError(1, f"holds the key {doubled[:60]!r} twice")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=_whole, parse_float=_real, parse_constant=_no_constant
)  # fmt: skip


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise UnreadableError(1, _TOO_DEEP)


def _halves(value: Any) -> Iterator[str]:
    """Every half of a surrogate pair in a value's texts."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield from (c for c in one if "\ud800" <= c <= "\udfff")
        waiting += _children(one)


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: no key twice, numbers and truth as YAML 1.2 writes them.

    ``1e-3`` is a number; ``12:30``, a date and ``no``, the code of Norwegian, are texts.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"holds the key {key.value[:60]!r} twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: Any) -> int:
        text = node.value
        if len(text) > _MOST_DIGITS:
            raise yaml.MarkedYAMLError(
                problem=f"holds a whole number of {len(text)} digits", problem_mark=node.start_mark
            )
        return int(text, 0 if text[:2] in ("0x", "0o") else 10)

    def construct_real(self, node: Any) -> float:
        value = float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(value):
            problem = f"holds {node.value[:20]}, which is no finite number"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return value


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    dropped = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp")}
    return {
        first: [(tag, pattern) for tag, pattern in items if tag not in dropped]
        for first, items in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = _resolvers()
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    _INT, re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)  # fmt: skip
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
# Settings are texts, numbers, lists and mappings; a date or bytes under an explicit tag would be no value of any of them.
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rsplit(":", 1)[-1] in ("null", "bool", "str", "seq", "map")
}
_Loader.add_constructor(_INT, _Loader.construct_whole)
_Loader.add_constructor(_FLOAT, _Loader.construct_real)


def parse_yaml(text: str) -> Any:
    r"""What a YAML text holds; nothing in it can run.

    Raises:
        UnreadableError: with the line.

    Example:
        >>> parse_yaml("steering: {samples: 2, temperature: 1e-1}")
        {'steering': {'samples': 2, 'temperature': 0.1}}
        >>> parse_yaml("a: 1\na: 2")
        Traceback (most recent call last):
            ...
        emotion_circuits.documents.UnreadableError: holds the key 'a' twice
    """
    return copy.deepcopy(_parsed_yaml(text))


@lru_cache(maxsize=16)
def _parsed_yaml(text: str) -> Any:
    """A study asks for its attribute a hundred times, and reading YAML is slow."""
    if len(text) > _LARGEST_YAML:
        raise UnreadableError(
            1, f"is longer than {_LARGEST_YAML // 2**10} KiB; settings are short, texts belong into corpora"
        )
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        own = (error.problem or "").startswith(("holds ", "is "))
        why = error.problem if own else f"is not YAML: {error.problem or error.context}"
        raise UnreadableError(1 if mark is None else mark.line + 1, str(why)) from error
    except yaml.reader.ReaderError as error:
        line, found = text.count("\n", 0, error.position) + 1, error.character
        code = found if isinstance(found, int) else ord(str(found))
        raise UnreadableError(line, f"is not YAML: the character U+{code:04X} may not stand in it") from error
    except yaml.YAMLError as error:
        raise UnreadableError(1, f"is not YAML: {' '.join(str(error).split())}") from error
    except (RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
        # What its constructors raise: an impossible number or truth value under an explicit tag, a key that cannot be one.
        raise UnreadableError(1, f"is not YAML: {' '.join(str(error).split())[:200]}") from error
    _check_unfolded(value)
    if (half := next(_halves(value), None)) is not None:
        raise UnreadableError(1, f"holds half of a character (U+{ord(half):04X} without its other half)")
    return value


def _check_unfolded(value: Any) -> None:
    """Refuse aliases that refer to themselves, or that unfold to more than anybody writes."""
    sizes: dict[int, int] = {}
    open_ones: set[int] = set()

    def size(one: Any) -> int:
        if not isinstance(one, dict | list):
            return 1
        if id(one) in open_ones:
            raise UnreadableError(1, "holds an alias that refers to itself")
        if id(one) not in sizes:
            open_ones.add(id(one))
            sizes[id(one)] = 1 + sum(size(child) for child in _children(one))
            open_ones.discard(id(one))
        return sizes[id(one)]

    if size(value) > _MOST_NODES:
        raise UnreadableError(1, "unfolds to more values than settings have (aliases of aliases)")


def read_document(path: Path) -> Any:
    """What a file of settings holds: YAML, or JSON where it is called ``.json``.

    Raises:
        EmotionCircuitsError: with file and line.
    """
    if path.suffix.lower() == ".json":
        return read_json_file(path)
    try:
        return parse_yaml(decoded(bytes_of(path, _LARGEST_YAML)))
    except UnreadableError as error:
        raise EmotionCircuitsError(f"{path}:{error.line}: {error.message}") from error


def read_json_file(path: Path, *, damaged: str = "") -> Any:
    """What a JSON file holds.

    Args:
        path: the file.
        damaged: put before what is wrong with it, e.g. ``is damaged: it``.

    Raises:
        EmotionCircuitsError: with file and line.
    """
    try:
        return loads(bytes_of(path))
    except UnreadableError as error:
        what = f"{damaged} {error.message}" if damaged else error.message
        raise EmotionCircuitsError(f"{path}:{error.line}: {what}") from error
