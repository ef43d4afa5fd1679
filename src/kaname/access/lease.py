"""What a verified token grants, without knowing what a token is: for principals."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kaname.access.scopes import Grant
from kaname.clock import Clock


class Lease:
    """True as long as what it stands for holds."""

    __slots__ = ("_monotonic_ns", "_until_ns")

    def __init__(self, clock: Clock, until_ns: int) -> None:
        """`until_ns`: monotonic."""
        self._monotonic_ns = clock.monotonic_ns
        self._until_ns = until_ns

    def __bool__(self) -> bool:
        return self._monotonic_ns() < self._until_ns

    def end(self) -> None:
        """From now on it is false."""
        self._until_ns = 0


class Verified(NamedTuple):
    """Who came with a token, and what it allows while the lease holds."""

    subject: str
    """What limits and records call the caller; with `of_key` the id of an API key."""
    grant: Grant
    lease: Lease
    rate_rows_per_s: float | None = None
    of_key: bool = False
    """The token stands for an API key: it allows no more than that does now."""


class TokenCheck(Protocol):
    """Knows tokens (`access.bearer.Tokens`)."""

    def verify(self, authorization: bytes) -> Verified:
        """What the token in an `Authorization` value grants. Raises Unauthenticated, or Unavailable for now."""
