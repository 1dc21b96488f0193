"""Answers on the server: SQLite with a write-ahead log; what was acknowledged is on the disk."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.reading import STORE, Given
from emotion_circuits.human.records import Design

__all__ = ["Store"]

_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS raters (rater TEXT PRIMARY KEY, language TEXT NOT NULL, consent TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
  number INTEGER PRIMARY KEY, rater TEXT NOT NULL, item TEXT NOT NULL, answer TEXT NOT NULL, seconds REAL NOT NULL,
  at TEXT NOT NULL, UNIQUE (rater, item));
CREATE TABLE IF NOT EXISTS log (
  number INTEGER PRIMARY KEY, rater TEXT NOT NULL, item TEXT NOT NULL, answer TEXT NOT NULL, seconds REAL NOT NULL,
  at TEXT NOT NULL, received TEXT NOT NULL);
"""


class Store:
    """The answers of a study. ``answers`` holds the last one to each item, ``log`` every one that came.

    Args:
        folder: of the study.
        design: of the study.

    Raises:
        EmotionCircuitsError: it cannot be opened, or holds another study's answers.
    """

    def __init__(self, folder: Path, design: Design) -> None:
        self.path, self._lock = folder / STORE, threading.Lock()
        try:
            # Autocommit: a transaction is what is written as one below.
            self._store = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=10)
            self._store.execute("PRAGMA journal_mode = WAL")
            # Each commit reaches the disk before it is acknowledged.
            self._store.execute("PRAGMA synchronous = FULL")
            self._store.executescript(_TABLES)
            self._store.execute("INSERT OR IGNORE INTO about VALUES ('study', ?)", (design.name,))
            (study,) = self._store.execute("SELECT value FROM about WHERE name = 'study'").fetchone()
        except sqlite3.Error as error:
            raise EmotionCircuitsError(f"{self.path}: cannot be opened: {error}") from error
        if study != design.name:
            raise EmotionCircuitsError(
                f"{self.path}: holds answers of the study {study!r}, not {design.name!r}; move it away"
            )

    def put(self, rater: str, language: str, consent: str, given: Given) -> None:
        """Keep an answer; returns when it is on the disk.

        Args:
            rater: code.
            language: of the page.
            consent: when it was given.
            given: the answer.
        """
        row = (rater, given.item, json.dumps(given.answer), given.seconds, given.at)
        received = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._store.execute("BEGIN IMMEDIATE")
            try:
                self._store.execute(
                    "INSERT INTO raters VALUES (?, ?, ?) ON CONFLICT (rater) DO UPDATE SET language = excluded.language",
                    (rater, language, consent),
                )
                self._store.execute(
                    "INSERT INTO answers (rater, item, answer, seconds, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (rater, item) "
                    "DO UPDATE SET answer = excluded.answer, seconds = excluded.seconds, at = excluded.at",
                    row,
                )
                self._store.execute(
                    "INSERT INTO log (rater, item, answer, seconds, at, received) VALUES (?, ?, ?, ?, ?, ?)",
                    (*row, received),
                )
                self._store.execute("COMMIT")
            except sqlite3.Error:
                self._store.execute("ROLLBACK")
                raise

    def of(self, rater: str) -> dict[str, Any]:
        """What a rater has answered, as their page keeps it; ``language`` and ``consent`` empty before the first answer."""
        with self._lock:
            known = self._store.execute("SELECT language, consent FROM raters WHERE rater = ?", (rater,)).fetchone()
            rows = self._store.execute(
                "SELECT item, answer, seconds, at FROM answers WHERE rater = ? ORDER BY number", (rater,)
            ).fetchall()
        language, consent = known or ("", "")
        answers = [{"item": i, "answer": loads(a), "seconds": s, "at": at} for i, a, s, at in rows]
        return {"language": language, "consent": consent, "answers": answers}

    def close(self) -> None:
        """Fold the log into the file and let it go."""
        with self._lock, closing(self._store):
            self._store.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """See :meth:`close`."""
        self.close()
