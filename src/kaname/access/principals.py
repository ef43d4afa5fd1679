"""From an `Authorization` header to the principal behind it, in one dictionary look-up."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from kaname.access import scopes, tokens
from kaname.access.buckets import Buckets
from kaname.access.certificates import ClientCertificates
from kaname.access.drawing import Take
from kaname.access.lease import Lease, TokenCheck, Verified
from kaname.access.limiter import TokenBucket
from kaname.access.types import KeyInfo, TenantInfo
from kaname.call import PRIORITIES, Principal
from kaname.errors import Unauthenticated
from kaname.settings import ClientCertificate

_CACHED = 4096
_EXPECTED = "Authorization: Bearer kn_…"


class Principals:
    """The keys of one snapshot. Immutable but for a bounded cache of header values already seen to be good."""

    def __init__(
        self,
        rows: Sequence[KeyInfo],
        buckets: Buckets,
        *,
        default_rate_rows_per_s: float | None = None,
        off: bool = False,
        check: TokenCheck | None = None,
        tenants: Sequence[TenantInfo] = (),
        certificates: ClientCertificates | None = None,
    ) -> None:
        """`rows` are the active keys; `default_rate_rows_per_s` limits those without a rate of their own, `tenants`
        those that belong to one.

        `off`: no credentials are needed and everybody is admin. `check` knows the tokens that are as good as keys,
        `certificates` the clients that need none.
        """
        self._buckets = buckets
        self._default_rate = default_rate_rows_per_s
        self._check = check
        self._certificates = certificates
        self._everybody = everybody() if off else None
        self._known: dict[str, tuple[str, Principal]] = {}
        named = {tenant.name: tenant for tenant in tenants}
        for row in rows:
            if row.revoked_us is None:
                limiter = buckets.limiter(row, default_rate_rows_per_s, named)
                bucket = buckets.of(row, default_rate_rows_per_s)
                self._known[row.id] = row.hash, _principal(row, limiter, 0 if bucket is None else bucket.burst)
        buckets.keep_only(frozenset(self._known))
        self._cache: dict[bytes | None, Principal] = {}

    def of(self, authorization: bytes | None) -> Principal:
        """The principal of an `Authorization` header value, None when there was none.

        Raises Unauthenticated; the error never repeats what was sent.
        """
        if self._everybody is not None:
            return self._everybody
        return self._cache.get(authorization) or self._look_up(authorization)

    def _look_up(self, authorization: bytes | None) -> Principal:
        if authorization is None:
            raise Unauthenticated("no API key came with the request", where="Authorization", expected=_EXPECTED)
        parsed = tokens.parse(authorization)
        if parsed is not None:
            found = self._of_key(*parsed)
        elif self._certificates is not None and (shown := self._certificates.of(authorization)) is not None:
            found = self._of_certificate(shown)
        elif self._check is not None:
            found = self._of_token(self._check.verify(authorization))
        else:
            raise Unauthenticated("this is not an API key", where="Authorization", expected=_EXPECTED)
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[authorization] = found
        return found

    def _of_key(self, key_id: str, key: bytes) -> Principal:
        known = self._known.get(key_id)
        # One message for unknown, revoked and wrong keys: an id must not be tested for existence.
        if known is None or not hmac.compare_digest(known[0], tokens.digest(key)):
            raise Unauthenticated("the API key is unknown or revoked", where="Authorization", expected=_EXPECTED)
        return known[1]

    def _of_certificate(self, shown: ClientCertificate) -> Principal:
        rate = self._default_rate if shown.rate_rows_per_s is None else shown.rate_rows_per_s
        bucket = self._buckets.of_subject(shown.name, rate)
        right = scopes.grant(shown.scopes)
        return Principal(
            shown.name,
            shown.name,
            may_predict=right.may_predict,
            scopes=right.scopes,
            limiter=None if bucket is None else bucket.take,
            burst_rows=0 if bucket is None else bucket.burst,
        )

    def _of_token(self, verified: Verified) -> Principal:
        if not verified.of_key:
            rate = self._default_rate if verified.rate_rows_per_s is None else verified.rate_rows_per_s
            bucket = self._buckets.of_subject(verified.subject, rate)
            return TokenPrincipal(verified.subject, verified.subject, verified.grant, bucket, verified.lease)
        known = self._known.get(verified.subject)
        if known is None:
            raise Unauthenticated("the token's API key is unknown or revoked", where="Authorization")
        key = known[1]
        held = scopes.narrow(scopes.Grant(key.may_predict, key.scopes), verified.grant)
        found = TokenPrincipal(key.key_id, key.name, held, None, verified.lease)
        found.limiter, found.burst_rows, found.priority = key.limiter, key.burst_rows, key.priority
        return found


class TokenPrincipal(Principal):
    """Somebody who came with a token: false once that has expired or was withdrawn. Whoever remembers it asks."""

    __slots__ = ("_lease",)

    def __init__(self, key_id: str, name: str, grant: scopes.Grant, bucket: TokenBucket | None, lease: Lease) -> None:
        super().__init__(
            key_id,
            name,
            may_predict=grant.may_predict,
            scopes=grant.scopes,
            limiter=None if bucket is None else bucket.take,
            burst_rows=0 if bucket is None else bucket.burst,
        )
        self._lease = lease

    def __bool__(self) -> bool:
        return bool(self._lease)


def everybody() -> Principal:
    """The principal of every request while authentication is off: admin, without a limit."""
    right = scopes.grant(("admin",))
    return Principal("", "everybody", may_predict=right.may_predict, scopes=right.scopes)


def _principal(key: KeyInfo, limiter: Take | None, burst_rows: int) -> Principal:
    right = scopes.grant(key.scopes)
    return Principal(
        key.id,
        key.name,
        may_predict=right.may_predict,
        scopes=right.scopes,
        limiter=limiter,
        burst_rows=burst_rows,
        priority=PRIORITIES.index(key.priority),
    )
