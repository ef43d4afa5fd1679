"""How one process follows the control plane: the snapshot it answers from, news of a newer one, who else is late."""

from __future__ import annotations

import logging

from kaname.errors import CorruptData, KanameError
from kaname.serving.node import Alone, Progress
from kaname.serving.nodes.agent import NodeAgent
from kaname.serving.nodes.here import facts_of
from kaname.serving.snapshot import Snapshot
from kaname.serving.workers.board import Board
from kaname.serving.workers.progress import BoardProgress
from kaname.stores import Stores, snapshot_file

LOG = logging.getLogger("kaname.data_plane")


class Following:
    """Of one worker, or of a program that holds a platform (then without a board)."""

    def __init__(self, stores: Stores, slot: int, board: Board | None) -> None:
        self._stores = stores
        self._slot = slot
        self._board = board
        self._path = snapshot_file(stores.project)
        self._last: Snapshot | None = None
        self._agent: NodeAgent | None = None
        if board is not None and stores.nodes.shared:
            facts = facts_of(stores.node, stores.project.root, board)
            self._agent = NodeAgent(stores.nodes, board, facts, stores.clock)

    def start(self) -> None:
        """Begin to speak with the other nodes, where there can be some."""
        if self._agent is not None:
            self._agent.start()

    def stop(self) -> None:
        """Leave them. Blocks for a moment."""
        if self._agent is not None:
            self._agent.stop()

    def progress(self) -> Progress:
        """Where the node of this process says how far it is."""
        if self._board is None:
            return Alone()
        return BoardProgress(self._board, self._slot, together=self._agent is not None)

    # --- news -------------------------------------------------------------------------------------------

    @property
    def is_quick(self) -> bool:
        """Whether `number` may be asked on the event loop."""
        return self._agent is not None or not self._stores.database.is_server

    def number(self) -> int:
        """The number of the last change; on a node of several, as its agent knows it."""
        if self._board is not None and self._agent is not None:
            return self._board.newest
        return self._stores.models.seq()

    def late(self, number: int, timeout_s: float) -> list[str]:
        """A line per other node that does not answer as of change `number` in time. Blocks."""
        if self._agent is None:
            return []
        try:
            return self._stores.nodes.wait_applied(number, timeout_s, but=self._stores.node)
        except KanameError as error:
            return [f"the other nodes cannot be asked: {error}"]

    # --- snapshots --------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The control plane as of now, or as it was when it could last be read; relations follow it."""
        self._stores.features.follow()
        try:
            found = self._stores.snapshot() if self._last is None else self._stores.snapshot_after(self._last)
        except Exception as error:  # noqa: BLE001  (whatever the database raises: predictions go on)
            return self._kept(error)
        if self._last is None or found.models is not self._last.models:
            found.save(self._path)
        self._last = found
        self._note(found.number)
        return found

    def _kept(self, error: Exception) -> Snapshot:
        try:
            found = Snapshot.load(self._path)
        except (OSError, CorruptData):
            raise error from None
        LOG.error("the control plane cannot be read (%s); going on with change %d", error, found.number)
        self._note(found.number)
        if self._board is not None:  # nobody can be asked whether the others have it, too
            self._board.allow(found.number, self._stores.clock.monotonic_ns())
        return found

    def _note(self, number: int) -> None:
        if self._board is not None:
            self._board.saw(number)
