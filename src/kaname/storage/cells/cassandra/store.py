"""The cell store on a Cassandra cluster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.storage.cells.cassandra.catalog import Catalog
from kaname.storage.cells.cassandra.driver import Nodes, Session
from kaname.storage.cells.cassandra.durability import danger_of
from kaname.storage.cells.cassandra.reader import Reader
from kaname.storage.cells.cassandra.rows import Rows
from kaname.storage.cells.cassandra.values import SPARE
from kaname.storage.cells.cassandra.writing import Writing
from kaname.storage.cells.checked import check_table, stamped_anew
from kaname.storage.cells.types import Mutation, Put, Table

LOG = logging.getLogger("kaname.cells")


class CassandraCells(Reader):
    """`CellStore` in a keyspace. The cells of a batch that lie in one partition change together.

    Raises Unavailable when no node answers.
    """

    def __init__(
        self,
        nodes: Nodes,
        clock: Clock,
        *,
        keyspace: str = "kaname",
        replication: int = 0,
        buckets: int = 64,
        random: Random | None = None,
    ) -> None:
        """`replication`: copies of each row, where the keyspace is made here (0: three, or one for each node);
        `buckets`: over how many partitions the rows of a table are spread, where it is made here."""
        self._session = Session(nodes)
        try:
            self._catalog = Catalog(self._session, keyspace, replication, clock)
            if danger := danger_of(self._session):
                LOG.warning("%s: %s", self._session.where, danger)
        except BaseException:
            self._session.close()
            raise
        self._clock = clock
        self._buckets = buckets
        self._random = random or Random()  # noqa: S311  (which rows are looked at is no secret)
        self._writing = Writing(self._session, self._catalog, clock)
        super().__init__(Rows(self._session, self._catalog), self._catalog, clock)

    def write(self, mutations: Sequence[Mutation]) -> None:
        now_us = self._clock.time_ns() // 1000
        ready = stamped_anew(mutations, lambda: self._catalog.families, self._catalog.look, now_us)
        if ready:
            self._writing.write(ready)
            self._trim(ready)

    def _trim(self, mutations: Sequence[Mutation]) -> None:
        """Read a few of the rows that were written, which removes versions that nobody sees: whoever only writes would
        leave all of them lying."""
        some: dict[tuple[str, str], list[bytes]] = {}
        for one in mutations:
            if isinstance(one, Put) and self._is_looked_at(one):
                some.setdefault((one.table, one.family), []).append(one.row)
        for (table, family), rows in some.items():
            with suppress(KanameError):  # they are written, and somebody else will
                self.get_many(table, rows, {family: None})

    def _is_looked_at(self, put: Put) -> bool:
        return self._catalog.keeps_versions(put.table, put.family) and self._random.random() * SPARE < 1

    def define(self, table: Table) -> None:
        check_table(table)
        self._catalog.define(table, self._buckets)

    def drop(self, name: str) -> None:
        self._catalog.drop(name)

    def tables(self) -> list[Table]:
        self._catalog.look()
        return [Table(name, one.families, one.lead_bytes) for name, one in sorted(self._catalog.known.items())]

    def close(self) -> None:
        self._session.close()
