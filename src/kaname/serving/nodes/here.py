"""What this node says of itself to the others."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from kaname import __version__
from kaname.serving.nodes.types import NodeFacts
from kaname.serving.workers.board import Board
from kaname.serving.workers.lock import holder


def facts_of(node: str, project: Path, board: Board) -> Callable[[], NodeFacts]:
    """A function that reads the board of the project's server."""
    name = socket.gethostname()

    def facts() -> NodeFacts:
        workers, loading, prepared, applied = board.standing()
        server = holder(project)
        return NodeFacts(
            id=node,
            name=name,
            address="" if server is None else server.url,
            release=__version__,
            workers=workers,
            loading=loading,
            prepared=prepared,
            applied=applied,
        )

    return facts
