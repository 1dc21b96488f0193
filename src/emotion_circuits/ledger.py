"""Checksums of files that are written one after another and trusted later.

A flipped bit in a tensor file changes no length and no header: it is noticed only by a sum over all bytes. CRC-32 finds
every single flipped bit and every burst of up to 32 bits, at several times the speed of a cryptographic hash, and the
enemy here is a disk, not a person.

The sum is written *before* the file takes its name: whenever a process is killed, a file stands beside its own sum, or
beside none and is made again.
"""

from __future__ import annotations

import logging
import time
import zlib
from pathlib import Path
from typing import Literal

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import write_json

__all__ = ["LEDGER", "Ledger", "file_crc32"]

LEDGER = "sums.json"
FORMAT = 1

_log = logging.getLogger(__name__)
_seen: dict[tuple[str, int, int, int, int], str] = {}
_SETTLED = 2_000_000_000
"""Nanoseconds: two changes within a tick of the file system's clock leave one time of change."""


def file_crc32(path: Path) -> str:
    """CRC-32 of a file as 8 hexadecimal digits, computed once per process while size and times of change stay.

    The time of change of the inode counts too: the other one can be set back. The sum of a file that was changed just now is
    not remembered: another change could leave the same time.

    Raises:
        OSError: the file cannot be read.
    """
    stat = path.stat()
    key = (str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key in _seen:
        return _seen[key]
    total = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            total = zlib.crc32(block, total)
    if time.time_ns() - stat.st_ctime_ns > _SETTLED:
        _seen[key] = f"{total:08x}"
    return f"{total:08x}"


class Ledger:
    """The sums of a folder's files, kept in ``sums.json`` there.

    Args:
        folder: whose files.

    Raises:
        EmotionCircuitsError: the sums are unreadable or of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER
        self.known: dict[str, str] | None = None
        try:
            found = loads(self.path.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise EmotionCircuitsError(
                    f"{self.path}: format {found['format']} is not {FORMAT}: another version of this program wrote it; "
                    "use that version, or another folder"
                )
            self.known = dict(found["crc32"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EmotionCircuitsError(
                f"{self.path}: is damaged ({error}); delete this one file: sums that are missing are not checked"
            ) from error

    def record(self, name: str, ready: Path) -> None:
        """Note the sum of ``ready``, which is about to be renamed to ``name``."""
        self.known = {**(self.known or {}), name: file_crc32(ready)}
        write_json(self.path, {"format": FORMAT, "crc32": dict(sorted(self.known.items()))})

    def verdict(self, path: Path) -> Literal["whole", "damaged", "unknown"]:
        """Whether a file is what was written: ``unknown`` where nothing was recorded of any file of the folder.

        Raises:
            OSError: the file cannot be read.
        """
        if self.known is None:
            return "unknown"
        return "whole" if self.known.get(path.name) == file_crc32(path) else "damaged"

    def trusts(self, path: Path, otherwise: str) -> bool:
        """Whether a file is there and not damaged; of a damaged one a warning tells what is done ``otherwise``."""
        if not path.is_file():
            return False
        damaged = self.verdict(path) == "damaged"
        if damaged:
            _log.warning("%s: is damaged; %s", path, otherwise)
        return not damaged
