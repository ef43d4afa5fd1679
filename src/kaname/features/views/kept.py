"""Rows that a process keeps (L1) and that all nodes keep in Redis (L2), so that a store is not asked again.

A row that is not there is kept like one that is. A write makes others forget: at once in the processes of its node, by
`Stamps`; in L2, where a mark keeps older rows from coming back for a while; and on all nodes, through a channel of
Redis. Who does not hear that keeps a row for its time (`l1_ttl_ms`) at most.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
from blake3 import blake3

from kaname.clock import Clock
from kaname.errors import Unavailable
from kaname.features.views.sources import Fetched
from kaname.features.views.stamps import Place
from kaname.resilience.breaker import Breaker, BreakerRule, State
from kaname.resilience.fifo import Fifo, Held
from kaname.storage.cells.types import Cell, Row
from kaname.storage.shared.types import Shared, Value

LOG = logging.getLogger("kaname.views")
ENTRY_BYTES = 400
MARK_MS = 10_000
"""How long nothing older is kept for all nodes after a write: longer than a read may be under way."""
WRITTEN = "rows-written"
"""The channel on which nodes tell each other of writes."""
CODE = "H"
"""A place, as it is told."""
_encode = msgspec.msgpack.Encoder().encode
_Coded: TypeAlias = tuple[bytes, dict[str, list[Cell]]] | None
_decode = msgspec.msgpack.Decoder(_Coded).decode


class Kept(NamedTuple):
    """What a look into L1 gave: a row or that there is none, and whether it is still good."""

    row: Fetched | None
    fresh: bool


class _Entry(Held):
    __slots__ = ("kept_ns", "row", "stamp")

    row: Fetched | None
    kept_ns: int
    stamp: int


class LocalRows:
    """L1, for all layouts of a process. Thread-safe."""

    def __init__(self, clock: Clock, max_bytes: int, ttl_ms: float, stale_ms: float) -> None:
        self._rows: Fifo[_Entry] = Fifo(max_bytes)
        self._now_ns = clock.monotonic_ns
        self._ttl_ns = int(ttl_ms * 1e6)
        self._stale_ns = int((ttl_ms + stale_ms) * 1e6)
        self._lock = threading.Lock()

    def find(self, key: tuple[int, bytes], stamp: int) -> Kept | None:
        """What is kept of a row, unless it is too old for anything; `stamp` is the number of its place now."""
        entry = self._rows.find(key)
        if entry is None:
            return None
        age_ns = self._now_ns() - entry.kept_ns
        if age_ns > self._stale_ns:
            return None
        return Kept(entry.row, age_ns < self._ttl_ns and entry.stamp == stamp)

    def keep(self, key: tuple[int, bytes], row: Fetched | None, size: int, stamp: int) -> None:
        """Keep a row, or that there is none; `stamp` is the number that its place had before it was read."""
        size += ENTRY_BYTES + len(key[1])
        with self._lock:
            if not self._rows.fits(size):
                return
            entry = self._rows.peek(key)
            if entry is None:
                entry = _Entry(key, size)
                entry.row, entry.kept_ns, entry.stamp = row, self._now_ns(), stamp
                self._rows.enter(entry)
            else:
                entry.row, entry.kept_ns, entry.stamp = row, self._now_ns(), stamp
                self._rows.resize(entry, size)

    @property
    def bytes(self) -> int:
        """What is held now."""
        return self._rows.bytes


class SharedRows:
    """L2. Methods block for the short wait that its store was opened with, and raise nothing: while it is dead or
    frozen nothing is found there. Thread-safe."""

    def __init__(self, store: Shared, clock: Clock, ttl_ms: float, rule: BreakerRule) -> None:
        self._store = store
        self._clock = clock
        self._ttl_ms = int(ttl_ms)
        self.breaker = Breaker(clock, rule, _changed)

    def find(self, names: Sequence[str]) -> list[tuple[Row | None] | None]:
        """What is kept under these names, a row or None for none, each in a tuple; None: not known."""
        found = self._ask(lambda: self._store.get(names))
        return [None] * len(names) if found is None else [_read(one) for one in found]

    def keep(self, rows: Sequence[tuple[str, Row | None]]) -> None:
        """Keep rows that were read, where nothing newer was written meanwhile."""
        values = [Value(name, _write(row), self._ttl_ms, absent=True) for name, row in rows]
        self._ask(lambda: self._store.put(values))

    def forget(self, names: Sequence[str], places: Sequence[Place]) -> None:
        """Rows of these names and places were written: all nodes are told."""
        values = [Value(name, b"", MARK_MS) for name in names]
        self._ask(lambda: self._store.put(values))
        self._ask(lambda: self._store.publish(WRITTEN, array(CODE, places).tobytes()))

    def hear(self, written: Callable[[Sequence[Place] | None], None], left: Callable[[], bool]) -> None:
        """Call `written` with the places that any node tells of, None when some may have been missed, until `left`."""

        def told(data: bytes) -> None:
            written(array(CODE, data) if data and len(data) % 2 == 0 else None)

        self._store.listen(WRITTEN, told, left)

    def _ask(self, ask: Any) -> Any:
        if not self.breaker.allows():
            return None
        began_ns = self._clock.monotonic_ns()
        try:
            found = ask()
        except Unavailable as error:
            if self.breaker.state == "closed":
                LOG.warning("rows are not found in Redis: %s", error)
            self.breaker.failed()
            return None
        self.breaker.succeeded((self._clock.monotonic_ns() - began_ns) / 1e6)
        return found

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def name_in_l2(layout: str, key: bytes) -> str:
    """The name of a row in L2."""
    return f"row:{layout}:{blake3(key).hexdigest(16)}"


def _changed(state: State) -> None:
    if state != "half open":
        LOG.warning("Redis is %s for rows of views", "used again" if state == "closed" else "left alone")


def _write(row: Row | None) -> bytes:
    return _encode(None if row is None else (row.key, row.cells))


def _read(data: bytes | None) -> tuple[Row | None] | None:
    if not data:
        return None
    try:
        found = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return (None if found is None else Row(*found),)
