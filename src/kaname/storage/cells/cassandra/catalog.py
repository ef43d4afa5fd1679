"""Which tables there are: a table beside them, changed by compare-and-set, and what a process knows of it."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Sequence
from typing import cast

import msgspec

from kaname.clock import Clock
from kaname.errors import NotFound, Unavailable
from kaname.storage.cells.cassandra.driver import Session
from kaname.storage.cells.cassandra.statements import Statements, create, named, prepare
from kaname.storage.cells.checked import extended, no_table
from kaname.storage.cells.prefix import after
from kaname.storage.cells.types import Family, Table

CATALOG = "0tables"
"""No table of cells can have this name."""
FRESH_NS = 1_000_000_000
MOST_TRIES = 20
REST_S = 0.05
WAIT_NS = 10_000_000_000
"""How long to wait for a table that another process is making, before it is made here."""


class Record(msgspec.Struct, frozen=True):
    """What is written down of a table."""

    families: dict[str, Family]
    buckets: int
    lead_bytes: int = 0
    """Neither of them changes: they say where rows are."""

    def bucket_of(self, row: bytes) -> int:
        """The partition of a row."""
        return zlib.crc32(row[: self.lead_bytes] if self.lead_bytes else row) % self.buckets

    def buckets_of(self, start: bytes, stop: bytes) -> Sequence[int]:
        """The partitions that rows from `start` to before `stop` may lie in."""
        lead = start[: self.lead_bytes]
        if lead and len(lead) == self.lead_bytes and stop <= (after(lead) or stop):
            return [self.bucket_of(lead)]
        return range(self.buckets)


_decode = msgspec.json.Decoder(Record).decode


class Catalog:
    """The tables of a keyspace, which it makes if need be. Thread-safe."""

    def __init__(self, session: Session, keyspace: str, replication: int, clock: Clock) -> None:
        """`replication`: copies of each row where the keyspace is made; 0: three, or as many as there are nodes."""
        self._session = session
        self._keyspace = keyspace
        self._monotonic_ns = clock.monotonic_ns
        self._lock = threading.Lock()
        self._looked_ns = 0
        self._statements: dict[str, Statements] = {}
        self.known: dict[str, Record] = {}
        self._make_keyspace(replication or min(3, session.nodes))
        name = named(keyspace, CATALOG)
        self._all = session.prepare(f"SELECT name, record FROM {name}")
        self._one = session.prepare(f"SELECT record FROM {name} WHERE name = ?")
        self._add = session.prepare(f"INSERT INTO {name} (name, record) VALUES (?, ?) IF NOT EXISTS", once=True)
        self._set = session.prepare(f"UPDATE {name} SET record = ? WHERE name = ? IF record = ?", once=True)
        self._remove = session.prepare(f"DELETE FROM {name} WHERE name = ? IF EXISTS", once=True)
        self.look()

    @property
    def families(self) -> dict[str, dict[str, Family]]:
        """The families of each table."""
        return {name: record.families for name, record in self.known.items()}

    def look(self) -> None:
        """Read the catalogue now."""
        self._looked_ns = self._monotonic_ns()
        rows = cast("list[tuple[str, str]]", self._session.ask(self._all))
        self.known = {name: _decode(text) for name, text in rows}

    def record(self, table: str) -> Record:
        """What is known of a table, at most a second old. Raises NotFound."""
        if self._monotonic_ns() - self._looked_ns > FRESH_NS or table not in self.known:
            self.look()
        found = self.known.get(table)
        if found is None:
            raise no_table(table, self.known)
        return found

    def keeps_versions(self, table: str, family: str) -> bool:
        """Whether cells of a family lie beside older ones, as far as it is known."""
        record = self.known.get(table)
        return record is not None and family in record.families and record.families[family].versions > 1

    def statements(self, table: str) -> Statements:
        """The prepared statements of a table that is known."""
        found = self._statements.get(table)
        if found is None:
            with self._lock:
                found = self._statements[table] = self._prepared(table)
        return found

    def define(self, table: Table, buckets: int) -> None:
        """Write a table down and make it, or add to what is written down of it."""
        for _ in range(MOST_TRIES):
            if self._defined(table, buckets):
                self.look()
                return
        raise Unavailable("too many processes define the table at once", where=table.name)

    def drop(self, name: str) -> None:
        """Forget a table, and remove it."""
        self._session.ask(self._remove, name)
        self._session.run(f"DROP TABLE IF EXISTS {named(self._keyspace, name)}")
        self._statements.pop(name, None)
        self.look()

    def _prepared(self, table: str) -> Statements:
        """One that is written down is waited for until its node knows it. Raises NotFound for one that has gone."""
        end_ns = self._monotonic_ns() + 2 * WAIT_NS
        while True:
            try:
                return prepare(self._session, named(self._keyspace, table))
            except NotFound:
                self.look()
                if table not in self.known or self._monotonic_ns() > end_ns:
                    raise
            self._wait_for(table)
            time.sleep(REST_S)

    def _defined(self, table: Table, buckets: int) -> bool:
        """Try to define a table; False: another process has changed it meanwhile."""
        found = cast("list[tuple[str]]", self._session.ask(self._one, table.name))
        if not found:
            record = _encode(Record(table.families, buckets, table.lead_bytes))
            if not self._applied(self._add, table.name, record):
                return False
            self._session.run(create(named(self._keyspace, table.name)))
            return True
        before = _decode(found[0][0])
        record = _encode(msgspec.structs.replace(before, families=extended(before.families, table)))
        if record != found[0][0] and not self._applied(self._set, record, table.name, found[0][0]):
            return False
        self._wait_for(table.name)
        return True

    def _applied(self, change: object, *values: object) -> bool:
        return bool(self._session.ask(change, *values)[0][0])

    def _wait_for(self, name: str) -> None:
        """Wait for the table, which whoever wrote it down makes: two processes that did so at once would make two."""
        end_ns = self._monotonic_ns() + WAIT_NS
        while not self._there(name):
            if self._monotonic_ns() > end_ns:
                self._session.run(create(named(self._keyspace, name)))
                return
            time.sleep(REST_S)

    def _there(self, table: str) -> bool:
        text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s AND table_name = %s"
        return bool(self._session.run(text, self._keyspace, table))

    def _make_keyspace(self, replication: int) -> None:
        if self._there(CATALOG):
            return
        self._session.run(
            f'CREATE KEYSPACE IF NOT EXISTS "{self._keyspace}" WITH replication ='
            f" {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication}}}"
        )
        name = named(self._keyspace, CATALOG)
        self._session.run(f"CREATE TABLE IF NOT EXISTS {name} (name text PRIMARY KEY, record text)")


def _encode(record: Record) -> str:
    return msgspec.json.encode(record).decode()
