"""What is known of a request that was traced, for whoever sends it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

Value = str | int | bool
"""Of an attribute."""


class Span(NamedTuple):
    """One piece of work. Ids in hexadecimal (`parent_id` empty for a root), times in nanoseconds since the Unix epoch.

    `fault`: what went wrong where it is the server's own, else None.
    """

    kind: Literal["server", "internal"]
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    fault: str | None = None


class Finished(Protocol):
    """A request that was answered, as light as its marks of time."""

    @property
    def size(self) -> int:
        """How many spans it has."""

    def spans(self) -> list[Span]:
        """Its spans, the server's first. On any thread."""


class Spool(Protocol):
    """Takes what was traced."""

    def offer(self, finished: Finished) -> None:
        """Send it on later, or drop it and count that. Never blocks, never raises."""
