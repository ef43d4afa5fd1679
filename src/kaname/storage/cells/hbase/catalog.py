"""Which tables there are: HBase's own descriptors, which hold what families keep, and what a process knows of them."""

from __future__ import annotations

from typing import Any

from kaname.clock import Clock
from kaname.errors import DeadlineExceeded, Unavailable
from kaname.storage.cells.checked import no_table
from kaname.storage.cells.hbase.driver import Pool, idl
from kaname.storage.cells.types import Family, Table

FRESH_NS = 1_000_000_000
FORBEARANCE_NS = 10_000_000_000
"""What is known is good for so long where the master does not answer: rows are read and written without it."""
FIRST_S = 10.0
"""Longest wait for the first answer: a Thrift server that has just started finds its HBase then."""
CHANGE_S = 60.0
"""Longest wait for a change of a table."""
TTL = b"KANAME_TTL_S"
"""Attribute of a family. HBase's own time to live takes timestamps for milliseconds; cells have microseconds."""


class Catalog:
    """The tables of a namespace, which it makes if need be."""

    def __init__(self, pool: Pool, namespace: str, clock: Clock) -> None:
        self._pool = pool
        self._namespace = namespace
        self._monotonic_ns = clock.monotonic_ns
        self._looked_ns = 0
        self.families: dict[str, dict[str, Family]] = {}
        if namespace.encode() not in pool.patiently(FIRST_S, "listNamespaces"):
            self._once("createNamespace", "NamespaceExistException", idl.TNamespaceDescriptor(name=namespace))
        self.look()

    def name(self, table: str) -> bytes:
        """A table as HBase names it."""
        return f"{self._namespace}:{table}".encode()

    def look(self) -> None:
        """Ask for the tables now."""
        self._looked_ns = self._monotonic_ns()
        found = self._pool.call("getTableDescriptorsByNamespace", self._namespace)
        self.families = {one.tableName.qualifier.decode(): _families(one.columns) for one in found}

    def known(self, table: str) -> dict[str, Family]:
        """The families of a table, as of a second ago. Raises NotFound."""
        if table not in self.families:
            self.look()
        elif self._monotonic_ns() - self._looked_ns > FRESH_NS:
            self._try_to_look()
        found = self.families.get(table)
        if found is None:
            raise no_table(table, self.families)
        return found

    def define(self, table: Table) -> None:
        """Make a table, or add to it."""
        name = idl.TTableName(ns=self._namespace.encode(), qualifier=table.name.encode())
        self.look()
        if table.name not in self.families:
            columns = [_column(*family) for family in table.families.items()]
            descriptor = idl.TTableDescriptor(tableName=name, columns=columns)
            self._once("createTable", "TableExistsException", descriptor, None)
            self.look()
        there = self.families.get(table.name, {})
        for family, kept in table.families.items():
            if family not in there:
                self._once("addColumnFamily", "already exists", name, _column(family, kept))
            if there.get(family) != kept:
                self._pool.patiently(CHANGE_S, "modifyColumnFamily", name, _column(family, kept))
        self.look()

    def drop(self, table: str) -> None:
        """Remove a table."""
        self.look()
        if table in self.families:
            name = idl.TTableName(ns=self._namespace.encode(), qualifier=table.encode())
            self._once("disableTable", "TableNotEnabledException", name)
            self._pool.patiently(CHANGE_S, "deleteTable", name)
            self.look()

    def _try_to_look(self) -> None:
        try:
            self.look()
        except (Unavailable, DeadlineExceeded):
            self._looked_ns = self._monotonic_ns() + FORBEARANCE_NS

    def _once(self, verb: str, done: str, *arguments: object) -> None:
        """Make a change that may have been made already: by another process, or by a call that was repeated."""
        try:
            self._pool.patiently(CHANGE_S, verb, *arguments)
        except Unavailable as error:
            if done not in (error.found or ""):
                raise


def _families(columns: list[Any]) -> dict[str, Family]:
    found = {}
    for one in sorted(columns, key=lambda one: one.name):
        ttl = one.attributes.get(TTL, b"")
        found[one.name.decode()] = Family(float(ttl) if ttl else None, one.maxVersions)
    return found


def _column(name: str, family: Family) -> Any:
    ttl = b"" if family.ttl_s is None else repr(family.ttl_s).encode()
    return idl.TColumnFamilyDescriptor(name=name.encode(), attributes={TTL: ttl}, maxVersions=family.versions)
