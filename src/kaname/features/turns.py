"""Turns: of the processes of a project to change what is recorded of relations, of threads to open one thing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Note: TypeAlias = Callable[[str, str], None]
"""Writes down for all workers what became of a relation."""


@contextmanager
def alone() -> Iterator[Note]:
    """For a process without others."""
    yield lambda _relation, _what: None


class Locks:
    """A lock for each thing that has a name: who waits for one does not wait for the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[object, threading.RLock] = {}

    def of(self, name: object) -> threading.RLock:
        """The lock of what is called so."""
        with self._lock:
            return self._of.setdefault(name, threading.RLock())
