"""A change of layouts survives its death at any point: nothing is missed, nothing comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest

from kaname.features.relayout.choosing import choose
from kaname.features.relayout.types import How, Shown
from tests.features.relayout.programs import NEW, OLD, RELATION, Program, Writer, rows_of, write

FILLER = 20_000
MOST_RUNS = 60


class Cut(BaseException):
    """The process is dead from here on."""


class Dying(Program):
    """A program that dies at the nth time that it changes a store, before the change or behind it."""

    def __init__(self, project: Path, nth: int, *, behind: bool) -> None:
        self.left = nth
        self._behind = behind
        super().__init__(project, pause=lambda _: None)

    def arm(self) -> None:
        """From here on it counts."""
        for name in ("main", "other"):
            for store_name, store in self.features._stores.items():
                if store_name.name == name:
                    for what in ("write", "define", "drop"):
                        setattr(store, what, self._dying(getattr(store, what)))

    def _dying(self, change: Callable[..., None]) -> Callable[..., None]:
        def changed(*said: object) -> None:
            self.left -= 1
            if self.left == 0 and not self._behind:
                raise Cut
            change(*said)
            if self.left == 0:
                raise Cut

        return changed


def unseen(_: Shown) -> None:
    """Nobody looks."""


@pytest.mark.slow
@pytest.mark.parametrize("store", ["main", "other"])
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_it_goes_on_from_every_point_where_it_was_cut(tmp_path: Path, store: str, *, behind: bool) -> None:
    """Before or behind every single change of a store that it makes; rows change between the two runs."""
    for nth in range(1, MOST_RUNS):
        project = tmp_path / f"{store}-{behind}-{nth}"
        project.mkdir()
        write(project, RELATION + OLD)
        first = Program(project)
        writer = Writer(first.features, "u1", nth, keys=700)
        first.features.relation("order").insert({"user": "u1", "n": n, "item": "x", "price": 1.0} for n in range(700))
        writer.expected = {n: {"user": "u1", "n": n, "item": "x", "price": 1.0} for n in range(700)}
        write(project, RELATION + NEW % store)
        program = Dying(project, nth, behind=behind)
        target, drops = choose(program.features, "order", None, [])
        program.features.store(target.store)
        program.arm()
        was_cut = False
        try:
            program.relayouts.begin("order", target, drops)
            program.relayouts.run("order", How(), unseen)
        except Cut:
            was_cut = True
        program.features.close()
        first.features.look()
        for _ in range(60):
            writer.write()
        last = Program(project, pause=lambda _: first.features.look())  # noqa: B023  (called before the next turn)
        if last.relayouts.status("order") is None and last.features.record("order").layouts[0].facts.name != "by_n":
            last.relayouts.begin("order", target, drops)
        last.relayouts.run("order", How(), unseen)
        assert rows_of(last.features, "u1") == [writer.expected], (nth, behind)
        assert [table.name for table in last.features.store(target.store).tables()] == ["by_n", "kaname_schemas"]
        last.features.close()
        first.features.close()
        if not was_cut:
            assert nth > 12
            return
    pytest.fail("it makes more changes than were tried")


def started(project: Path, *said: str) -> subprocess.Popen[bytes]:
    """A process of the project."""
    command = [sys.executable, "-m", "tests.features.relayout.process", str(project), *said]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that write without pause."""
    write(tmp_path, RELATION + OLD)
    first = Program(tmp_path)
    first.features.relation("order").insert(
        {"user": "filler", "n": n, "item": f"{n}", "price": None} for n in range(FILLER)
    )
    first.features.close()
    running = [started(tmp_path, "writer", f"u{seed}", str(seed)) for seed in (1, 2)]
    for writer in running:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
    yield running
    for writer in running:
        writer.kill()
        writer.communicate()


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("store", ["main", "other"])
def test_killed_again_and_again_among_writers_it_ends_with_every_row(
    tmp_path: Path, writers: Sequence[subprocess.Popen[bytes]], store: str
) -> None:
    """SIGKILL at random moments, two writing processes; at the end all rows are those that were confirmed."""
    random, kills = Random(5), 0
    write(tmp_path, RELATION + NEW % store)
    for run in range(MOST_RUNS):
        with started(tmp_path, "runner") as runner:
            try:
                assert runner.wait(None if run > 12 else random.uniform(0.5, 2.5)) == 0
                break
            except subprocess.TimeoutExpired:
                runner.kill()
                kills += 1
    assert kills >= 3, "the runner was done before it could be killed"
    last = Program(tmp_path)
    for writer, user in zip(writers, ("u1", "u2"), strict=True):
        said, _ = writer.communicate(timeout=30)
        writes, rows = msgspec.json.decode(said.splitlines()[-1])
        assert writer.returncode == 0
        assert writes > 100
        assert rows_of(last.features, user) == [{row["n"]: row for row in rows}]
    assert len(rows_of(last.features, "filler")[0]) == FILLER
    last.features.close()
