"""The cell store on HBase, by way of its Thrift 2 servers."""

from __future__ import annotations

from collections.abc import Sequence

from kaname.clock import Clock
from kaname.storage.cells.checked import check_table, stamped_anew
from kaname.storage.cells.hbase.catalog import Catalog
from kaname.storage.cells.hbase.driver import Pool, Servers
from kaname.storage.cells.hbase.reader import Reader
from kaname.storage.cells.hbase.sweep import Sweep
from kaname.storage.cells.hbase.writing import write
from kaname.storage.cells.types import Mutation, Table


class HbaseCells(Reader):
    """`CellStore` in a namespace. The mutations of a row apply at once.

    Raises Unavailable and DeadlineExceeded when no server answers.
    """

    def __init__(self, servers: Servers, clock: Clock, *, namespace: str = "kaname") -> None:
        self._clock = clock
        self._pool = Pool(servers)
        try:
            self._catalog = Catalog(self._pool, namespace, clock)
        except BaseException:
            self._pool.close()
            raise
        self.sweep = Sweep(self._pool, self._catalog, clock)
        super().__init__(self._pool, self._catalog, clock)

    def write(self, mutations: Sequence[Mutation]) -> None:
        known, now_us = self._catalog, self._clock.time_ns() // 1000
        write(self._pool, known, stamped_anew(mutations, lambda: known.families, known.look, now_us))
        self.sweep.wrote()

    def define(self, table: Table) -> None:
        check_table(table)
        self._catalog.define(table)

    def drop(self, name: str) -> None:
        self._catalog.drop(name)

    def tables(self) -> list[Table]:
        self._catalog.look()
        return [Table(name, families) for name, families in sorted(self._catalog.families.items())]

    def close(self) -> None:
        self._pool.close()
