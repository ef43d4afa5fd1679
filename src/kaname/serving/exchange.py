"""What a door hands to an endpoint, and what it gets back: the same for every way in."""

from __future__ import annotations

from typing import Any, Protocol

from kaname.call import Call
from kaname.errors import KanameError

Fields = dict[bytes, bytes]
"""Header values by name in lower case."""
Body = bytes | memoryview
"""What a request brought; nobody writes into it."""


class Head:
    """Of one HTTP request all but its body: `target` with its query, `fields` the headers by name (of several with one
    name the last). `terms` is for the endpoint, to keep what it has read in the fields: requests whose heads are equal
    to the last byte share one `Head`."""

    __slots__ = ("fields", "target", "terms")

    def __init__(self, target: bytes, fields: Fields) -> None:
        self.target = target
        self.fields = fields
        self.terms: Any = None

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.decode("latin-1").partition("?")[0]


class Reply(Protocol):
    """Takes the one answer of a request. `call` is set by the endpoint, so that the door can mark it gone."""

    call: Call | None

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """Answer with `head`, complete header lines that end in CRLF (without content-length), and `body`."""


class Endpoint(Protocol):
    """Answers requests for one URL."""

    @property
    def lasting(self) -> bool:
        """Whether it stays right until the next snapshot, so that the gate may remember it."""

    def enter(self, head: Head, body: Body, reply: Reply) -> None:
        """Answer through `reply`, now or later on the loop. Never raises."""

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        """Answer a request that was not read to its end, in the form of this endpoint's protocol."""


def header_lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Header pairs as the lines that `Reply.send` takes."""
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)
