"""The border to other people's parsers: whatever they raise over a file is told in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["one_line", "understood"]

_LONGEST = 400
_BARE = (LookupError, ArithmeticError, AssertionError, AttributeError, MemoryError)  # whose text alone says little


def one_line(error: BaseException) -> str:
    r"""What an error says, on one line.

    Example:
        >>> one_line(ValueError("first\n  second"))
        'first second'
        >>> one_line(KeyError("silu2"))
        "KeyError: 'silu2'"
    """
    text = " ".join(str(error).split())
    if not text or isinstance(error, _BARE):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


@contextmanager
def understood(explain: Callable[[BaseException], str]) -> Iterator[None]:
    """Code of other libraries that reads a file which anybody may have written.

    Those libraries raise what they like (arithmetic on a count of 0, their own exceptions, a panic that is no ``Exception``):
    inside this block each of them means that the file is not what it should be.

    Args:
        explain: the sentence to tell, of the error.

    Raises:
        EmotionCircuitsError: with that sentence.
    """
    try:
        yield
    except EmotionCircuitsError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise EmotionCircuitsError(explain(error)) from error
