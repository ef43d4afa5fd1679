"""Gives back the space of cells whose time is over: HBase does not know it, see `catalog.TTL`."""

from __future__ import annotations

import logging
import threading

from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.storage.cells.hbase.catalog import Catalog
from kaname.storage.cells.hbase.driver import Pool, idl
from kaname.storage.cells.types import Family

LOG = logging.getLogger("kaname.cells")
REST_NS = 60_000_000_000
"""How often a process that writes looks for what is over."""
ROWS = 1_000
"""So many rows of a family it clears at once."""


class Sweep:
    """Looks beside the writes of a process; HBase skips files in which nothing is that old."""

    def __init__(self, pool: Pool, catalog: Catalog, clock: Clock) -> None:
        self._pool = pool
        self._catalog = catalog
        self._clock = clock
        self._looked_ns = clock.monotonic_ns()
        self._lock = threading.Lock()

    def wrote(self) -> None:
        """Tell it of a write: now and then it looks."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            if now_ns - self._looked_ns < REST_NS:
                return
            self._looked_ns = now_ns
        self._pool.aside(self.run)

    def run(self) -> None:
        """Clear what is over."""
        try:
            for table, families in self._catalog.families.items():
                for name, family in families.items():
                    while family.ttl_s is not None and self._clear(table, name, family) == ROWS:
                        pass
        except KanameError as error:
            LOG.warning("HBase was not cleared of what is over: %s", error)

    def _clear(self, table: str, name: str, family: Family) -> int:
        """Clear some rows of a family; returns how many there were."""
        assert family.ttl_s is not None
        dead_us = self._clock.time_ns() // 1000 - round(family.ttl_s * 1e6)
        if dead_us < 0:
            return 0
        over = idl.TTimeRange(minStamp=0, maxStamp=dead_us + 1)
        column = idl.TColumn(family=name.encode())
        scan = idl.TScan(startRow=b"", stopRow=b"", columns=[column], timeRange=over, maxVersions=1, limit=ROWS)
        found = self._pool.call("getScannerResults", self._catalog.name(table), scan, ROWS)
        gone = idl.TColumn(family=name.encode(), timestamp=dead_us)
        kind = idl.TDeleteType.DELETE_FAMILY
        deletes = [idl.TDelete(row=one.row, columns=[gone], deleteType=kind) for one in found]
        if deletes:
            self._pool.call("deleteMultiple", self._catalog.name(table), deletes)
        return len(deletes)
