"""Programs of one project as its features see them, and writers that know what must be there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from kaname.clock import SystemClock
from kaname.errors import Conflict
from kaname.features.files import stamp_of
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.relayout.running import Relayouts
from kaname.features.schemas import load
from kaname.project import Files
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import CellStore
from kaname.storage.sole import Sole

RELATION = "define relation order { user string key, n int32 key, item string, price float64 };\n"
OLD = """define schema by_user for order on cells("main") {
  table "by_user", row size{user}:n, family "f", qualifier attr_name[item, price], value attr_value[item, price]
};
"""
NEW = """define schema by_n for order on cells("%s") {
  table "by_n", row n:user, family "g", value pack[price, item]
};
"""


def write(project: Path, text: str) -> None:
    """What the project's only schema file says from now on."""
    folder = project / "features"
    folder.mkdir(exist_ok=True)
    fresh = folder / "fresh"
    fresh.write_text(text)
    fresh.replace(folder / "order.schema")


class Program:
    """One process of a project, as far as features go."""

    def __init__(self, project: Path, owner: str = "node:1", pause: Callable[[float], None] | None = None) -> None:
        """`pause`: waits until every process uses what was published; None: as long as it takes."""
        self._project = project
        clock = SystemClock()
        self.features = Features(
            lambda: load(project, Files(project).text),
            self._store,
            clock,
            stamp=lambda: stamp_of(project),
            known=lambda: [StoreName("cells", path.name) for path in project.glob("cells/*")],
        )
        self.relayouts = Relayouts(self.features, clock, owner, self._alone, Random(1), pause or time.sleep)

    def _store(self, name: StoreName) -> CellStore:
        folder = self._project / "cells" / name.name
        folder.mkdir(exist_ok=True, parents=True)
        return LmdbCells(folder, SystemClock())

    @contextmanager
    def _alone(self, relation: str) -> Iterator[None]:
        claim = Sole(self._project / f"{relation}.lock")
        if not claim.held():
            raise Conflict("another process does it", where=relation)
        try:
            yield
        finally:
            claim.release()


class Writer(threading.Thread):
    """Inserts, overwrites, empties and deletes rows of its own without pause, and knows what must be there."""

    def __init__(self, features: Features, user: str, seed: int, keys: int = 40) -> None:
        super().__init__(daemon=True)
        self.expected: dict[int, dict[str, object]] = {}
        self.writes = 0
        self.error: BaseException | None = None
        self._relation = features.relation("order")
        self._user = user
        self._keys = keys
        self._random = Random(seed)
        self._leave = threading.Event()

    def run(self) -> None:
        try:
            while not self._leave.is_set():
                self.write()
        except BaseException as error:  # noqa: BLE001  (raised where it is joined)
            self.error = error

    def write(self) -> None:
        """One call, of one to three rows."""
        keys = self._random.sample(range(self._keys), self._random.randint(1, 3))
        self.writes += 1
        if self._random.random() < 0.4:
            self._relation.delete([{"user": self._user, "n": n} for n in keys])
            for n in keys:
                self.expected.pop(n, None)
            return
        rows: list[dict[str, object]] = []
        for n in keys:
            item = self._random.choice([None, f"item {self.writes}"])
            rows.append(
                {"user": self._user, "n": n, "item": item, "price": self._random.choice([None, float(self.writes)])}
            )
        self._relation.insert(rows)
        self.expected |= dict(zip(keys, rows, strict=True))

    def end(self) -> None:
        """Stop; raises what it ran into."""
        self._leave.set()
        self.join()
        if self.error is not None:
            raise self.error


def rows_of(features: Features, user: str) -> list[dict[int, dict[str, object]]]:
    """The rows of a user in each layout that is read, by number."""
    order = features.relation("order")
    found = []
    for layout in order.layouts:
        rows = [row for row in order.scan(layout, layout.span({})) if row["user"] == user]
        found.append({number(row): {name: row[name] for name in order.relation.names} for row in rows})
    return found


def number(row: dict[str, object]) -> int:
    """Its key beside the user."""
    n = row["n"]
    assert isinstance(n, int)
    return n
