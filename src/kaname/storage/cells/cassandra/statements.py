"""How a table of cells is kept in Cassandra, and the statements on it.

A CQL table per table of cells. Rows are spread over a fixed number of partitions ("buckets") by a hash of their keys,
or of the beginning of these; inside of one they lie in the order of their keys. So a row is one place of one partition,
and a scan merges one ordered walk through each bucket that its rows may be in. The columns of the key behind the row:
family, qualifier and `slot`, which is 0 where one version is kept (it is overwritten), and else the timestamp.

The timestamp of a cell is the write timestamp of its CQL column: a late write of an older cell loses against a newer
one, and a deletion takes what is older, in whatever order they come to a replica. Of two values with one timestamp
Cassandra keeps the one with the greater bytes: so each begins with the moment when it was put, and the later one stays.
"""

from __future__ import annotations

from typing import NamedTuple

from kaname.storage.cells.cassandra.driver import Session
from kaname.storage.cells.types import MAX_ROW_BYTES

LAST = b"\xff" * (MAX_ROW_BYTES + 1)
"""Behind every row."""

_KEY = "bucket = ? AND row = ?"
_CELL = "family, qualifier, writetime(value), value"
_FILTERS = ("", " AND family IN ?", " AND family IN ? AND qualifier IN ?")


class Statements(NamedTuple):
    """Prepared statements of one table."""

    put: object
    """timestamp, seconds to live (0: for ever), value, bucket, row, family, qualifier, slot"""
    deletes: tuple[object, ...]
    """timestamp, bucket, row; and family; and qualifier"""
    get: tuple[object, ...]
    """bucket, rows; and families; and qualifiers -> row, family, qualifier, timestamp, value"""
    forwards: tuple[object, ...]
    """bucket, from, to, families, qualifiers, limit -> likewise"""
    backwards: tuple[object, ...]


def create(name: str) -> str:
    """What makes a table; `name` as `named` says it."""
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (bucket int, row blob, family text, qualifier blob, slot bigint,"
        " value blob, PRIMARY KEY (bucket, row, family, qualifier, slot))"
        " WITH CLUSTERING ORDER BY (row ASC, family ASC, qualifier ASC, slot DESC)"
    )


def prepare(session: Session, name: str) -> Statements:
    """The statements of a table; `name` as `named` says it."""
    deletes = ("", " AND family = ?", " AND family = ? AND qualifier = ?")
    read = f"SELECT row, {_CELL} FROM {name} WHERE bucket = ?"
    scan = f"{read} AND row >= ? AND row < ?"
    back = " ORDER BY row DESC"
    return Statements(
        session.prepare(
            f"UPDATE {name} USING TIMESTAMP ? AND TTL ? SET value = ?"
            f" WHERE {_KEY} AND family = ? AND qualifier = ? AND slot = ?"
        ),
        tuple(session.prepare(f"DELETE FROM {name} USING TIMESTAMP ? WHERE {_KEY}{of}") for of in deletes),
        tuple(session.prepare(f"{read} AND row IN ?{of}") for of in _FILTERS),
        tuple(session.prepare(f"{scan}{of} LIMIT ?{_filtering(of)}") for of in _FILTERS),
        tuple(session.prepare(f"{scan}{of}{back} LIMIT ?{_filtering(of)}") for of in _FILTERS),
    )


def named(keyspace: str, table: str) -> str:
    """The name of a table in CQL."""
    return f'"{keyspace}"."{table}"'


def _filtering(of: str) -> str:
    """Cassandra filters inside of the partition: less to send, nothing more to read."""
    return " ALLOW FILTERING" if of else ""
