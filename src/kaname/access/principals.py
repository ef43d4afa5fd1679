"""From an `Authorization` header to the principal behind it, in one dictionary look-up."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from kaname.access import scopes, tokens
from kaname.access.limiter import Cells, TokenBucket
from kaname.access.types import KeyInfo
from kaname.call import Principal
from kaname.clock import Clock
from kaname.errors import Unauthenticated

_CACHED = 4096
_EXPECTED = "Authorization: Bearer kn_…"


class Buckets:
    """The token buckets of all keys; outlives the snapshots, so that a change of the keys refills nothing."""

    def __init__(self, clock: Clock, levels: Cells | None = None) -> None:
        """`levels`: shared cells indexed by a key's number; a key beyond their end gets a bucket of its own."""
        self._clock = clock
        self._levels = levels
        self._buckets: dict[str, TokenBucket] = {}

    def of(self, key: KeyInfo, default_rate: float | None) -> TokenBucket | None:
        """The bucket of `key`, made anew when its limits changed; None without a limit."""
        rate = default_rate if key.rate_rows_per_s is None else key.rate_rows_per_s
        if rate is None:
            self._buckets.pop(key.id, None)
            return None
        made = self._make(key, rate)
        kept = self._buckets.get(key.id)
        if kept is None or (kept.rate, kept.burst) != (made.rate, made.burst):
            kept = self._buckets[key.id] = made
        return kept

    def keep_only(self, key_ids: frozenset[str]) -> None:
        """Forget the buckets of all other keys."""
        for key_id in self._buckets.keys() - key_ids:
            del self._buckets[key_id]

    def _make(self, key: KeyInfo, rate: float) -> TokenBucket:
        if self._levels is None or not 0 < key.number < len(self._levels):
            return TokenBucket(rate, key.burst_rows, self._clock)
        return TokenBucket(rate, key.burst_rows, self._clock, levels=self._levels, at=key.number)


class Principals:
    """The keys of one snapshot. Immutable but for a bounded cache of header values already seen to be good."""

    def __init__(
        self,
        rows: Sequence[KeyInfo],
        buckets: Buckets,
        *,
        default_rate_rows_per_s: float | None = None,
        off: bool = False,
    ) -> None:
        """`rows` are the active keys; `default_rate_rows_per_s` limits those without a rate of their own.

        `off`: no credentials are needed and everybody is admin.
        """
        self._everybody = everybody() if off else None
        self._known: dict[str, tuple[str, Principal]] = {}
        for row in rows:
            if row.revoked_us is None:
                bucket = buckets.of(row, default_rate_rows_per_s)
                self._known[row.id] = row.hash, _principal(row, bucket)
        buckets.keep_only(frozenset(self._known))
        self._cache: dict[bytes | None, Principal] = {}

    def of(self, authorization: bytes | None) -> Principal:
        """The principal of an `Authorization` header value, None when there was none.

        Raises Unauthenticated; the error never repeats what was sent.
        """
        if self._everybody is not None:
            return self._everybody
        found = self._cache.get(authorization)
        return self._look_up(authorization) if found is None else found

    def _look_up(self, authorization: bytes | None) -> Principal:
        if authorization is None:
            raise Unauthenticated("no API key came with the request", where="Authorization", expected=_EXPECTED)
        parsed = tokens.parse(authorization)
        if parsed is None:
            raise Unauthenticated("this is not an API key", where="Authorization", expected=_EXPECTED)
        key_id, key = parsed
        known = self._known.get(key_id)
        # One message for unknown, revoked and wrong keys: an id must not be tested for existence.
        if known is None or not hmac.compare_digest(known[0], tokens.digest(key)):
            raise Unauthenticated("the API key is unknown or revoked", where="Authorization", expected=_EXPECTED)
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[authorization] = known[1]
        return known[1]


def everybody() -> Principal:
    """The principal of every request while authentication is off: admin, without a limit."""
    right = scopes.grant(("admin",))
    return Principal("", "everybody", may_predict=right.may_predict, scopes=right.scopes)


def _principal(key: KeyInfo, bucket: TokenBucket | None) -> Principal:
    right = scopes.grant(key.scopes)
    return Principal(
        key.id,
        key.name,
        may_predict=right.may_predict,
        scopes=right.scopes,
        limiter=None if bucket is None else bucket.take,
        burst_rows=0 if bucket is None else bucket.burst,
    )
