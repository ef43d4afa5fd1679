"""What speaks to the database for all workers of a node: one of them, a thread; another when that one is gone.

It asks for the journal's number four times a second and writes it on the board, where each worker looks. It says how
far the node is, and has all nodes switch at one instant: when every live node has loaded change N, one of them sets a
moment a little ahead, by the database's clock; each node reckons that moment in its own time and switches then. Two
nodes differ by the error of that reckoning, half a round trip to the database at most.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

import structlog

from kaname.clock import Clock
from kaname.serving.nodes.registry import Nodes
from kaname.serving.nodes.types import NodeFacts, NodeInfo, Seen
from kaname.serving.workers.board import Board
from kaname.telemetry.logs import Throttle

log = structlog.get_logger(__name__)

TICK_S, IDLE_TICK_S = 0.05, 0.1
ASK_NS = 250_000_000
SAY_NS = 1_000_000_000
STALE_NS = 2_000_000_000
"""A leader that has not been seen for so long is replaced."""
LEAD_US = 250_000
"""How far ahead a switch is set: every node that waits for one looks more often than that."""
LATE_NS = 10_000_000_000
"""Longest wait for a node that has not loaded a change and loads nothing; then the others switch without it."""
LOADING_NS = 120_000_000_000
WENT_BACK = "the change journal went back: the database was put back from a copy; restart the nodes"


class NodeAgent:
    """The thread of one worker; it does something while this worker leads."""

    def __init__(self, nodes: Nodes, board: Board, facts: Callable[[], NodeFacts], clock: Clock) -> None:
        """`facts`: the node now."""
        self._nodes = nodes
        self._board = board
        self._facts = facts
        self._clock = clock
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kaname-node", daemon=True)
        self._throttle = Throttle(clock)
        self._clocks: deque[tuple[int, int]] = deque(maxlen=64)
        """How long the database's clock took to read, and how far it is from ours, both ns."""
        self._said: NodeFacts | None = None
        self._said_ns = self._asked_ns = 0
        self._waiting_for = 0
        self._waiting_since_ns = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the last worker of a node takes the node with it. Blocks for a moment."""
        self._leave.set()
        self._thread.join()
        if self._board.resign(os.getpid()) and len(self._board.live_slots()) <= 1:
            try:
                self._nodes.leave(self._facts().id)
            except Exception as error:  # noqa: BLE001  (the others notice by themselves)
                log.warning("this node leaves without a word to the others", error=str(error))

    def _run(self) -> None:
        pause = 0.0
        while not self._leave.wait(pause):
            now_ns = self._clock.monotonic_ns()
            pause = IDLE_TICK_S
            if self._board.lead(os.getpid(), now_ns, STALE_NS):
                try:
                    pause = self._turn(now_ns)
                except Exception as error:  # noqa: BLE001  (a dead control plane never stops predictions)
                    self._say("the database cannot be asked; this node goes on with what it has", str(error))

    def _turn(self, now_ns: int) -> float:
        facts = self._facts()
        news = self._said is None or facts != self._said or now_ns - self._said_ns > SAY_NS
        waits = facts.prepared > self._board.allowed
        if not (news or waits or now_ns - self._asked_ns > ASK_NS):
            return TICK_S
        seen, clock = self._nodes.meet(facts if news else None)
        self._asked_ns = now_ns
        if news:
            self._said, self._said_ns = facts, now_ns
        self._clocks.append(clock)
        self._tell(seen)
        if facts.prepared > seen.switch:
            self._arrange(facts, now_ns)
        return TICK_S

    def _tell(self, seen: Seen) -> None:
        if seen.newest < self._board.newest:
            self._say(WENT_BACK, f"change {seen.newest}, where change {self._board.newest} was seen already")
        self._board.saw(seen.newest)
        _, offset_ns = min(self._clocks)  # the quickest answer tells the time best
        self._board.allow(seen.switch, seen.at_us * 1000 - offset_ns)

    def _arrange(self, facts: NodeFacts, now_ns: int) -> None:
        """Set the moment of the switch to what this node has prepared, if it is time."""
        others = self._nodes.others(facts.id)
        self._board.elsewhere = max((node.prepared for node in others), default=0)
        if self._waiting_for != facts.prepared:
            self._waiting_for, self._waiting_since_ns = facts.prepared, now_ns
        late = [node for node in others if node.prepared < facts.prepared]
        if self._board.elsewhere > facts.prepared or (late and not self._is_over(late, now_ns)):
            return
        self._nodes.switch(facts.prepared, LEAD_US if others else 0)

    def _is_over(self, late: list[NodeInfo], now_ns: int) -> bool:
        """Whether these nodes have been waited for long enough."""
        waited_ns = now_ns - self._waiting_since_ns
        if waited_ns < (LOADING_NS if any(node.loading for node in late) else LATE_NS):
            return False
        found = [f"node {node.name} ({node.address or node.id}) is at change {node.prepared}" for node in late]
        log.error("switching without nodes that have not loaded a change", change=self._waiting_for, behind=found)
        return True

    def _say(self, what: str, error: str) -> None:
        held_back = self._throttle.due(what)
        if held_back is not None:
            log.error(what, error=error, times_since_last_said=held_back)
