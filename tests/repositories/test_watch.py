"""Following a repository while others write to it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kaname.clock import ManualClock, SystemClock
from kaname.repositories.finished import SUMS
from kaname.repositories.known import Repositories
from kaname.repositories.source import FolderSource
from kaname.repositories.store import Repository
from kaname.repositories.types import How, ModelReport
from kaname.repositories.watch import RETRY_S, Watch, Watcher
from tests.models.world import World, factor_of, write_model
from tests.processes import until
from tests.repositories.building import outcomes, write
from tests.repositories.publishing import publish, staged, sums, ticked

CLOCK = SystemClock()


class Following:
    """A watch on a repository, looked with by hand."""

    def __init__(self, world: World, root: Path) -> None:
        self.world = world
        self.clock = ManualClock()
        self.known = Repositories(world.models, world.database, CLOCK)
        self.watch = Watch(FolderSource(root, CLOCK), self.known, self.clock, None, How(who="repository"))

    def settle(self) -> dict[str, ModelReport]:
        """Look until what has changed has been acted upon."""
        reports: dict[str, ModelReport] = {}
        for _ in range(4):
            reports |= {report.model: report for report in self.watch.look()}
        return reports

    def status(self) -> Repository:
        """What is known of the repository."""
        (found,) = self.known.list()
        return found

    def report(self, model: str) -> ModelReport:
        """What was last said of a model."""
        return next(report for report in self.status().models if report.model == model)

    def versions(self, model: str) -> dict[str, str]:
        """The status of each version in the registry."""
        return {version.version: version.status for version in self.world.models.versions(model)}


@pytest.fixture
def following(world: World, root: Path) -> Following:
    """A watch that has not looked yet."""
    return Following(world, root)


def test_the_life_of_a_model(following: Following, root: Path) -> None:
    """Published, it answers; a new version takes over; removed versions are archived, a removed model is unloaded, and
    back again it is loaded: each change an entry of the journal."""
    models = following.world.models
    publish(root, "scale", "1", 1.0)
    assert following.settle()["scale"].answers == "1"
    publish(root, "scale", "2", 2.0)
    assert following.settle()["scale"].changes == ("promote scale/2",)
    shutil.rmtree(root / "scale" / "1")
    assert following.settle()["scale"].changes == ("archive scale/1",)
    assert following.versions("scale") == {"1": "archived", "2": "deployed"}
    publish(root, "other", "1", 1.0)
    following.settle()
    away = (root / "scale").rename(root / ".away")
    assert following.settle()["scale"].changes == ("unload scale",)
    away.rename(root / "scale")
    assert following.settle()["scale"].changes == ("load scale",)
    assert (models.get("scale").promoted, models.get("scale").loaded) == ("2", True)
    actions = [action for action, subject in following.world.actions() if subject.startswith("scale")]
    assert actions == [
        "model.create",
        "version.add",
        "model.promote",
        "version.add",
        "model.promote",
        "version.archive",
        "model.unload",
        "model.load",
    ]
    assert {change.who for change in models.changes()} == {"repository"}


def test_looking_again_does_nothing(following: Following, root: Path) -> None:
    """Nothing changed: no import, no entry, nothing even reported; a new process need not take anything again."""
    publish(root, "scale", "1", 1.0)
    following.settle()
    before = following.world.models.seq(), len(following.world.requests)
    assert following.settle() == {}
    again = Following(following.world, root)
    assert again.settle() == {}
    assert (following.world.models.seq(), len(following.world.requests)) == before


def test_half_a_version_is_never_seen(following: Following, root: Path) -> None:
    """Written in place it is pending, and said to be, until it is complete; staged folders are not there at all."""
    publish(root, "scale", "1", 1.0)
    whole = staged(root, 2.0) / "model.onnx"
    folder = root / "scale" / "2"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(whole.read_bytes()[:50])
    (folder / SUMS).write_text(sums(whole.parent))
    following.settle()
    report = following.report("scale")
    assert (outcomes(report), report.answers) == ({"1": "taken", "2": "pending"}, "1")
    assert "is not yet what SHA256SUMS says" in report.versions[1].reason
    (folder / "model.onnx").write_bytes(whole.read_bytes())
    following.settle()
    assert following.report("scale").answers == "2"
    assert factor_of(following.world.models, following.world.artefacts, "scale", "2") == 2.0


def test_a_version_that_is_touched_after_it_was_taken_answers_on(following: Following, root: Path) -> None:
    """Somebody writes into a published folder: it is pending there, and what was taken of it stays as it is."""
    for number in ("1", "2"):
        publish(root, "scale", number, float(number))
        following.settle()
    ticked(root / "scale" / "2")
    write_model(root / "scale" / "2" / "model.onnx", 7.0)
    following.settle()
    assert outcomes(following.report("scale"))["2"] == "pending"
    assert following.world.models.get("scale").promoted == "2"
    assert factor_of(following.world.models, following.world.artefacts, "scale", "2") == 2.0


def test_one_bad_model_is_said_and_stops_nobody(following: Following, root: Path) -> None:
    """Its fault is in the status and is not tried again and again, but when it changes and after some minutes."""
    publish(root, "good", "1", 1.0)
    bad = publish(root, "bad", "1", 1.0)
    os.truncate(bad / "model.onnx", 30)
    (bad / SUMS).write_text(sums(bad))
    following.settle()
    assert following.world.models.get("good").promoted == "1"
    assert outcomes(following.report("bad")) == {"1": "refused"}
    assert "not an ONNX file" in following.report("bad").versions[0].reason
    tried = len(following.world.requests)
    following.settle()
    assert len(following.world.requests) == tried
    following.clock.advance(ms=RETRY_S * 1000)
    following.settle()
    assert len(following.world.requests) == tried + 1
    publish(root, "bad", "2", 2.0)
    following.settle()
    assert following.world.models.get("bad").promoted == "2"


def test_a_repository_out_of_reach_takes_nothing_away(following: Following, root: Path) -> None:
    """Not there, or empty as a folder is whose disk is not mounted: the models stay, and the status says why."""
    publish(root, "scale", "1", 1.0)
    following.settle()
    away = root.rename(root.parent / "away")
    following.settle()
    assert "not a model repository; found nothing" in following.status().fault
    root.mkdir()
    following.settle()
    assert "an empty folder" in following.status().fault
    assert (following.world.models.get("scale").loaded, following.versions("scale")) == (True, {"1": "deployed"})
    root.rmdir()
    away.rename(root)
    following.settle()
    assert following.status().fault == ""


def test_what_people_change_stands(following: Following, root: Path) -> None:
    """A rollback at night outlives every look, until a new version is published."""
    for number in ("1", "2"):
        publish(root, "scale", number, float(number))
        following.settle()
    following.world.models.rollback("scale", who="me")
    following.settle()
    publish(root, "other", "1", 1.0)
    following.settle()
    assert following.world.models.get("scale").promoted == "1"
    publish(root, "scale", "3", 3.0)
    assert following.settle()["scale"].answers == "3"


def test_a_triton_repository_is_followed_with_its_settings(following: Following, root: Path) -> None:
    """A changed `config.pbtxt` changes the model; one with a fault changes nothing and is said."""
    publish(root, "scale", "1", 1.0)
    write(root / "scale" / "config.pbtxt", "max_batch_size: 4")
    following.settle()
    assert following.world.models.get("scale").config.max_batch_rows == 4
    write(root / "scale" / "config.pbtxt", "max_batch_size: [")
    following.settle()
    assert "config.pbtxt:1:18" in following.report("scale").refused
    assert following.world.models.get("scale").promoted == "1"
    write(root / "scale" / "config.pbtxt", "max_batch_size: 16")
    following.settle()
    assert following.world.models.get("scale").config.max_batch_rows == 16


def test_writers_at_work(following: Following, root: Path) -> None:
    """Several publish by renaming while one writes in place and stops half way: every version that is taken is whole,
    all that were published are taken, and nothing of the one that stopped."""
    publish(root, "first", "1", 1.0)
    whole = write_model(root / ".whole.onnx", 9.0).read_bytes()

    def publisher(name: str) -> None:
        for number in range(1, 9):
            publish(root, name, str(number), float(number))

    def vandal() -> None:
        for number in range(1, 9):
            folder = root / "half" / str(number)
            folder.mkdir(parents=True)
            with (folder / "model.onnx").open("wb", buffering=0) as out:
                for byte in whole[:60]:
                    out.write(bytes([byte]))
            (folder / SUMS).write_text("0" * 64 + "  model.onnx\n")

    threads = [threading.Thread(target=publisher, args=(name,)) for name in "abc"]
    threads.append(threading.Thread(target=vandal))
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        following.watch.look()
    for thread in threads:
        thread.join()
    following.settle()
    assert {model.name for model in following.world.models.list()} == {"first", "a", "b", "c"}
    for name in "abc":
        assert following.world.models.get(name).promoted == "8"
        found = following.versions(name)
        factors = {
            number: factor_of(following.world.models, following.world.artefacts, name, number) for number in found
        }
        assert factors == {number: float(number) for number in found}
    assert set(outcomes(following.report("half")).values()) == {"pending"}


@contextmanager
def watching(world: World, root: Path, lock: Path, changes: list[str], name: str) -> Iterator[Watcher]:
    """A thread that follows a repository for as long as the context lasts."""
    known = Repositories(world.models, world.database, CLOCK)
    watch = Watch(FolderSource(root, CLOCK), known, CLOCK, None, How(who=name))
    watcher = Watcher(watch, lock, 0.01, CLOCK, lambda: changes.append(name))
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


def test_one_of_several_processes_follows(world: World, root: Path, tmp_path: Path) -> None:
    """Whoever has the lock acts alone; when it leaves, another goes on where it was."""
    changes: list[str] = []
    lock = tmp_path / "lock"
    publish(root, "scale", "1", 1.0)
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(watching(world, root, lock, changes, "one"))
        until(lambda: changes == ["one"], "the first acts")
        second.enter_context(watching(world, root, lock, changes, "two"))
        publish(root, "scale", "2", 2.0)
        until(lambda: changes == ["one", "one"], "the first acts again")
        first.close()
        publish(root, "scale", "3", 3.0)
        until(lambda: changes == ["one", "one", "two"], "the second goes on")
    assert world.models.get("scale").promoted == "3"
    assert len(world.requests) == 3
