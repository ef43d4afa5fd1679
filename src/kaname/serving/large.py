"""Large bodies of requests whose heads are known: read by the system straight to their place.

A stream protocol gets its bytes in chunks that it has to put together: the body is copied four times on its way. Here
the transport is told to write into the body itself, and goes back to the connection when the last byte is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np

LARGE = 64 * 1024
"""Bytes that must be missing for the change of protocol to be worth its two system calls."""


class Receiver(Protocol):
    """The connection that the body belongs to."""

    @property
    def deaf(self) -> bool:
        """Whether what comes is thrown away: the request was refused meanwhile."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class _BodyReader(asyncio.BufferedProtocol):
    """The transport's protocol while a large body arrives; the rest of its life goes on in the connection."""

    def __init__(self, receiver: Receiver, body: memoryview, at: int, done: Callable[[], None]) -> None:
        self._receiver = receiver
        self._body = body
        self._at = at
        self._done = done

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._body[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        self._at += nbytes
        if self._receiver.deaf or self._at == len(self._body):
            self._done()

    def eof_received(self) -> bool:
        return self._receiver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()


def read_body(
    receiver: Receiver, transport: asyncio.Transport, begun: memoryview, size: int, done: Callable[[memoryview], None]
) -> None:
    """Read the rest of a body of `size` bytes that starts with `begun`, then call `done` with all of it, read-only.

    Whoever sends less hears of it through the receiver, whose time limits go on; what a receiver refuses meanwhile is
    thrown away, and `done` is not called.
    """
    whole = np.empty(size, np.uint8).data  # unlike a bytearray, not filled with zeros first
    whole[: len(begun)] = begun

    def back() -> None:
        _listen(transport, receiver)  # type: ignore[arg-type]  # a Receiver is a protocol, as asyncio wants one
        if not receiver.deaf:
            done(whole.toreadonly())

    _listen(transport, _BodyReader(receiver, whole, len(begun), back))


def _listen(transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
    """Change who hears of what arrives: a transport asks its protocol where to only when it starts to read."""
    reading = transport.is_reading()
    if reading:
        transport.pause_reading()
    transport.set_protocol(protocol)
    if reading:
        transport.resume_reading()
