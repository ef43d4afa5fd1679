"""What the owner of a database does to it, and the messages that bring it from other processes."""

from __future__ import annotations

from typing import IO, TypeAlias

import msgspec

from kaname.errors import (
    CorruptData,
    DeadlineExceeded,
    InvalidInput,
    KanameError,
    NotFound,
    TooLarge,
    Unavailable,
)
from kaname.storage.cells.types import MAX_BATCH_BYTES, Mutation, Table

LENGTH_BYTES = 4
MAX_FRAME_BYTES = MAX_BATCH_BYTES + 1024
"""A batch takes no more as a message than it counts."""


class Batch(msgspec.Struct, frozen=True, tag="batch", array_like=True):
    """Cells to write and to delete, every mutation with its timestamp."""

    mutations: list[Mutation]


class Define(msgspec.Struct, frozen=True, tag="define", array_like=True):
    """Make or change a table."""

    table: Table


class Drop(msgspec.Struct, frozen=True, tag="drop", array_like=True):
    """Remove a table."""

    name: str


Change: TypeAlias = Batch | Define | Drop


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A change to make, wholly or not at all."""

    deadline_ns: int
    """Not after this moment of the machine's monotonic clock: nobody waits for it then."""
    change: Change


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """What came of it; no code: they are durable."""

    code: str = ""
    message: str = ""
    where: str | None = None
    found: str | None = None
    expected: str | None = None

    @classmethod
    def of(cls, error: KanameError | None) -> Answered:
        """The answer that brings this error over."""
        if error is None:
            return cls()
        return cls(error.code, error.message, error.where, error.found, error.expected)

    def check(self) -> None:
        """Raise the error that was brought over."""
        if self.code:
            raise _ERRORS.get(self.code, Unavailable)(
                self.message, where=self.where, found=self.found, expected=self.expected
            )


_ERRORS = {kind.code: kind for kind in (CorruptData, DeadlineExceeded, InvalidInput, NotFound, TooLarge, Unavailable)}
_encode = msgspec.msgpack.Encoder().encode
asked_of = msgspec.msgpack.Decoder(Asked).decode
answered_of = msgspec.msgpack.Decoder(Answered).decode


def frame(message: Asked | Answered) -> bytes:
    """A message with its length in front."""
    body = _encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_message(stream: IO[bytes]) -> bytes:
    """The next message without its length. Raises ConnectionError when the other end is gone or talks nonsense."""
    head = stream.read(LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    if len(head) == LENGTH_BYTES and length <= MAX_FRAME_BYTES:
        body = stream.read(length)
        if len(body) == length:
            return body
    raise ConnectionError("the other end has gone")
