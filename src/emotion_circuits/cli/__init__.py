"""The command ``emotion-circuits``: one file per command, a few lines each: parse, call, print.

Exit codes: :mod:`emotion_circuits.cli.exit_codes`.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

__all__ = ["main"]


class _Stopped(BaseException):
    """A signal asked the program to stop. ``KeyboardInterrupt`` the command line library would swallow."""


def _stop(number: int, _frame: FrameType | None) -> None:
    # A second one ends the program at once, whatever it is cleaning up.
    signal.signal(number, signal.SIG_DFL)
    raise _Stopped(number)


def main() -> None:
    """Entry point: run the command line; errors are one line without a traceback unless ``--debug`` is given."""
    from emotion_circuits.cli.exit_codes import BUG, PROBLEM

    before = {one: signal.signal(one, _stop) for one in (signal.SIGINT, signal.SIGTERM)}
    # Options are read by the command line library; errors of loading it should obey this one too.
    debug = "--debug" in sys.argv[1:]
    try:
        _prepare_streams()
        _refuse_arguments_without_text(sys.argv[1:])
        from emotion_circuits.cli.app import app

        app()
    except _Stopped as stopped:
        number = int(stopped.args[0])
        sys.stderr.write(f"\n{_how_to_go_on(number)}\n")
        raise SystemExit(128 + number) from None
    except Exception as error:
        if debug:
            raise
        from emotion_circuits.cli.visible import visible

        text, expected = _worded(error)
        sys.stderr.write(f"{visible(text)}\n")
        raise SystemExit(PROBLEM if expected else BUG) from None
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        _finish_output()


def _prepare_streams() -> None:
    """A character that the terminal's encoding lacks is written as an escape instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refuse_arguments_without_text(arguments: Sequence[str]) -> None:
    from emotion_circuits.errors import EmotionCircuitsError

    for before, argument in zip(("", *arguments), arguments, strict=False):
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            # As a path it would be the folder one stands in.
            where = argument.rstrip("=") or before
            raise EmotionCircuitsError(
                f"the argument{f' behind {where}' if where else ''} is empty (a variable of the shell that is not set?)"
            )
        if not argument.isascii() and any("\ud800" <= c <= "\udfff" for c in argument):
            raise EmotionCircuitsError(
                f"the argument {argument!a} is not text in UTF-8; rename the file, or use a UTF-8 locale (LANG=C.UTF-8)"
            )


def _finish_output() -> None:
    """Write what is left; whoever reads it may have gone (``| head``), which is nothing to report."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _how_to_go_on(number: int) -> str:
    what = "interrupted" if number == signal.SIGINT else "terminated"
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if words[:1] in (["run"], ["capture"]):
        command = shlex.join(["emotion-circuits", *sys.argv[1:]])
        return f"{what}; what was finished is kept. To go on where it stopped, run it again: {command}"
    return f"{what}; no file was left half written"


def _worded(error: Exception) -> tuple[str, bool]:
    """One line for a person, and whether such a problem is to be expected."""
    from emotion_circuits.errors import EmotionCircuitsError

    if isinstance(error, EmotionCircuitsError):
        return f"error: {error}", True
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror}; what was finished before is kept", True
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, MemoryError) or "out of memory" in first.lower() or "allocate memory" in first:
        less = "fewer rows or tokens at once (capture.batch_tokens, steering.batch_rows, circuits.batch_rows)"
        return f"error: not enough memory ({first or 'nothing more is known'}); take a smaller model, or {less}", True
    return (
        f"error of the program itself, please report it: {type(error).__name__}: {first} (--debug shows where)",
        False,
    )
