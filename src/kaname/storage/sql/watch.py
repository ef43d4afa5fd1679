"""Has the database moved? A question that may be asked fifty times a second at no cost to speak of."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

BUSY_S = 0.005
"""Asked on an event loop, it must not wait for whoever holds the file; the next question is soon."""


class JournalWatch:
    """The journal's number, re-read only after another connection committed.

    SQLite keeps `data_version` per connection: it changes when someone else, in this process or another, has
    committed. This connection never writes, so an unchanged value means an unchanged journal (5 µs to ask).
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._conn = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._seen: int | None = None
        self._number = 0

    def number(self) -> int:
        """The number of the last committed change."""
        with self._lock:
            # The version is read first: a commit in between is then found again at the next call, never missed.
            version = self._conn.execute("PRAGMA data_version").fetchone()[0]
            if version != self._seen:
                self._number = self._conn.execute("SELECT number FROM journal_head WHERE id = 1").fetchone()[0]
                self._seen = version
            return self._number

    def close(self) -> None:
        """Close the connection; `number` is not called afterwards."""
        with self._lock:
            self._conn.close()
