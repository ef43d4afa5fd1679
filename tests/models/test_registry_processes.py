"""The registry shared by processes, and processes that die in the middle of a change."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import Conflict
from tests.models.world import World

SPAWN = multiprocessing.get_context("spawn")
pytestmark = pytest.mark.slow


class DeadlyClock(SystemClock):
    """Kills its process when it is asked for the time: that is within a change, before its commit."""

    def time_ns(self) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def add_twenty(folder: str, factor: float) -> None:
    world = World(Path(folder))
    for _ in range(20):
        world.add("iris", factor)
    world.close()


def add_same(folder: str, factor: float) -> None:
    world = World(Path(folder))
    try:
        world.add("iris", factor, version="v")
    except Conflict:
        os._exit(3)
    world.close()


def toggle(folder: str, version: str) -> None:
    world = World(Path(folder))
    for _ in range(25):
        world.models.promote("iris", version, who=version)
    world.close()


def swap_once(folder: str, version: str, etag: str) -> None:
    world = World(Path(folder))
    try:
        world.models.promote("iris", version, who=version, if_match=etag)
    except Conflict:
        os._exit(3)
    world.close()


def die_in(change: str, folder: str) -> None:
    world = World(Path(folder), clock=DeadlyClock())
    if change == "add":
        world.add("iris", 2.0)
    elif change == "promote":
        world.models.promote("iris", "2", who="x")
    else:
        world.models.delete("iris", "2", who="x")


def run(*calls: tuple[object, ...]) -> list[int | None]:
    """Run `(function, *arguments)` in a process each, all at once; returns their exit codes."""
    processes = [SPAWN.Process(target=function, args=arguments) for function, *arguments in calls]  # type: ignore[arg-type]  # heterogeneous tuples
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_processes_that_add_at_once_share_one_model_and_one_count(tmp_path: Path) -> None:
    """Three processes add twenty versions each: one model, versions 1 to 60, one of them answers."""
    World(tmp_path).close()
    assert run(*((add_twenty, str(tmp_path), float(i)) for i in range(3))) == [0, 0, 0]
    world = World(tmp_path)
    assert [version.version for version in world.models.versions("iris")] == [str(n) for n in range(1, 61)]
    assert world.models.get("iris").promoted == "1"
    assert world.actions().count(("model.promote", "iris")) == 1
    assert [change.seq for change in world.models.changes(limit=1000)] == list(range(1, 63))
    world.close()


def test_of_different_contents_for_one_version_name_one_wins(tmp_path: Path) -> None:
    """The loser gets Conflict; equal contents both succeed with one version."""
    World(tmp_path).close()
    codes = run((add_same, str(tmp_path), 1.0), (add_same, str(tmp_path), 2.0))
    assert sorted(code or 0 for code in codes) == [0, 3]
    world = World(tmp_path)
    (version,) = world.models.versions("iris")
    assert version.version == "v"
    world.close()


def test_promotions_from_two_processes_form_one_history(tmp_path: Path) -> None:
    """Each journal row's `previous` is what the row before it promoted: no change was made on a stale view."""
    world = World(tmp_path)
    world.add("iris", 1.0, version="a")
    world.add("iris", 2.0, version="b")
    assert run((toggle, str(tmp_path), "a"), (toggle, str(tmp_path), "b")) == [0, 0]
    moves = [change.detail for change in world.models.changes(limit=1000) if change.action == "model.promote"]
    assert [move["previous"] for move in moves[1:]] == [move["to"] for move in moves[:-1]]
    world.close()


def test_of_two_that_read_the_same_etag_one_wins(tmp_path: Path) -> None:
    """Optimistic locking holds between processes."""
    world = World(tmp_path)
    for name in ("a", "b", "c"):
        world.add("iris", 1.0, version=name)
    etag = world.models.get("iris").etag
    codes = run((swap_once, str(tmp_path), "b", etag), (swap_once, str(tmp_path), "c", etag))
    assert sorted(code or 0 for code in codes) == [0, 3]
    world.close()


@pytest.mark.parametrize("change", ["add", "promote", "delete"])
def test_a_process_killed_in_a_change_leaves_the_state_before_it(tmp_path: Path, change: str) -> None:
    """After kill -9 inside the transaction nothing is half done, others go on at once, and only garbage remains."""
    world = World(tmp_path)
    world.add("iris", 1.0)
    if change != "add":
        world.add("iris", 3.0)
    before = world.models.snapshot_rows()
    assert run((die_in, change, str(tmp_path))) == [-signal.SIGKILL]
    assert world.models.snapshot_rows() == before
    used = {version.artefact for version in world.models.versions("iris")}
    left = set(world.artefacts.artefacts()) - used
    assert len(left) == (1 if change == "add" else 0)
    for artefact in left:
        world.artefacts.verify(artefact)
        os.utime(world.artefacts.path(artefact), ns=(0, 0))
    assert set(world.models.collect_garbage()) == left
    assert world.add("iris", 2.0).version == ("2" if change == "add" else "3")
    world.close()
