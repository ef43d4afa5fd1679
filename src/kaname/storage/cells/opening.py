"""Opens the store of cells that settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from kaname.clock import Clock
from kaname.errors import InvalidInput
from kaname.settings import CellsSettings
from kaname.storage.cells.types import CellStore

if TYPE_CHECKING:
    from kaname.storage.cells.cassandra.driver import Nodes
    from kaname.storage.cells.hbase.driver import Servers


def cell_settings(stores: Mapping[str, CellsSettings], kind: str, name: str) -> CellsSettings:
    """The settings of a store that a schema calls so: `cells("main")` is whatever they say, embedded if they say
    nothing; `cassandra("…")` and `hbase("…")` name one of that kind, or an address. Raises InvalidInput."""
    found = stores.get(name)
    if found is None and kind == "cells":
        return CellsSettings()
    if found is None:
        return msgspec.convert({"kind": kind, "addresses": [name]}, CellsSettings)
    if kind not in ("cells", found.kind):
        expected = f'`kind: {kind}`, or cells("{name}") in the schema'
        raise InvalidInput("another kind of store", where=f"cells.{name}.kind", found=found.kind, expected=expected)
    return found


def open_cells(settings: CellsSettings, folder: Path, clock: Clock, *, called: str = "cells.NAME") -> CellStore:
    """The store; an embedded one is in `folder`; `called`: where its settings are, for errors. Raises InvalidInput,
    MissingDependency, Unavailable, OSError."""
    if settings.kind == "cassandra":
        return _cassandra(settings, clock, called)
    if settings.kind == "hbase":
        return _hbase(settings, clock)
    from kaname.storage.cells.lmdb.store import LmdbCells

    return LmdbCells(folder, clock)


def located(settings: CellsSettings, root: Path) -> CellsSettings:
    """The settings with their file as seen from the project's folder."""
    if settings.ca_file is None:
        return settings
    return msgspec.structs.replace(settings, ca_file=str(root / settings.ca_file))


def danger_of(settings: CellsSettings, *, called: str = "cells.NAME") -> str:
    """Ask the servers of a store whether they answer, and how they keep what is written; changes nothing.

    Returns what is dangerous about that, mostly nothing. Raises what `open_cells` does.
    """
    if settings.kind == "cassandra":
        from kaname.storage.cells.cassandra import durability
        from kaname.storage.cells.cassandra.driver import Session

        with closing(Session(_nodes(settings, called))) as session:
            return durability.danger_of(session)
    if settings.kind == "hbase":
        from kaname.storage.cells.hbase.driver import Pool

        with closing(Pool(_servers(settings))) as pool:
            pool.call("listNamespaces")
    return ""


def _cassandra(settings: CellsSettings, clock: Clock, called: str) -> CellStore:
    from kaname.storage.cells.cassandra.store import CassandraCells

    return CassandraCells(
        _nodes(settings, called),
        clock,
        keyspace=settings.keyspace,
        replication=settings.replication,
        buckets=settings.buckets,
    )


def _nodes(settings: CellsSettings, called: str) -> Nodes:
    from kaname.storage.cells.cassandra.driver import Nodes

    if settings.user is None and settings.password is not None:
        raise InvalidInput("a password of nobody", where=f"{called}.user", expected="whose it is")
    return Nodes(
        addresses=_addresses(settings, 9042),
        datacenter=settings.datacenter or None,
        consistency=settings.consistency,
        timeout_s=settings.timeout_ms / 1000,
        hedge_s=settings.hedge_ms / 1000,
        user=settings.user,
        password=settings.password,
        ca_file=settings.ca_file,
        settings=called,
    )


def _hbase(settings: CellsSettings, clock: Clock) -> CellStore:
    from kaname.storage.cells.hbase.store import HbaseCells

    return HbaseCells(_servers(settings), clock, namespace=settings.keyspace)


def _servers(settings: CellsSettings) -> Servers:
    from kaname.storage.cells.hbase.driver import Servers

    if settings.user is not None or settings.ca_file is not None:
        raise InvalidInput("HBase's Thrift server knows neither users nor TLS", where="cells", found="user or ca_file")
    return Servers(
        addresses=_addresses(settings, 9090), timeout_s=settings.timeout_ms / 1000, connections=settings.connections
    )


def _addresses(settings: CellsSettings, port: int) -> tuple[tuple[str, int], ...]:
    """Hosts and ports. Raises InvalidInput."""
    return tuple(_address(address, port) for address in settings.addresses)


def _address(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.netloc == text and "@" not in text and " " not in text:
            return parts.hostname, parts.port or port
    except ValueError:
        pass
    raise InvalidInput("not an address", where="cells", found=text, expected="host or host:port")
