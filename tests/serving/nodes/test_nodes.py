"""Nodes in the database: what each says of itself, whom the others wait for, when all switch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaname.clock import ManualClock, SystemClock
from kaname.serving.nodes.agent import NodeAgent
from kaname.serving.nodes.identity import node_id
from kaname.serving.nodes.registry import Nodes
from kaname.serving.nodes.types import NodeFacts
from kaname.serving.workers.board import Board, State
from kaname.serving.workers.progress import BoardProgress
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database
from tests.databases import open_at
from tests.processes import until

SERVERS = pytest.mark.parametrize("url", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_at(url)
    yield opened
    opened.close()


@pytest.fixture
def nodes(database: Database) -> Nodes:
    return Nodes(database, SystemClock())


def facts(name: str, **values: int) -> NodeFacts:
    usual = {"workers": 2, "loading": 0, "prepared": 0, "applied": 0} | values
    return NodeFacts(id=name, name=name, address=f"http://{name}", release="1", **usual)


def change(database: Database) -> int:
    with database.write() as conn:
        return journal.append(conn, at_us=1, who="w", action="a", subject="s", detail={})


def test_a_node_is_listed_as_far_as_it_is(database: Database, nodes: Nodes) -> None:
    """It is `ready` when it answers from the last change; what it says last counts; it leaves without a trace."""
    nodes.meet(facts("a"))
    number = change(database)
    nodes.meet(facts("b", applied=number))
    assert [(node.name, node.state, node.applied, node.newest) for node in nodes.list()] == [
        ("a", "behind", 0, 1),
        ("b", "ready", 1, 1),
    ]
    nodes.meet(facts("a", applied=number, workers=7))
    assert [(node.state, node.workers) for node in nodes.list()] == [("ready", 7), ("ready", 2)]
    nodes.leave("a")
    assert [node.name for node in nodes.list()] == ["b"]
    assert nodes.list()[0].seen_s < 5


def test_who_is_late_is_named_with_what_it_lacks(database: Database, nodes: Nodes) -> None:
    """Others than oneself, and only live ones."""
    nodes.meet(facts("me"))
    nodes.meet(facts("slow"))
    number = change(database)
    (late,) = nodes.wait_applied(number, 0.0, but="me")
    assert late.startswith("node slow (http://slow) has applied change 0 of 1")
    nodes.meet(facts("slow", applied=number))
    assert nodes.wait_applied(number, 5.0, but="me") == []


def test_a_switch_never_goes_back(nodes: Nodes) -> None:
    """Two nodes may set the same one, or an older one late."""
    for number in (3, 2, 3):
        nodes.switch(number, 0)
        assert nodes.meet(None)[0].switch == 3


@SERVERS
def test_heartbeats_neither_wait_for_a_writer_nor_count_as_changes(database: Database, nodes: Nodes) -> None:
    """While somebody holds the journal's lock a node is heard of all the same."""
    with database.write():
        nodes.meet(facts("a"))
        assert [node.name for node in nodes.list()] == ["a"]
    assert database.journal_number() == 0


def test_the_id_of_a_node_is_drawn_once(tmp_path: Path) -> None:
    """The same at every call, another in another folder."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert node_id(tmp_path / "a") == node_id(tmp_path / "a") != node_id(tmp_path / "b")
    assert len(node_id(tmp_path / "a")) == 16
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["node"]


class OneNode:
    """A board with one worker, and its agent."""

    def __init__(self, folder: Path, name: str, nodes: Nodes) -> None:
        self.board = Board.create(folder / name / "board", 1)
        self.board.claim(0, socket=0, generation=1)
        self.board.set_state(0, State.READY)
        self.name = name
        self.progress = BoardProgress(self.board, 0, together=True)
        self.agent = NodeAgent(nodes, self.board, self._facts, SystemClock())
        self.agent.start()

    def _facts(self) -> NodeFacts:
        workers, loading, prepared, applied = self.board.standing()
        return facts(self.name, workers=workers, loading=loading, prepared=prepared, applied=applied)


@pytest.fixture
def pair(tmp_path: Path, nodes: Nodes) -> Iterator[tuple[OneNode, OneNode]]:
    made = OneNode(tmp_path, "a", nodes), OneNode(tmp_path, "b", nodes)
    yield made
    for node in made:
        node.agent.stop()


@pytest.mark.slow
@SERVERS
def test_nodes_switch_together_when_all_have_loaded_a_change(
    database: Database, nodes: Nodes, pair: tuple[OneNode, OneNode]
) -> None:
    """A change is heard of within half a second; one that only one node has loaded is not answered from; once both have
    it they switch at the same moment."""
    one, two = pair
    number = change(database)
    began = time.monotonic()
    until(lambda: min(one.board.newest, two.board.newest) == number, "both have heard of it")
    assert time.monotonic() - began < 1.0
    one.progress.prepared(number)
    until(lambda: next(n for n in nodes.others("b") if n.name == "a").prepared == number, "the others know")
    assert one.progress.activated() == 0
    two.progress.prepared(number)
    switched: dict[str, float] = {}
    until(lambda: _note(switched, pair, number), "both have switched")
    assert abs(switched["a"] - switched["b"]) < 0.05
    one.progress.applied(number)
    two.progress.applied(number)
    until(lambda: [node.state for node in nodes.list()] == ["ready", "ready"], "both say so")


def _note(switched: dict[str, float], pair: tuple[OneNode, OneNode], number: int) -> bool:
    for node in pair:
        if node.name not in switched and node.progress.activated() >= number:
            switched[node.name] = time.monotonic()
    return len(switched) == 2


@pytest.mark.slow
@SERVERS
def test_a_node_that_prepared_an_older_change_goes_on_to_the_newer_one(
    database: Database, pair: tuple[OneNode, OneNode]
) -> None:
    """The other has skipped it: waiting for the older one is given up."""
    one, two = pair
    for _ in range(2):
        number = change(database)
    one.progress.prepared(number - 1)
    two.progress.prepared(number)
    assert one.progress.wait_turn(number - 1, 20.0) is False
    one.progress.prepared(number)
    assert one.progress.wait_turn(number, 20.0) is True
    assert two.progress.wait_turn(number, 20.0) is True


def test_one_process_leads_until_it_resigns_or_is_silent(tmp_path: Path) -> None:
    """Another takes over at once after the first, after a while in the second case."""
    clock = ManualClock()
    board = Board.create(tmp_path / "board", 2, clock=clock)
    stale = 1_000_000_000
    assert board.lead(1, clock.monotonic_ns(), stale)
    assert not board.lead(2, clock.monotonic_ns(), stale)
    assert board.resign(1)
    assert board.lead(2, clock.monotonic_ns(), stale)
    clock.advance(ms=1001)
    assert board.lead(3, clock.monotonic_ns(), stale)
    assert not board.resign(2)
    assert not board.lead(os.getpid(), clock.monotonic_ns(), stale)
