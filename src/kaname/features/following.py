"""Notices that a store's records have changed: marks to compare, and a thread that does so all the time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kaname.clock import Clock
from kaname.features.layout import StoreName
from kaname.features.records import Mark, Records

LOOK_S = 0.1
"""How often a process looks whether files or stores say something else."""
QUICK_S, SLOW_S = 1.0, 3.0
"""Longest until every process uses what was published: to embedded stores, and to servers."""
CLOSE_S = 3.0
"""How long an end waits for a store."""
FRESH_NS = 1_000_000_000
"""A write to a server is confirmed by what was read there so long before at most; one to an embedded store by what it
says behind the write."""


class Marks:
    """The marks of stores, as they were when what they stand for was brought into force here. Thread-safe."""

    def __init__(self, records: Records, clock: Clock, is_quick: Callable[[StoreName], bool]) -> None:
        """`is_quick`: whether a read of a store takes microseconds."""
        self._records = records
        self._now_ns = clock.monotonic_ns
        self._is_quick = is_quick
        self._seen: dict[StoreName, tuple[Mark, int]] = {}

    def begin(self, store: StoreName) -> None:
        """Look at a store from now on; what it records is read behind this."""
        if store not in self._seen:
            self._seen[store] = self._looked(store)

    def stores(self) -> list[StoreName]:
        """Those that are looked at."""
        return list(self._seen)

    def look(self, store: StoreName, reload: Callable[[], None]) -> None:
        """Have everything brought into force that was recorded since. Raises what a store does that does not answer."""
        found = self._looked(store)
        if found[0] != self._seen[store][0]:
            reload()
        self._seen[store] = found  # last: who finds it here has what it stands for

    def confirms(self, store: StoreName, *, exact: bool = False) -> bool:
        """Whether a write that is over was of what is recorded now; `exact`: not only of what was a moment ago."""
        mark, looked_ns = self._seen[store]
        if not exact and not self._is_quick(store) and self._now_ns() - looked_ns < FRESH_NS:
            return True
        return self._records.mark(store) == mark

    def settle_s(self, stores: list[StoreName]) -> float:
        """So long after a record is published every process uses it: its reads, and the writes that are confirmed."""
        return QUICK_S if all(map(self._is_quick, stores)) else SLOW_S

    def _looked(self, store: StoreName) -> tuple[Mark, int]:
        now_ns = self._now_ns()
        return self._records.mark(store), now_ns


class Follower:
    """A thread that looks, from its first start until it is closed."""

    def __init__(self, look: Callable[[], None]) -> None:
        """`look` raises nothing."""
        self._look = look
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if it has not. Not from several threads at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kaname-features", daemon=True)
            self._thread.start()

    @property
    def leaving(self) -> bool:
        """Whether it is closed."""
        return self._leave.is_set()

    def close(self) -> None:
        """End. Blocks until a look that is under way is over, or its store has not answered for `CLOSE_S`."""
        self._leave.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._leave.wait(LOOK_S):
            self._look()
