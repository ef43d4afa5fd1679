"""Relations follow their files and the stores while a program holds them: several programs on one store, no restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import Conflict, InvalidInput, KanameError
from kaname.features.files import stamp_of
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.schemas import load
from kaname.features.turns import Note
from kaname.project import Files
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import CellStore, Put
from tests.processes import until

TEXT = """
define relation user { id string key, age int32 };
define schema by_id for user on cells("main") { table "users", row id, family "f", value pack[age] };
"""
MORE = TEXT.replace("age int32 }", "age int32, city string }").replace("pack[age]", "pack[age, city]")
OTHER = TEXT.replace("age int32", "age int64")
ROW, KEY = {"id": "u1", "age": 41}, {"id": "u1"}

Make = Callable[[], Features]


class Program:
    """One process of a project, as far as features go; with the changes that it has journaled."""

    def __init__(self, project: Path, *, adopts: bool = True) -> None:
        self.noted: list[tuple[str, str]] = []
        self._project = project
        self.features = Features(
            lambda: load(project, Files(project).text),
            self._store,
            SystemClock(),
            stamp=lambda: stamp_of(project),
            adopts=adopts,
            turn=self._turn,
        )

    def _store(self, name: StoreName) -> CellStore:
        folder = self._project / name.name
        folder.mkdir(exist_ok=True)
        return LmdbCells(folder, SystemClock())

    def _turn(self) -> AbstractContextManager[Note]:
        @contextmanager
        def turn() -> Iterator[Note]:
            yield lambda relation, what: self.noted.append((relation, what))

        return turn()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the schema above."""
    (tmp_path / "features").mkdir()
    write(tmp_path, TEXT)
    return tmp_path


@pytest.fixture
def start(project: Path) -> Iterator[Callable[[], Program]]:
    """Starts programs, and ends them all."""
    started: list[Program] = []

    def begin() -> Program:
        started.append(Program(project))
        return started[-1]

    yield begin
    for program in started:
        program.features.close()


def write(project: Path, text: str) -> None:
    """Put another file in the place of the one that is there."""
    fresh = project / "features" / "fresh"
    fresh.write_text(text)
    fresh.replace(project / "features" / "user.schema")


def test_a_new_attribute_is_used_by_every_program_without_a_restart(
    project: Path, start: Callable[[], Program]
) -> None:
    """The relation that a program holds follows; old rows read null; one of the programs has recorded it, once."""
    one, two = start(), start()
    users, same = one.features.relation("user"), two.features.relation("user")
    users.insert([ROW])
    generation = users.placement.generation
    write(project, MORE)
    for relation in (users, same):
        until(lambda: "city" in relation.relation.names, "the new attribute is there")  # noqa: B023  (called at once)
        assert relation.get(KEY) == {**ROW, "city": None}
    same.insert([{**ROW, "city": "Tokyo"}])
    assert users.get(KEY) == {**ROW, "city": "Tokyo"}
    assert users.placement.generation > generation
    noted = [what for _, what in one.noted + two.noted]
    assert noted.count("relation user: attribute city string is new; null in old rows") >= 1
    assert one.features.record("user").version == two.features.record("user").version == 2


def test_a_bad_file_changes_nothing_and_a_good_one_is_taken_then(project: Path, start: Callable[[], Program]) -> None:
    """Whether it cannot be read or would misread rows; a program that starts then goes on with what is stored."""
    one = start()
    users = one.features.relation("user")
    users.insert([ROW])
    for bad in ("define relation", OTHER):
        write(project, bad)
        one.features.look()
        assert users.get(KEY) == ROW
        users.insert([ROW])
    with pytest.raises(Conflict, match=r"the stored values have another type.*`int32`, as stored"):
        start().features.apply()
    other = start().features.relation("user")
    assert other.get(KEY) == ROW
    write(project, MORE)
    one.features.look()
    assert users.get(KEY) == {**ROW, "city": None}


def test_what_one_program_brings_into_force_others_take_from_the_store(
    project: Path, tmp_path_factory: pytest.TempPathFactory, start: Callable[[], Program]
) -> None:
    """Their files may be old: as on a node to which nobody has copied the new ones."""
    start().features.relation("user").insert([ROW])
    elsewhere = tmp_path_factory.mktemp("node")
    (elsewhere / "features").mkdir()
    write(elsewhere, TEXT)
    (elsewhere / "main").symlink_to(project / "main")
    old = Program(elsewhere, adopts=False)
    users = old.features.relation("user")
    write(project, MORE)
    assert start().features.apply() == ["relation user: attribute city string is new; null in old rows"]
    until(lambda: "city" in users.relation.names, "the store says so")
    users.insert([{**ROW, "city": "Kyoto"}])
    assert old.noted == []
    old.features.close()


def test_only_applying_brings_files_into_force_in_a_cluster(project: Path) -> None:
    """A node notices nothing by itself; what it applies is in force."""
    node = Program(project, adopts=False)
    users = node.features.relation("user")
    users.insert([ROW])
    write(project, MORE)
    node.features.look()
    assert users.get(KEY) == ROW
    node.features.apply()
    assert users.get(KEY) == {**ROW, "city": None}
    node.features.close()


def test_without_rows_files_may_say_anything(project: Path, start: Callable[[], Program]) -> None:
    """Somebody is only trying; a table with rows of another relation stays what it is."""
    one = start()
    users = one.features.relation("user")
    write(project, OTHER.replace('"users"', '"people"'))
    one.features.look()
    users.insert([{"id": "u1", "age": 1 << 40}])
    assert users.get(KEY) == {"id": "u1", "age": 1 << 40}
    taken = 'define relation b { id string key }; define schema b for b on cells("main") { table "people", row id, '
    write(project, taken + 'family "f", value pack[] };')
    with pytest.raises(Conflict, match=r"rows of another relation.*expected that of `user`"):
        start().features.apply()


def test_a_write_during_a_change_of_layouts_reaches_the_new_one(project: Path, start: Callable[[], Program]) -> None:
    """A writer that began before the change and ends behind it writes both: it looks before it confirms."""
    one, two = start(), start()
    users, other = one.features.relation("user"), two.features.relation("user")
    write(project, TEXT.replace('"users"', '"people"'))  # no rows yet: another table
    two.features.look()
    assert other.layouts[0].table == "people"
    users.insert([ROW])  # not looked since
    assert users.layouts[0].table == "people"
    assert other.get(KEY) == users.get(KEY) == ROW


def test_tables_of_kaname_are_its_own(project: Path, start: Callable[[], Program]) -> None:
    """A schema cannot name the one with the records, whose damage is said."""
    write(project, TEXT.replace('"users"', '"kaname_schemas"'))
    with pytest.raises(InvalidInput, match=r"tables of such names are kaname's own.*no `kaname_` in front"):
        start().features.relation("user")
    write(project, TEXT)
    one = start()
    one.features.relation("user")
    store = one.features.store(StoreName("cells", "main"))
    store.write([Put("kaname_schemas", b"user", "s", {b"record": b"{"})])
    with pytest.raises(KanameError, match="the record of a relation cannot be read"):
        start().features.relation("user")
