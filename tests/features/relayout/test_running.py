"""A layout takes the place of another one while rows are written: none is missed, none comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaname.errors import Conflict, CorruptData, InvalidInput, NotFound
from kaname.features.layout import StoreName
from kaname.features.relayout.choosing import choose
from kaname.features.relayout.types import How, Shown
from kaname.storage.cells.types import Delete, Put
from tests.features.relayout.programs import NEW, OLD, RELATION, Program, Writer, rows_of, write

MAIN = StoreName("cells", "main")
Start = Callable[..., Program]


def quick(_: float) -> None:
    """Long enough for the programs of a test."""
    time.sleep(0.3)


def unseen(_: Shown) -> None:
    """Nobody looks."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With the old layout."""
    write(tmp_path, RELATION + OLD)
    return tmp_path


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Starts programs, and ends them all."""
    started: list[Program] = []

    def begin(owner: str = "node:1") -> Program:
        started.append(Program(project, owner, quick))
        return started[-1]

    yield begin
    for program in started:
        program.features.close()


def begun(program: Program, add: str | None = None, replace: list[str] | None = None) -> None:
    """Begin what the files say."""
    program.relayouts.begin("order", *choose(program.features, "order", add, replace or []))


@pytest.mark.parametrize("store", ["main", "other"])
def test_rows_that_are_written_meanwhile_are_all_there_and_deleted_ones_are_not(
    project: Path, start: Start, store: str
) -> None:
    """Two programs write all the time, to one store or two; the new layout is equal to what was written, and alone."""
    runner, one, two = start(), start(), start()
    filler = runner.features.relation("order")
    filler.insert({"user": "filler", "n": n, "item": f"{n}", "price": None} for n in range(3000))
    writers = [Writer(one.features, "u1", 1), Writer(two.features, "u2", 2)]
    for writer in writers:
        writer.start()
    write(project, RELATION + NEW % store)
    runner.features.look()
    begun(runner)
    steps: list[str] = []
    assert runner.relayouts.run("order", How(full=True), lambda shown: steps.append(shown.step))
    for writer in writers:
        writer.end()
    assert list(dict.fromkeys(steps)) == ["waiting until every process knows", "copying", "comparing"]
    assert len(rows_of(one.features, "filler")[0]) == 3000
    for writer, user in zip(writers, ("u1", "u2"), strict=True):
        assert writer.writes > 50
        assert rows_of(runner.features, user) == [writer.expected]
    assert [kept.facts.name for kept in runner.features.record("order").layouts] == ["by_n"]
    assert all(table.name != "by_user" for table in runner.features.store(MAIN).tables())
    assert runner.relayouts.status("order") is None
    assert not runner.relayouts.run("order", How(), unseen)
    assert start().features.verdicts()["order"].changes == ()


def test_a_layout_is_added_beside_the_others(project: Path, start: Start) -> None:
    """Both are read then, and the files that declare both are what is in use."""
    runner = start()
    runner.features.relation("order").insert([{"user": "u1", "n": 1, "item": "tea", "price": 2.5}])
    write(project, RELATION + OLD + NEW % "main")
    with pytest.raises(
        Conflict, match=r"a new schema, where the stored rows are not yet.*kaname features relayout order"
    ):
        start().features.apply()
    runner.features.look()
    begun(runner, "by_n")
    runner.relayouts.run("order", How(), unseen)
    assert [layout.name for layout in runner.features.relation("order").layouts] == ["by_user", "by_n"]
    assert rows_of(runner.features, "u1")[0] == rows_of(runner.features, "u1")[1] != {}
    assert start().features.apply() == []


def test_it_is_undone_at_any_time_before_the_last_step(project: Path, start: Start) -> None:
    """The old layout stays with all rows, the new table goes; nothing is left of it."""
    runner = start()
    order = runner.features.relation("order")
    order.insert([{"user": "u1", "n": 1, "item": "tea", "price": 2.5}])
    with pytest.raises(Conflict, match="nothing to abort"):
        runner.relayouts.abort("order", unseen)
    write(project, RELATION + NEW % "main")
    runner.features.look()
    begun(runner)
    order.insert([{"user": "u1", "n": 2, "item": "milk", "price": 1.0}])
    assert len(list(runner.features.store(MAIN).scan("by_n"))) == 1
    with pytest.raises(Conflict, match="a change of layouts is under way"):
        begun(runner)
    runner.relayouts.abort("order", unseen)
    assert [layout.name for layout in order.layouts] == ["by_user"]
    assert len(rows_of(runner.features, "u1")[0]) == 2
    assert all(table.name != "by_n" for table in runner.features.store(MAIN).tables())


def test_rows_that_differ_keep_it_from_being_read(project: Path, start: Start) -> None:
    """A sample that finds one says so; comparing all of them mends it."""
    runner = start()
    order = runner.features.relation("order")
    order.insert({"user": "u1", "n": n, "item": "tea", "price": 2.5} for n in range(50))
    write(project, RELATION + NEW % "main")
    runner.features.look()
    begun(runner)

    def damage(shown: Shown) -> None:
        if shown.step == "comparing" and shown.share == 0.0:
            table = runner.features.store(MAIN)
            first, second, *_ = table.scan("by_n")
            table.write([Delete("by_n", first.key), Put("by_n", second.key, "g", {b"": b"\2\3" + bytes(12)})])
            table.write([Put("by_n", second.key[:4] + b"ghost", "g", {b"": b"\2\3" + bytes(12)})])

    with pytest.raises(CorruptData, match=r"3 of 51 rows differ.*--full"):
        runner.relayouts.run("order", How(), damage)
    assert [layout.name for layout in order.layouts] == ["by_user"]
    last: list[Shown] = []
    assert runner.relayouts.run("order", How(full=True), last.append)
    assert max(shown.mended for shown in last) == 3
    assert len(rows_of(runner.features, "u1")[0]) == 50


def test_what_the_new_layout_cannot_hold_is_refused_and_stays_where_it_is(project: Path, start: Start) -> None:
    """Of stored rows and of those that are written meanwhile; after the abort all is as before."""
    runner = start()
    order = runner.features.relation("order")
    order.insert([{"user": "u,1", "n": 1, "item": None, "price": 2.5}])
    write(project, RELATION + (NEW % "main").replace("n:user", 'suffix(","){user}:n'))
    runner.features.look()
    begun(runner)
    with pytest.raises(InvalidInput, match="which ends it"):
        runner.relayouts.run("order", How(), unseen)
    with pytest.raises(InvalidInput, match="which ends it"):
        order.insert([{"user": "u,2", "n": 1, "item": None, "price": 2.5}])
    runner.relayouts.abort("order", unseen)
    order.insert([{"user": "u,2", "n": 1, "item": None, "price": 2.5}])
    assert len(rows_of(runner.features, "u,1")[0]) == 1


def test_what_cannot_be_done_is_said_before_anything_happens(project: Path, start: Start, tmp_path: Path) -> None:
    """Names, tables and attributes."""
    runner = start()
    runner.features.relation("order").insert([{"user": "u1", "n": 1, "item": None, "price": 2.5}])
    with pytest.raises(InvalidInput, match="no such schema waits to be used"):
        begun(runner)
    file = tmp_path / "new.schema"
    file.write_text(NEW % "main")
    with pytest.raises(NotFound, match=r"no such schema in use.*found by_name.*expected by_user"):
        begun(runner, str(file), ["by_name"])
    file.write_text((NEW % "main").replace('"by_n"', '"by_user"'))
    with pytest.raises(Conflict, match="the table is in use"):
        begun(runner, str(file))
    file.write_text((NEW % "main").replace("[price, item]", "[price]"))
    with pytest.raises(InvalidInput, match=r"an attribute that no schema would hold any more.*found item"):
        begun(runner, str(file), ["by_user"])
    file.write_text(NEW % "main" + (NEW % "main").replace("by_n", "by_m"))
    with pytest.raises(InvalidInput, match="not a file with one schema for order"):
        begun(runner, str(file))
    write(
        project, RELATION.replace("price float64", "price float64, tags json") + (NEW % "main").replace("[", "[tags, ")
    )
    runner.features.look()
    with pytest.raises(InvalidInput, match=r"attributes without rows.*found tags"):
        begun(runner)
    assert runner.relayouts.status("order") is None


def test_two_do_not_do_it_at_once(project: Path, start: Start) -> None:
    """Neither two processes of a node, nor two nodes."""
    runner, other = start("one:1"), start("two:1")
    order = runner.features.relation("order")
    order.insert([{"user": "u1", "n": 1, "item": None, "price": 2.5}])
    write(project, RELATION + NEW % "main")
    runner.features.look()
    begun(runner)
    errors: list[Conflict] = []

    def also(_: Shown) -> None:
        with pytest.raises(Conflict) as error:
            other.relayouts.run("order", How(), unseen)
        errors.append(error.value)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        runner.relayouts.run("order", How(), also)
    assert "another process does it" in str(errors[0])

    def late(shown: Shown) -> None:
        if shown.step == "copying":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        runner.relayouts.run("order", How(), late)
    with pytest.raises(Conflict, match=r"another node is doing this.*found one:1"):
        other.relayouts.run("order", How(), unseen)
