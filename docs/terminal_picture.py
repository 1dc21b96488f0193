# /// script
# requires-python = ">=3.11"
# dependencies = ["pyte>=0.8"]
# ///
"""A terminal session as an animated SVG: what a command really prints, when it prints it.

Run where the package is installed, with ``pyte`` (a terminal in memory) beside it::

    python docs/terminal_picture.py docs/assets/chat.svg -- emotion-circuits chat --emotion gratitude
    --max-new-tokens 28 "Write a short note to my neighbour."

The command runs in a terminal of its own, and nothing is drawn that it did not write. Waiting longer than ``--longest`` seconds
is shortened to that, and the command's typing stands before it. The last screen stays for ``--rest`` seconds, and for good
where a reader asks for less motion.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import shlex
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

WIDTH, HEIGHT, MARGIN = 8.4, 18, 12
"""Pixels of a character's cell, and around the screen."""
INK, PAPER = "#e7eaf0", "#14181f"
COLOURS = {
    "black": "#5a6475", "red": "#f5a0a8", "green": "#7fd9a8", "brown": "#e8c46c", "blue": "#8db4f5", "magenta": "#d9a3e8",
    "cyan": "#7fd0dc", "white": INK, "default": INK,
}  # fmt: skip
LATEST = 1 / 8
"""Screens that follow one another sooner are one."""

Run = tuple[int, str, str, bool]
"""Column, text, colour, bold."""
Screen = tuple[tuple[Run, ...], ...]


def recorded(command: Sequence[str], columns: int, lines: int) -> Iterator[tuple[float, bytes]]:
    """What a command writes to its terminal, each piece with the seconds since the start.

    Raises:
        SystemExit: the command failed, so that there is nothing to show.
    """
    child, terminal = pty.fork()
    if child == 0:
        size = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
        os.execvpe(command[0], list(command), {**os.environ, **size})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    begun = time.monotonic()
    while True:
        select.select([terminal], [], [])
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so that the other end is closed
            break
        if not piece:
            break
        yield time.monotonic() - begun, piece
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise SystemExit(f"{shlex.join(command)}: exit code {code}")


def screens(pieces: Iterator[tuple[float, bytes]], columns: int, lines: int) -> list[tuple[float, Screen]]:
    """What stood on the screen, and since when."""
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    found: list[tuple[float, Screen]] = []
    for since, piece in pieces:
        stream.feed(piece)
        shown = tuple(_runs(screen, line) for line in range(lines))
        if found and (since - found[-1][0] < LATEST or shown == found[-1][1]):
            found[-1] = (found[-1][0], shown)
        else:
            found.append((since, shown))
    return found


def _runs(screen: pyte.Screen, line: int) -> tuple[Run, ...]:
    cells = [(column, screen.buffer[line][column]) for column in range(screen.columns)]
    runs = []
    for (colour, bold, blank), group in groupby(
        cells, key=lambda cell: (cell[1].fg, cell[1].bold, cell[1].data == " ")
    ):
        own = list(group)
        if not blank:
            runs.append((own[0][0], "".join(cell.data for _, cell in own), COLOURS.get(colour, f"#{colour}"), bold))
    return tuple(runs)


def typed(command: Sequence[str], begin: float = 0.6, each: float = 0.035) -> list[tuple[float, Screen]]:
    """The command as it is typed."""
    line = f"$ {shlex.join(command).replace(chr(39), chr(34))}"
    return [(0.0, (((0, "$", COLOURS["green"], False),),))] + [
        (begin + each * n, (((0, line[:n], INK, False),),)) for n in range(4, len(line) + 1, 3)
    ] + [(begin + each * (len(line) + 6), (((0, line, INK, False),),))]  # fmt: skip


def joined(
    first: list[tuple[float, Screen]], then: list[tuple[float, Screen]], longest: float
) -> list[tuple[float, Screen]]:
    """Two recordings one below the other, waiting shortened."""
    head, found, now, before = first[-1][1], list(first), first[-1][0], 0.0
    for since, screen in then:
        now, before = now + min(since - before, longest), since
        found.append((now, (*head, *screen)))
    return found


def picture(shown: list[tuple[float, Screen]], columns: int, lines: int, rest: float, title: str) -> str:
    """The SVG: screens stand below one another, and a window jumps from one to the next."""
    width, height = columns * WIDTH + 2 * MARGIN, lines * HEIGHT + 2 * MARGIN
    length = shown[-1][0] + rest
    steps = [
        f"{100 * since / length:.3f}% {{ transform: translateY({-n * height:g}px); }}"
        for n, (since, _) in enumerate(shown)
    ]
    last = -(len(shown) - 1) * height
    words = " ".join(text for line in shown[-1][1] for _, text, _, _ in line)
    kept: dict[tuple[Run, ...], int] = {}
    placed = []
    for n, (_, screen) in enumerate(shown):
        for row, line in enumerate(screen):
            if line:
                name = kept.setdefault(line, len(kept))
                placed.append(f'<use href="#l{name}" y="{n * height + MARGIN + row * HEIGHT:g}"/>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
            'aria-labelledby="t d" font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14">',
            f'<title id="t">{escape(title)}</title><desc id="d">{escape(words)}</desc>',
            f"<style>.film {{ animation: run {length:.3f}s step-end infinite; }} text {{ white-space: pre; }} "
            f"@keyframes run {{ {' '.join(steps)} 100% {{ transform: translateY({last:g}px); }} }} "
            "@media (prefers-reduced-motion: reduce) "
            f"{{ .film {{ animation: none; transform: translateY({last:g}px); }} }}</style>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{PAPER}"/>',
            "<defs>",
            *(f'<g id="l{name}">{"".join(map(_text, line))}</g>' for line, name in kept.items()),
            "</defs>",
            '<g class="film">',
            *placed,
            "</g>",
            "</svg>\n",
        ]
    )


def _text(run: Run) -> str:
    column, text, colour, bold = run
    weight = ' font-weight="700"' if bold else ""
    # The length is given, so that lines meet whatever the reader's font is.
    return (
        f'<text x="{MARGIN + column * WIDTH:g}" y="{HEIGHT - 4}" fill="{colour}"{weight} '
        f'textLength="{len(text) * WIDTH:g}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )


def main() -> None:
    """Record, draw, and say how large the picture is."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("out", type=Path)
    ask.add_argument("--columns", type=int, default=100)
    ask.add_argument("--lines", type=int, default=17)
    ask.add_argument("--longest", type=float, default=1.0, help="seconds of waiting that are shown")
    ask.add_argument("--rest", type=float, default=8.0, help="seconds for the last screen")
    ask.add_argument("command", nargs="+")
    given = ask.parse_args()
    written = screens(recorded(given.command, given.columns, given.lines - 1), given.columns, given.lines - 1)
    shown = joined(typed(given.command), written, given.longest)
    svg = picture(shown, given.columns, given.lines, given.rest, shlex.join(given.command))
    given.out.write_text(svg, encoding="utf-8")
    sys.stdout.write(f"{given.out}: {len(shown)} screens, {len(svg.encode()) / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
