"""Where cells are kept that schemas put into `cells("NAME")`, `cassandra("NAME")` or `hbase("NAME")`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kaname.secret import Secret
from kaname.settings.units import Count, Millis

CellsName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,47}$")]
Consistency = Literal["one", "two", "quorum", "all", "local_one", "local_quorum", "each_quorum"]


class CellsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One store of cells."""

    kind: Literal["lmdb", "cassandra", "hbase"] = "lmdb"
    """`lmdb`: a folder of the project. `cassandra`, `hbase`: a cluster; each needs the extra that is called so."""
    addresses: tuple[str, ...] = ("localhost",)
    """`host` or `host:port`: nodes of Cassandra (9042) to begin with, or Thrift 2 servers of HBase (9090)."""
    keyspace: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,47}$")] = "kaname"
    """Keyspace of Cassandra or namespace of HBase; made if it is not there."""
    user: str | None = None
    """Who connects to Cassandra; None: no authentication."""
    password: Secret | None = None
    """Its password."""
    password_file: str | None = None
    """File that holds it."""
    ca_file: str | None = None
    """PEM file of the authorities that vouch for Cassandra's nodes, which speak TLS then; None: no TLS."""
    timeout_ms: Annotated[float, Meta(ge=10)] = 2_000
    """Longest wait for one answer of the store, with all that is tried again."""
    hedge_ms: Millis = 100
    """Another node of Cassandra is asked as well when one has not answered after so long; 0: never."""
    consistency: Consistency = "local_quorum"
    """How many copies Cassandra reads and writes; below a quorum, what was written may not be read at once."""
    datacenter: str = ""
    """Whose nodes of Cassandra are asked; empty: that of the node that answers first."""
    replication: Annotated[int, Meta(ge=0)] = 0
    """Copies of each row where the keyspace is made here; 0: three, or as many as there are nodes."""
    buckets: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Partitions that the rows of a new table are spread over in Cassandra; some 100 MB in each are good."""
    connections: Count = 8
    """Most connections of a process to HBase."""
