"""The nodes of one database: what they say of themselves, and who of them is late."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable

from kaname.clock import Clock
from kaname.serving.nodes import store
from kaname.serving.nodes.types import NodeFacts, NodeInfo, NodeState, NodeView, Seen
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database

LOOK_S = 0.05
FORGET_US = 86_400_000_000


class Nodes:
    """Reads and writes the tables; nothing here takes the lock of those who change the control plane."""

    def __init__(self, database: Database, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
        self._database = database
        self._clock = clock
        self._sleep = sleep

    @property
    def shared(self) -> bool:
        """Whether there can be more than one node."""
        return self._database.is_server

    def list(self) -> builtins.list[NodeView]:
        """Every node that serves, or did within the last day."""
        with self._database.read() as conn:
            now_us, newest = store.now_us(conn), journal.latest(conn)
            return [_view(node, now_us, newest) for node in store.all_nodes(conn)]

    def meet(self, node: NodeFacts | None) -> tuple[Seen, tuple[int, int]]:
        """Say how far a node is (None: nothing new), and hear what the database says; also how long its clock took to
        read, and how far it is ahead of our monotonic one, both ns."""
        with self._database.aside() as conn:
            began_ns = self._clock.monotonic_ns()
            now_us = store.now_us(conn)
            ended_ns = self._clock.monotonic_ns()
            if node is not None:
                store.write(conn, node, now_us)
            return store.read(conn), (ended_ns - began_ns, now_us * 1000 - (began_ns + ended_ns) // 2)

    def others(self, node_id: str) -> builtins.list[NodeInfo]:
        """The live nodes beside one."""
        with self._database.aside() as conn:
            now_us = store.now_us(conn)
            return [node for node in store.all_nodes(conn) if node.id != node_id and node.is_live(now_us)]

    def switch(self, number: int, lead_us: int) -> None:
        """Let all nodes answer from change `number`, `lead_us` from now."""
        with self._database.aside() as conn:
            store.switch(conn, number, store.now_us(conn) + lead_us)

    def leave(self, node_id: str) -> None:
        """A node ends; who has not been seen for a day is forgotten as well."""
        with self._database.aside() as conn:
            store.forget(conn, node_id)
            store.forget_unseen(conn, store.now_us(conn) - FORGET_US)

    def wait_applied(self, number: int, timeout_s: float, but: str) -> builtins.list[str]:
        """Wait until every live node (`but` one) answers as of change `number`; a sentence for each that does not
        in time. Blocks."""
        until_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while (late := self._late(number, but)) and self._clock.monotonic_ns() < until_ns:
            self._sleep(LOOK_S)
        return late

    def _late(self, number: int, but: str) -> builtins.list[str]:
        with self._database.aside() as conn:
            now_us = store.now_us(conn)
            live = [node for node in store.all_nodes(conn) if node.id != but and node.is_live(now_us)]
        return [
            f"node {node.name} ({node.address or node.id}) has applied change {node.applied} of {number}, "
            f"last sign of life {max(0, now_us - node.seen_us) / 1e6:.1f} s ago"
            for node in live
            if node.applied < number
        ]


def _view(node: NodeInfo, now_us: int, newest: int) -> NodeView:
    state: NodeState = "ready" if node.applied >= newest else "behind"
    return NodeView(
        id=node.id,
        name=node.name,
        address=node.address,
        release=node.release,
        workers=node.workers,
        state=state if node.is_live(now_us) else "gone",
        applied=node.applied,
        newest=newest,
        seen_s=round(max(0, now_us - node.seen_us) / 1e6, 1),
    )
