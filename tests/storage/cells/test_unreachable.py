"""What is said of a Cassandra that nobody reaches."""

from __future__ import annotations

import pytest

from kaname.clock import SystemClock
from kaname.errors import Unavailable
from kaname.storage.cells.cassandra.driver import Nodes
from kaname.storage.cells.cassandra.store import CassandraCells
from tests.servers import free_port


def test_each_node_and_its_reason_is_named() -> None:
    """In words, not as the driver's dictionary."""
    ports = free_port(), free_port()
    nodes = Nodes(addresses=tuple(("127.0.0.1", port) for port in ports), timeout_s=1.0)
    with pytest.raises(Unavailable) as caught:
        CassandraCells(nodes, SystemClock())
    found = str(caught.value.found)
    assert all(f"127.0.0.1:{port}: [Errno 111]" in found for port in ports), found
    assert "{" not in found
