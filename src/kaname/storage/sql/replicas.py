"""Databases that follow the primary one: read where they are far enough, left alone for a while where they fail."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count

import structlog
from sqlalchemy import Connection

from kaname.storage.sql import journal
from kaname.storage.sql.types import Backend

log = structlog.get_logger(__name__)
REST_S = 5.0
"""How long one that failed is not asked."""


class Replicas:
    """Asked in turn; safe to use from several threads."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._turns = count()
        self._rests_until = dict.fromkeys(range(len(backends)), 0.0)

    def at_least(self, number: int) -> tuple[ExitStack, Connection] | None:
        """A reading transaction on one that has change `number`, and what ends it; None when there is none."""
        first = next(self._turns)
        for turn in range(len(self._backends)):
            place = (first + turn) % len(self._backends)
            if time.monotonic() < self._rests_until[place]:
                continue
            found = self._try(place, number)
            if found is not None:
                return found
        return None

    def _try(self, place: int, number: int) -> tuple[ExitStack, Connection] | None:
        backend = self._backends[place]
        with ExitStack() as stack:
            try:
                conn = stack.enter_context(backend.engine.connect())
                stack.enter_context(backend.begin(conn, writing=False))
                if journal.latest(conn) >= number:
                    return stack.pop_all(), conn
            except Exception as error:
                explained = backend.explain(error)
                if explained is None:
                    raise
                self._rests_until[place] = time.monotonic() + REST_S
                log.warning("a replica is not read from now", error=str(explained))
        return None

    def close(self) -> None:
        """Close all connections."""
        for backend in self._backends:
            backend.engine.dispose()
