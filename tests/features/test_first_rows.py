"""The first rows of a relation while its file becomes another one: none is ever read as what it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kaname.clock import SystemClock
from kaname.errors import Conflict, InvalidInput
from kaname.features.files import stamp_of
from kaname.features.opened import Features
from kaname.features.schemas import load
from kaname.project import Files
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import Mutation, Put, Row

OLD = """
define relation user with history { id string key, age int32 };
define schema by_id for user on cells("main") { table "users", row id, family "f", value pack[age] };
"""
NEW = OLD.replace("age int32", "age string").replace("row id,", "row size{id},")
T = datetime(2026, 1, 1, tzinfo=UTC)
ROW, OTHER = {"id": "u1", "age": 41}, {"id": "u1", "age": "old"}


class Hooked(LmdbCells):
    """A store that does something each time when rows of users were looked for, or once before some are written."""

    looked: Sequence[Callable[[], object]] = ()
    writes: Callable[[], object] | None = None

    def scan(self, table: str, *given: Any, **named: Any) -> Iterator[Row]:
        rows = list(super().scan(table, *given, **named))
        if table == "users" and self.looked:
            now, *self.looked = self.looked
            now()
        return iter(rows)

    def write(self, mutations: Sequence[Mutation]) -> None:
        if self.writes is not None and any(type(each) is Put and each.table == "users" for each in mutations):
            writes, self.writes = self.writes, None
            writes()
        super().write(mutations)


class Program:
    """One process, as far as the store goes; its files are what they were when it looked last."""

    def __init__(self, project: Path, text: str) -> None:
        (project / "cells").mkdir(exist_ok=True)
        (project / "features").mkdir(exist_ok=True)
        self.file = project / "features" / "user.schema"
        self.file.write_text(text)
        self.store = Hooked(project / "cells", SystemClock())
        self.features = Features(
            lambda: load(project, Files(project).text),
            lambda _: self.store,
            SystemClock(),
            stamp=lambda: stamp_of(project),
        )


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[tuple[Program, Program]]:
    """One that writes as of the old file, and one that has the new one; both share a store."""
    for name in ("writer", "other"):
        (tmp_path / name).mkdir()
    writer = Program(tmp_path / "writer", OLD)
    writer.features.relation("user")
    (tmp_path / "other" / "cells").symlink_to(tmp_path / "writer" / "cells")
    other = Program(tmp_path / "other", NEW)
    yield writer, other
    writer.features.close()
    other.features.close()


@pytest.mark.parametrize(("looks", "version"), [(1, 1), (2, 3)], ids=["before it", "while it is brought into force"])
def test_who_writes_before_the_change_can_be_seen_is_first(
    programs: tuple[Program, Program], looks: int, version: int
) -> None:
    """The change is not made, or taken back, and refused as if the row had been there all the time."""
    writer, other = programs
    write = partial(writer.features.relation("user").insert, [ROW])
    other.store.looked = [*[lambda: None] * (looks - 1), write]
    with pytest.raises(Conflict, match=r"the stored values have another type"):
        other.features.apply()
    users = writer.features.relation("user")
    assert users.get({"id": "u1"}) == ROW
    assert other.features.record("user").version == version
    assert other.features.relation("user").get({"id": "u1"}) == ROW
    writer.features.relation("user").insert([{**ROW, "age": 42}])
    assert other.features.relation("user").get({"id": "u1"}) == {**ROW, "age": 42}


@pytest.mark.parametrize("at", [None, T], ids=["now", "of earlier"])
def test_who_writes_behind_the_change_writes_as_of_that_or_nothing(
    programs: tuple[Program, Program], at: datetime | None
) -> None:
    """Of a row that the relation cannot hold any more neither that nor its history is there."""
    writer, other = programs
    users = writer.features.relation("user")
    writer.store.writes = other.features.apply
    with pytest.raises(InvalidInput if at is None else Conflict, match=r"not a value|nothing was written"):
        users.insert([ROW], at=at)
    assert list(other.store.scan("users")) == []
    assert list(users.changes()) == []
    users.insert([OTHER])
    assert other.features.relation("user").get({"id": "u1"}) == OTHER
    assert [change.row for change in users.changes()] == [OTHER]


def test_a_row_that_both_can_hold_is_written_as_of_the_change(programs: tuple[Program, Program]) -> None:
    """Its old bytes are gone."""
    writer, other = programs
    other.file.write_text(OLD.replace("row id,", "row size{id},"))
    users = writer.features.relation("user")
    writer.store.writes = other.features.apply
    users.insert([ROW])
    assert [row.key for row in other.store.scan("users")] == [b"\x00\x02u1"]
    assert other.features.relation("user").get({"id": "u1"}) == users.get({"id": "u1"}) == ROW
    assert [change.row for change in users.changes()] == [ROW]


def test_a_row_refuses_the_change(programs: tuple[Program, Program]) -> None:
    """As ever; the next write is as good as the first."""
    writer, other = programs
    users = writer.features.relation("user")
    users.insert([ROW])
    with pytest.raises(Conflict):
        other.features.apply()
    users.insert([ROW])
    assert other.features.relation("user").get({"id": "u1"}) == ROW
