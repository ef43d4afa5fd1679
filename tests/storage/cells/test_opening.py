"""Which store a schema's name means, by the settings."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import InvalidInput, KanameError, MissingDependency, Unavailable
from kaname.settings import CellsSettings
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.opening import cell_settings, open_cells
from tests.servers import free_port

CASSANDRA = CellsSettings(kind="cassandra", addresses=("a", "b:19042"), keyspace="features")


def test_what_a_schema_calls_cells_is_what_the_settings_say() -> None:
    """Embedded without a word; else whatever kind is named, which the schema may name as well."""
    assert cell_settings({}, "cells", "main") == CellsSettings()
    assert cell_settings({"main": CASSANDRA}, "cells", "main") == CASSANDRA
    assert cell_settings({"main": CASSANDRA}, "cassandra", "main") == CASSANDRA


def test_a_name_that_no_setting_has_is_an_address() -> None:
    """As in the figure: `hbase("localhost")`."""
    assert cell_settings({}, "hbase", "localhost") == CellsSettings(kind="hbase", addresses=("localhost",))
    found = cell_settings({"main": CASSANDRA}, "cassandra", "db:1")
    assert found == CellsSettings(kind="cassandra", addresses=("db:1",))


def test_a_store_of_another_kind_is_refused() -> None:
    """A schema on HBase is not written to Cassandra because both are called so."""
    with pytest.raises(InvalidInput, match=r"cells\.main\.kind: another kind of store; found cassandra"):
        cell_settings({"main": CASSANDRA}, "hbase", "main")


def test_an_embedded_store_is_in_its_folder(tmp_path: Path) -> None:
    """It makes the folder, and those above it."""
    store = open_cells(CellsSettings(), tmp_path / "cells" / "main", SystemClock())
    assert isinstance(store, LmdbCells)
    store.close()
    assert (tmp_path / "cells" / "main").is_dir()


@pytest.mark.parametrize("address", ["", "host:port", "http://host", "a b", "host/path", "user@host"])
@pytest.mark.parametrize("kind", ["cassandra", "hbase"])
def test_what_is_no_address_is_refused(tmp_path: Path, kind: str, address: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(InvalidInput, match="not an address"):
        open_cells(cell_settings({}, kind, address), tmp_path, SystemClock())


@pytest.mark.parametrize("said", [{"user": "u"}, {"ca_file": "ca.pem"}])
def test_what_hbase_does_not_have_is_refused(tmp_path: Path, said: dict[str, str]) -> None:
    """A password that nobody asks for would be a false comfort."""
    with pytest.raises(InvalidInput, match="knows neither users nor TLS"):
        open_cells(CellsSettings(kind="hbase", **said), tmp_path, SystemClock())  # type: ignore[arg-type]  # strings all


@pytest.mark.parametrize("kind", ["cassandra", "hbase"])
def test_a_server_that_is_not_there_is_said_at_once(tmp_path: Path, kind: str) -> None:
    """Nobody listens: opening a store names where it looked."""
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(Unavailable, match=address) as told:
        open_cells(cell_settings({}, kind, address), tmp_path, SystemClock())
    assert isinstance(told.value, KanameError)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("kind", "driver"), [("cassandra", "cassandra"), ("hbase", "thriftpy2")])
def test_a_driver_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, kind: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how to install it."""
    monkeypatch.setitem(sys.modules, driver, None)
    for module in [name for name in sys.modules if name.startswith(f"kaname.storage.cells.{kind}.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MissingDependency, match=rf"pip install 'kaname\[{kind}\]'"):
        open_cells(cell_settings({}, kind, "localhost"), tmp_path, SystemClock())
