"""Batches in HBase: each row at once, many rows in one call where they only put or only delete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from kaname.storage.cells.hbase.catalog import Catalog
from kaname.storage.cells.hbase.driver import Pool, idl
from kaname.storage.cells.types import CELL_BYTES, MUTATION_BYTES, Delete, Mutation

CALL_BYTES = 2 * 1024 * 1024
CALL_ROWS = 500
"""About how much goes in one call (at least one row)."""
FSYNC = idl.TDurability.FSYNC_WAL
LATEST_US = 2**63 - 1
"""Is no timestamp in HBase: it means now."""

_Call: TypeAlias = tuple[str, bytes, object]
"""A verb, a table, and what changes there."""


class _Row(NamedTuple):
    """What changes in a row, and the bytes of that."""

    put: Any
    deletes: list[Any]
    size: int


def write(pool: Pool, catalog: Catalog, mutations: Sequence[Mutation]) -> None:
    """Have mutations applied that have timestamps, which settle their order."""
    tables: dict[str, dict[bytes, list[Mutation]]] = {}
    for one in mutations:
        tables.setdefault(one.table, {}).setdefault(one.row, []).append(one)
    calls: list[_Call] = []
    for table, changes in tables.items():
        name = catalog.name(table)
        rows = [_row(row, some) for row, some in changes.items()]
        puts = [(row.put, row.size) for row in rows if not row.deletes]
        deletes = [(delete, row.size) for row in rows if row.put is None for delete in row.deletes]
        calls += [("putMultiple", name, some) for some in _together(puts)]
        calls += [("deleteMultiple", name, some) for some in _together(deletes)]
        calls += [("mutateRow", name, _whole(row)) for row in rows if row.put is not None and row.deletes]
    pool.each(lambda call: pool.call(*call), calls)


def _row(row: bytes, mutations: Sequence[Mutation]) -> _Row:
    """Of two values of one cell the later one counts; a delete takes what is older wherever it stands."""
    cells: dict[tuple[bytes, bytes, int], bytes] = {}
    deletes = []
    size = 0
    for one in mutations:
        size += MUTATION_BYTES + len(row)
        if isinstance(one, Delete):
            deletes.append(_delete(one))
            continue
        for qualifier, value in one.values.items():
            cells[one.family.encode(), qualifier, _stamp(one.timestamp_us)] = value
            size += CELL_BYTES + len(qualifier) + len(value)
    if not cells:
        return _Row(None, deletes, size)
    values = [
        idl.TColumnValue(family=family, qualifier=qualifier, value=value, timestamp=stamp)
        for (family, qualifier, stamp), value in cells.items()
    ]
    return _Row(idl.TPut(row=row, columnValues=values, durability=FSYNC), deletes, size)


def _delete(delete: Delete) -> Any:
    until = _stamp(delete.until_us)
    if delete.family is None:
        return idl.TDelete(row=delete.row, timestamp=until, durability=FSYNC)
    family = delete.family.encode()
    if delete.qualifiers is None:
        kind, columns = idl.TDeleteType.DELETE_FAMILY, [idl.TColumn(family=family, timestamp=until)]
    else:
        kind = idl.TDeleteType.DELETE_COLUMNS
        columns = [idl.TColumn(family=family, qualifier=one, timestamp=until) for one in delete.qualifiers]
    return idl.TDelete(row=delete.row, columns=columns, deleteType=kind, durability=FSYNC)


def _whole(row: _Row) -> Any:
    """Puts and deletes of a row, which HBase applies at once."""
    mutations = [idl.TMutation(deleteSingle=delete) for delete in row.deletes]
    return idl.TRowMutations(row=row.put.row, mutations=[*mutations, idl.TMutation(put=row.put)])


def _together(changes: Sequence[tuple[Any, int]]) -> Iterator[list[Any]]:
    some: list[Any] = []
    size = 0
    for change, more in changes:
        if some and (size + more > CALL_BYTES or len(some) == CALL_ROWS):
            yield some
            some, size = [], 0
        some.append(change)
        size += more
    if some:
        yield some


def _stamp(timestamp_us: int | None) -> int:
    assert timestamp_us is not None
    return min(timestamp_us, LATEST_US - 1)
