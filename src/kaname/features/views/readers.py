"""What the views of a process read through: guards, and caches where a store is not at hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kaname.clock import Clock
from kaname.features.layout import Layout, StoreName
from kaname.features.views.asking import Asking
from kaname.features.views.caches import Caches
from kaname.features.views.guard import Guard
from kaname.features.views.guarded import Guards
from kaname.features.views.kept import LocalRows, SharedRows
from kaname.features.views.stamps import Stamps
from kaname.resilience.breaker import BreakerRule
from kaname.settings import FeatureSettings
from kaname.storage.cells.types import Cells, CellStore, Columns, Mutation, Range, Row, Table
from kaname.storage.shared.types import Shared
from kaname.telemetry.metrics import Metrics


class Readers:
    """Of one process. Nothing is opened before a store that is not at hand. Thread-safe."""

    def __init__(
        self,
        settings: FeatureSettings,
        clock: Clock,
        is_embedded: Callable[[StoreName], bool],
        stamps: Path,
        open_shared: Callable[[], Shared | None],
    ) -> None:
        """`stamps`: the file in which the processes of a node tell each other of writes; `open_shared` opens what all
        nodes share, whose waits are short."""
        self._settings = settings
        self._clock = clock
        self._is_embedded = is_embedded
        self._stamps = stamps
        self._open_shared = open_shared
        self._lock = threading.Lock()
        self._caches: Caches | None = None
        self._guards: Guards | None = None
        self._served: tuple[Metrics, Callable[[Guard], Asking]] | None = None

    @property
    def guards(self) -> Guards:
        """The guards of all layouts."""
        with self._lock:
            if self._guards is None:
                self._guards = Guards(self._clock, self._rule(), self._opened_caches, self._is_kept)
                if self._served is not None:
                    self._guards.serve(*self._served)
            return self._guards

    def opened(self, name: StoreName, store: CellStore) -> CellStore:
        """A store that was opened, as relations are to use it: writes are told to those who keep rows."""
        return Watched(name, store, self._opened_caches()) if self._is_kept(name) else store

    def placed(self, layouts: Sequence[Layout]) -> None:
        """Rows are kept by these layouts now."""
        for layout in layouts:
            if self._is_kept(layout.store):
                self._opened_caches().watch(layout)

    def serve(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        """From now on requests are served from this loop, and counted."""
        threads = self._settings.threads
        self._served = metrics, lambda guard: Asking(guard, self._clock, loop, threads)
        if self._guards is not None:
            self._guards.serve(*self._served)

    def close(self) -> None:
        """Let go of threads and caches."""
        if self._guards is not None:
            self._guards.close()
        if self._caches is not None:
            self._caches.close()
        self._guards = self._caches = None

    def _is_kept(self, store: StoreName) -> bool:
        return self._settings.cache_embedded or not self._is_embedded(store)

    def _rule(self) -> BreakerRule:
        settings = self._settings
        return BreakerRule(
            window=settings.breaker_window,
            failure_share=settings.breaker_failure_share,
            slow_ms=settings.lookup_ms,
            wait_ms=settings.breaker_wait_ms,
        )

    def _opened_caches(self) -> Caches:
        if self._caches is None:
            settings = self._settings
            store = self._open_shared() if settings.l2_ttl_ms else None
            rule = BreakerRule(slow_ms=settings.shared_ms)
            shared = None if store is None else SharedRows(store, self._clock, settings.l2_ttl_ms, rule)
            local = LocalRows(self._clock, settings.l1_max_bytes, settings.l1_ttl_ms, settings.stale_ms)
            self._caches = Caches(local, shared, Stamps(self._stamps))
        return self._caches


class Watched:
    """A `CellStore` whose writes are told to those who keep rows of it."""

    def __init__(self, name: StoreName, store: CellStore, caches: Caches) -> None:
        self._name = name
        self._store = store
        self._caches = caches

    def get(self, table: str, row: bytes, columns: Columns | None = None, *, versions: int = 1) -> Cells:
        return self._store.get(table, row, columns, versions=versions)

    def get_many(
        self, table: str, rows: Sequence[bytes], columns: Columns | None = None, *, versions: int = 1
    ) -> list[Cells]:
        return self._store.get_many(table, rows, columns, versions=versions)

    def get_first(
        self, table: str, ranges: Sequence[Range], columns: Columns | None = None, *, reverse: bool = False
    ) -> list[Row | None]:
        return self._store.get_first(table, ranges, columns, reverse=reverse)

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        columns: Columns | None = None,
        limit: int | None = None,
        reverse: bool = False,
        versions: int = 1,
    ) -> Iterator[Row]:
        return self._store.scan(table, start, stop, columns=columns, limit=limit, reverse=reverse, versions=versions)

    def write(self, mutations: Sequence[Mutation]) -> None:
        try:
            self._store.write(mutations)
        finally:  # what raised may have happened
            self._caches.written(self._name, mutations)

    def define(self, table: Table) -> None:
        self._store.define(table)

    def drop(self, name: str) -> None:
        self._store.drop(name)

    def tables(self) -> list[Table]:
        return self._store.tables()

    def close(self) -> None:
        self._store.close()
