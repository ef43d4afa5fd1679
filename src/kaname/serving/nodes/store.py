"""The tables of a cluster: its nodes, and the change that they switch to together.

Times are those of the database server, so that nodes need not agree on one.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, delete, insert, select, text, update

from kaname.serving.nodes.types import NodeFacts, NodeInfo, Seen
from kaname.storage.sql.schema import journal_head, metadata

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("address", String(255), nullable=False),
    Column("release", String(32), nullable=False),
    Column("workers", Integer, nullable=False),
    Column("loading", BigInteger, nullable=False),
    Column("prepared", BigInteger, nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)
"""One row per node that serves or did lately. `loading`: the version that a worker loads, or 0."""

switches = Table(
    "switches",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
"""One row (id 1): nodes that have prepared change `number` answer from it from the moment `at_us` on."""

_NOW = {
    "postgresql": "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
}
_NOW_MYSQL = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"


def now_us(conn: Connection) -> int:
    """What the database's clock says, in µs since the Unix epoch."""
    return int(conn.execute(text(_NOW.get(conn.dialect.name, _NOW_MYSQL))).scalar_one())


def write(conn: Connection, node: NodeFacts, at_us: int) -> None:
    """The node is there, and this far."""
    values = {name: getattr(node, name) for name in node.__struct_fields__} | {"seen_us": at_us}
    if not conn.execute(update(nodes).where(nodes.c.id == node.id).values(**values)).rowcount:
        conn.execute(insert(nodes).values(**values))


def read(conn: Connection) -> Seen:
    """The journal's number and the switch."""
    columns = (journal_head.c.number, switches.c.number.label("switch"), switches.c.at_us)
    both = journal_head.join(switches, switches.c.id == journal_head.c.id)
    row = conn.execute(select(*columns).select_from(both).where(journal_head.c.id == 1)).one()
    return Seen(newest=row.number, switch=row.switch, at_us=row.at_us)


def all_nodes(conn: Connection) -> list[NodeInfo]:
    """Every node that is known."""
    found = [NodeInfo(**dict(row._mapping)) for row in conn.execute(select(nodes))]
    return sorted(found, key=lambda node: (node.name, node.id))


def switch(conn: Connection, number: int, at_us: int) -> None:
    """Let the nodes answer from `number` from `at_us` on; never goes back."""
    conn.execute(
        update(switches).where(switches.c.id == 1, switches.c.number < number).values(number=number, at_us=at_us)
    )


def forget(conn: Connection, node_id: str) -> None:
    """The node has left."""
    conn.execute(delete(nodes).where(nodes.c.id == node_id))


def forget_unseen(conn: Connection, before_us: int) -> None:
    """Nodes that were last seen before then are gone for good."""
    conn.execute(delete(nodes).where(nodes.c.seen_us < before_us))
