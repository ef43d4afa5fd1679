"""A store that does not answer, and has no time limit of its own, keeps nobody from what is in other stores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kaname.clock import SystemClock
from kaname.features.files import stamp_of
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.schemas import load
from kaname.features.views.loading import examine
from kaname.project import Files
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import CellStore
from tests.features.views.far import Far, far_store
from tests.processes import until

SCHEMAS = """
define relation user { id string key, age int32 };
define schema users for user on cells("far") { table "users", row id, family "f", value pack[age] };
define relation item { id string key, price float64 };
define schema items for item on cells("near") { table "items", row id, family "f", value pack[price] };
"""
VIEW = "name: items\nentity: [id]\nreads: [{relation: item, features: {price: }}]\n"
SOON_S = 10.0


class Waited:
    """A far store that says how many wait for it."""

    def __init__(self, store: CellStore) -> None:
        self._store = store
        self.waiting = 0

    def get(self, *given: Any, **named: Any) -> Any:
        self.waiting += 1
        try:
            return self._store.get(*given, **named)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """It ends with its process."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """A process that can be frozen."""
    with far_store(tmp_path / "far") as store:
        yield store


def soon(work: Callable[[], object]) -> None:
    """Fails where it takes longer than a moment."""
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(SOON_S)
    assert not worker.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("changed", [False, True], ids=["looking", "with a changed file"])
def test_who_follows_a_frozen_store_holds_nobody_up(tmp_path: Path, far: Far, changed: bool) -> None:
    """Relations and views of another store are opened, listed and closed meanwhile; the frozen one goes on later."""
    root, clock = tmp_path, SystemClock()
    (root / "features").mkdir()
    (root / "features" / "all.schema").write_text(SCHEMAS)
    (root / "features" / "items.view.yaml").write_text(VIEW)
    waited, files = Waited(far.store), Files(root)

    def store(name: StoreName) -> CellStore:
        if name.name == "far":
            return waited
        (root / "near").mkdir(exist_ok=True)
        return LmdbCells(root / "near", clock)

    features = Features(
        lambda: load(root, files.text),
        store,
        clock,
        lambda schemas: examine(root, schemas, files.examined),
        stamp=lambda: stamp_of(root),
        is_quick=lambda name: name.name == "near",
    )
    users = features.relation("user")
    users.insert([{"id": "u1", "age": 1}])
    far.freeze()
    if changed:
        (root / "features" / "all.schema").write_text(f"{SCHEMAS}# changed\n")
    until(lambda: waited.waiting > 0, "the follower waits for the store")
    soon(lambda: features.relation("item").insert([{"id": "i1", "price": 2.5}]))
    soon(lambda: features.view("items").read({"id": "i1"}))
    assert features.view("items").read({"id": "i1"}) == {"price": 2.5}
    assert features.names() == features.placed() == ["item", "user"]
    far.resume()
    assert users.get({"id": "u1"}) is not None
    far.freeze()
    until(lambda: waited.waiting > 0, "the follower waits again")
    soon(features.close)
