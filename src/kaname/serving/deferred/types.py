"""Requests that wait on disk, and their answers."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from kaname.errors import NotFound

ASKED, ANSWERED, DELIVERED = "asked", "answered", "delivered"
"""Topics of the log. The answer to the request at an offset of `asked` lies at the same offset of `answered`, so the
end of that partition says how far the queue is worked off. `delivered` holds the offsets whose webhooks are done."""
SHARD = "all"
KEPT_FIELDS = (b"content-type", b"content-encoding", b"accept", b"inference-header-content-length", b"x-request-id")
"""Headers of a request that say how it is to be read and answered; credentials are not kept."""
_ID = re.compile(r"(\d{1,6})-(\d{1,18})-([0-9a-f]{16})")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came, by somebody who was allowed to ask."""

    token: str
    """Makes the id one that cannot be guessed."""
    target: bytes
    fields: dict[bytes, bytes]
    body: bytes
    key_id: str
    name: str
    asked_us: int
    callback: str | None = None
    """Where the answer is sent as well."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the answer as it would have been sent."""

    token: str
    key_id: str
    status: int
    content_type: str
    body: bytes
    answered_us: int
    callback: str | None = None


class Place(NamedTuple):
    """Where a request lies: the parts of its id."""

    slot: int
    offset: int
    token: str

    @property
    def id(self) -> str:
        """As callers see it."""
        return f"{self.slot}-{self.offset}-{self.token}"

    @classmethod
    def of(cls, text: str) -> Place:
        """What `id` gave. Raises NotFound for anything else."""
        match = _ID.fullmatch(text)
        if match is None:
            raise NotFound("no such answer", where="id", found=text[:80], expected="an id as a 202 has it")
        return cls(int(match[1]), int(match[2]), match[3])


pack = msgspec.msgpack.Encoder().encode
asked_of = msgspec.msgpack.Decoder(Asked).decode
answered_of = msgspec.msgpack.Decoder(Answered).decode
