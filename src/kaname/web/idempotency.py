"""`Idempotency-Key`: a repeated request gets the stored answer of the first instead of a second effect.

The same key from the same principal within 24 hours returns what was answered then if method, path, query and
body are the same, and is refused otherwise. Only successful answers are kept: a request that failed changed
nothing and may be tried again. Answers lie where all workers see them, so a retry may reach any of them.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import msgspec

from kaname.errors import InvalidInput

KEEP_S = 24 * 3600
ABANDONED_S = 900
"""A request that began this long ago and never ended died with its process; its key is free again."""


class StoredAnswer(msgspec.Struct, frozen=True):
    """What was answered; header names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Answers(Protocol):
    """Where answers are kept, by (key of the principal, Idempotency-Key)."""

    def begin(self, owner: str, key: str, fingerprint: str) -> StoredAnswer | None:
        """Claim the key and return None, or return what was answered to the same request before.

        Raises Conflict when the key was used for another request, or when the first is still in progress.
        """

    def finish(self, owner: str, key: str, fingerprint: str, answer: StoredAnswer) -> None:
        """Keep the answer of a key that this request claimed; nothing happens when another has it by now."""

    def forget(self, owner: str, key: str, fingerprint: str) -> None:
        """Give a key back that this request claimed: it failed. Nothing happens when another has it by now."""


def check(key: str) -> str:
    """`key` when it is usable: 1 to 255 visible ASCII characters. Raises InvalidInput."""
    if not 1 <= len(key) <= 255 or not all("!" <= letter <= "~" for letter in key):
        raise InvalidInput(
            "unusable idempotency key", where="Idempotency-Key", expected="1 to 255 visible ASCII characters"
        )
    return key


def fingerprint(method: str, target: bytes, body_hash: bytes) -> str:
    """Identifies a request: method, path with query, and the BLAKE2b-256 of its body."""
    return hashlib.blake2b(b"\0".join((method.encode(), target, body_hash)), digest_size=32).hexdigest()
