"""Tables of Cassandra that one process makes while others look for them."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from kaname.errors import NotFound
from kaname.storage.cells.types import Cells, CellStore, Family, Table
from tests.cassandra_servers import SERVED, Cassandra

pytestmark = SERVED


def there(store: CellStore, table: str) -> Cells | None:
    """What is read of a row; None: there is no such table."""
    try:
        return store.get(table, b"row", {"f": None})
    except NotFound:
        return None


@pytest.mark.parametrize("number", range(3))
def test_a_table_that_another_process_is_making_is_not_there_yet(cassandra: Cassandra, number: int) -> None:
    """It is written down first and made then; in between a reader is told what it was told before."""
    name = f"made_{number}"
    with closing(cassandra.open()) as maker, closing(cassandra.open()) as reader:
        assert there(reader, name) is None
        making = threading.Thread(target=maker.define, args=[Table(name, {"f": Family()})])
        making.start()
        while making.is_alive():
            assert not there(reader, name)
        making.join()
        assert there(reader, name) == {}
