"""From a signed token to what it grants, and for how long: checked once, remembered until it ends.

Every worker has one `Tokens`; it outlives the snapshots. What it hands out is a lease: false once the token has
expired, or once the issuer has withdrawn the key that signed it. Whoever remembers what a token grants asks the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kaname.access import claims, jose
from kaname.access.keysets import FileSource, Keyset, UrlSource
from kaname.access.lease import Lease, Verified
from kaname.access.signing import SigningKeys
from kaname.addresses import is_url
from kaname.clock import Clock, SystemClock
from kaname.errors import InvalidInput, Unavailable
from kaname.settings import AccessSettings, OAuthSettings, TokenIssuer

REMEMBERED = 4096
START_S = 5.0
"""How long a starting server waits for the first answers of issuers."""
MOST_S = 366 * 86_400.0
"""After which even a token that never expires is checked again."""
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+) *")


def open_tokens(access: AccessSettings, root: Path, data: Path, clock: Clock) -> Tokens:
    """The tokens that a project's settings accept; `root`: where relative paths start. Raises InvalidInput."""
    tokens = Tokens(clock)
    trusted = [Trusted(issuer, _keyset(issuer, root, data, clock, tokens)) for issuer in access.tokens]
    own = None
    if access.oauth.enabled:
        path = signing_keys(access, data).path
        own = Own(access.oauth, Keyset("the token endpoint", FileSource(path), clock, tokens.withdraw))
    tokens.trust(trusted, own)
    return tokens


def signing_keys(access: AccessSettings, data: Path, clock: Clock | None = None) -> SigningKeys:
    """The keys of a project's token endpoint; the first one is made where there is none."""
    path = data / "tokens" / "signing.json" if access.oauth.keys_file is None else data.parent / access.oauth.keys_file
    found = SigningKeys(path, access.oauth, clock or SystemClock())
    found.ensure()
    return found


def _keyset(issuer: TokenIssuer, root: Path, data: Path, clock: Clock, tokens: Tokens) -> Keyset:
    if issuer.jwks is not None and not is_url(issuer.jwks):
        return Keyset(issuer.name, FileSource(root / issuer.jwks), clock, tokens.withdraw)
    try:
        source = UrlSource(issuer, root)
    except OSError as error:  # ssl.SSLError is one
        where = f"access.tokens {issuer.name} ca"
        raise InvalidInput("no file of certificates", where=where, found=f"{issuer.ca}: {error.strerror}") from error
    return Keyset(issuer.name, source, clock, tokens.withdraw, data / "tokens" / f"{issuer.name}.jwks.json")


class Trusted(NamedTuple):
    """An issuer and its keys."""

    issuer: TokenIssuer
    keys: Keyset


class Own(NamedTuple):
    """This server as an issuer: its tokens stand for API keys."""

    settings: OAuthSettings
    keys: Keyset


class _Known(NamedTuple):
    verified: Verified
    keys: Keyset
    thumbprint: str


class Tokens:
    """Checks the tokens of the trusted issuers and, where there is one, of this server's own endpoint."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trusted: dict[str, Trusted] = {}
        self._own: Own | None = None
        self._known: dict[bytes, _Known] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def trust(self, trusted: Sequence[Trusted], own: Own | None) -> None:
        """Accept the tokens of these."""
        self._trusted = {one.issuer.issuer: one for one in trusted}
        self._own = own

    async def start(self) -> None:
        """Read the keys, for a few seconds at most, and go on doing so in the background."""
        keysets = [one.keys for one in (*self._trusted.values(), *((self._own,) if self._own else ()))]
        first = [asyncio.create_task(one.refresh()) for one in keysets]
        if first:
            await asyncio.wait(first, timeout=START_S)
        self._tasks = [*first, *(asyncio.create_task(one.run()) for one in keysets)]

    async def stop(self) -> None:
        """Read no more keys."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def verify(self, authorization: bytes) -> Verified:
        """What the token in `Authorization: Bearer …` grants.

        Raises Unauthenticated, or Unavailable while the keys of its issuer are being read.
        """
        match = _BEARER.fullmatch(authorization)
        if match is None:
            raise jose.refused("this is neither an API key nor a token", "Authorization: Bearer …")
        token = match[1]
        digest = hashlib.blake2b(token, digest_size=32).digest()
        known = self._known.get(digest)
        if known is None:
            known = self._check(token)
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[digest] = known
        if not known.verified.lease:
            del self._known[digest]
            raise claims.expired()
        return known.verified

    def withdraw(self, keys: Keyset) -> None:
        """End what tokens grant that were signed with keys which the issuer has no more."""
        left = {key.thumbprint for key in keys.keys.values()}
        for digest, known in list(self._known.items()):
            if known.keys is keys and known.thumbprint not in left:
                known.verified.lease.end()
                del self._known[digest]

    # --- checking ---------------------------------------------------------------------------------------

    def _check(self, token: bytes) -> _Known:
        header = jose.header_of(token)
        payload = jose.payload_of(token)
        claimed = claims.read(payload)
        trusted, own = self._trusted.get(claimed.iss), self._own
        if trusted is not None:
            issuer, keys = trusted.issuer, trusted.keys
        elif own is not None and claimed.iss == (own.settings.issuer or claimed.iss):
            issuer, keys = _as_issued(own.settings), own.keys
        else:
            raise jose.refused("the token's issuer is not trusted here", "one of `access.tokens`")
        if header.alg not in issuer.algorithms:
            raise jose.refused("the token is signed in a way that is not accepted", ", ".join(issuer.algorithms))
        key = self._key(keys, header)
        jose.verify(token, key)
        lease = self._lease(claimed, issuer)
        subject = claimed.sub if trusted is None else claims.subject_of(issuer.name, claimed.sub)
        grant = claims.granted(payload, issuer)
        verified = Verified(subject, grant, lease, issuer.rate_rows_per_s, of_key=trusted is None)
        return _Known(verified, keys, key.thumbprint)

    def _key(self, keys: Keyset, header: jose.Header) -> jose.PublicKey:
        key = keys.find(header.kid, header.alg)
        if key is None:
            if keys.ask():
                raise Unavailable("the issuer's keys are being read", where=keys.name, retry_after_s=1.0)
            raise jose.refused("the issuer has no such key", "a token signed by one of its keys")
        return key

    def _lease(self, claimed: claims.Claims, issuer: TokenIssuer) -> Lease:
        now_s, leeway_s = self._clock.time_ns() / 1e9, issuer.leeway_ms / 1000
        claims.check(claimed, issuer.audience, leeway_s, now_s)
        left_s = min(claimed.exp + leeway_s - now_s, MOST_S)
        return Lease(self._clock, self._clock.monotonic_ns() + int(left_s * 1e9))


def _as_issued(own: OAuthSettings) -> TokenIssuer:
    """This server as it would be declared among the issuers; its clock needs no leeway."""
    return TokenIssuer(name="own", issuer=own.issuer or "own", audience=(own.audience,), leeway_ms=0)
