"""What a command's exit code says. Scripts rely on these; the table is part of ``emotion-circuits --help``."""

from __future__ import annotations

__all__ = ["BUG", "DONE", "EXIT_CODES", "INTERRUPTED", "PROBLEM", "TERMINATED", "USAGE", "table"]

DONE = 0
PROBLEM = 1
USAGE = 2
BUG = 70
INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES: dict[int, str] = {
    DONE: "done",
    PROBLEM: "a problem with an input, a file, the disk or memory (the message says which), or a check that failed",
    USAGE: "wrong usage: an unknown command or option, or a value that is not one",
    BUG: "an error of this program; --debug shows where",
    INTERRUPTED: "interrupted (Ctrl-C); what was finished is kept",
    TERMINATED: "terminated (SIGTERM); what was finished is kept",
}


def table() -> str:
    """The codes, one a line, for help texts."""
    return "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
