"""The command ``emotion-circuits``: one file per command, a few lines each: parse, call, print.

Exit codes: 0 done; 1 a problem with the input, or a check that failed; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point: run the command line, show user errors without a traceback."""
    from emotion_circuits.cli.app import app
    from emotion_circuits.cli.shared import State
    from emotion_circuits.errors import EmotionCircuitsError

    try:
        app()
    except EmotionCircuitsError as error:
        if State.debug:
            raise
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on where it stopped\n")
        raise SystemExit(130) from None
