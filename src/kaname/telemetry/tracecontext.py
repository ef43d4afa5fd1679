"""The trace that a request belongs to: W3C Trace Context (level 1), and whether a request is traced.

Source: https://www.w3.org/TR/trace-context-1/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from random import Random
from typing import NamedTuple

SAMPLED = 0x01
OUTGOING: ContextVar[Mapping[str, str]] = ContextVar("OUTGOING", default={})  # noqa: B039  (nobody writes into it)
"""The headers that tell another server the trace of what it is asked now; none where that is not traced."""
_PARENT = re.compile(rb"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[^ \t]*)?[ \t]*")
_KEY = rb"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_MEMBER = re.compile(rb"%b=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]" % _KEY)
_MOST_MEMBERS = 32


class Parent(NamedTuple):
    """Who asked: 32 and 16 hexadecimal digits, and whether it is traced."""

    trace_id: str
    span_id: str
    sampled: bool


def parent_of(traceparent: bytes) -> Parent | None:
    """What the header says; None where it is not valid, as if neither it nor `tracestate` had come.

    A version above 00 is read as far as it is like 00.
    """
    found = _PARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Parent(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & SAMPLED))


def state_of(header: bytes) -> str:
    """The members of a `tracestate`, without empty ones; nothing where one of them is not valid."""
    members = [member for part in header.split(b",") if (member := part.strip(b" \t"))]
    keys = {member.partition(b"=")[0] for member in members}
    if len(members) > _MOST_MEMBERS or len(keys) < len(members) or not all(map(_MEMBER.fullmatch, members)):
        return ""
    return b",".join(members).decode()


untraced = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]").fullmatch
"""Whether a `traceparent` is valid and not traced, in the usual form: a tenth of what `parent_of` costs."""


def traceparent(trace_id: str, span_id: str, *, sampled: bool = True) -> bytes:
    """The header for what belongs to this span."""
    return b"00-%b-%b-%02x" % (trace_id.encode(), span_id.encode(), sampled)


def echo(given: bytes) -> bytes:
    """The header lines that tell a caller its own trace again; nothing for one that is not valid."""
    return b"" if parent_of(given) is None else b"traceparent: %b\r\n" % given


class Sampler:
    """Decides for requests without a parent: those whose new trace id falls below the share `ratio`, as
    `TraceIdRatioBased` of OpenTelemetry does, so that other services with the same ratio decide alike."""

    def __init__(self, ratio: float, random: Random) -> None:
        self.bound = round(ratio * 2**64)
        """A draw below it is traced."""
        self.draw = partial(random.getrandbits, 64)
        """The lower half of a new trace id."""

    def root(self, low: int) -> str:
        """The id of the new trace that was drawn."""
        return f"{self.draw() or 1:016x}{low:016x}"

    def span_id(self) -> str:
        """The id of a new span."""
        return f"{self.draw() or 1:016x}"
