"""Request heads seen before: the same bytes parse to the same request, so they are parsed once.

A client that keeps its connection sends heads that are equal to the last byte but for the length of the body. What the
parser found in them is kept by those bytes, for all connections of a worker, until the next snapshot.
"""

from __future__ import annotations

from kaname.serving.exchange import Endpoint, Head

END = b"\r\n\r\n"
METHOD = b"POST "
"""What a remembered head starts with: a parser also takes empty lines before a request."""
MOST = 1024
LONGEST = 4096
UNIQUE = frozenset({b"x-request-id", b"traceparent", b"tracestate", b"expect", b"transfer-encoding", b"connection"})
"""Heads with these are not kept: most come once, the others ask for more than an answer."""


Known = tuple[Endpoint, Head, int, bytes]
"""The endpoint of a request that predicts, its head, the length of its body, and the lines owed to its head."""


class Heads:
    """The heads of one snapshot, by their bytes; emptied when there are too many."""

    __slots__ = ("_known", "find")

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}
        self.find = self._known.get
        """What is known of the head with exactly these bytes, its end included, or None."""

    def keep(self, data: bytes, endpoint: Endpoint, head: Head, length: int, owed: bytes) -> None:
        """Remember `head`, the first in `data`, which begins with it."""
        end = data.find(END) + len(END)
        if end > LONGEST or not data.startswith(METHOD) or not UNIQUE.isdisjoint(head.fields):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[data[:end]] = endpoint, head, length, owed
