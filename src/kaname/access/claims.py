"""What a token claims (RFC 7519): for whom and how long it is good, who came with it, and what that one may do here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from kaname.access import scopes
from kaname.access.jose import refused
from kaname.errors import Unauthenticated
from kaname.settings import TokenIssuer

Seconds = int | float
LONGEST_ID = 64
"""Characters of the name under which limits and records know a caller."""


class Claims(msgspec.Struct, frozen=True):
    """The claims that every token has, and those that bound its time (seconds since the Unix epoch)."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: Seconds
    nbf: Seconds | None = None
    iat: Seconds | None = None


def read(payload: bytes) -> Claims:
    """The claims of a token. Raises Unauthenticated where one is missing or of the wrong kind."""
    try:
        claims = msgspec.json.decode(payload, type=Claims)
    except msgspec.ValidationError as error:
        raise refused(f"the token's claims are not what they should be: {error}", "iss, sub, aud and exp") from None
    except (ValueError, RecursionError):
        raise refused("the token's claims cannot be read", "a JSON object") from None
    if not claims.sub:
        raise refused("the token names nobody", "a claim `sub` that is not empty")
    return claims


def check(claims: Claims, audience: tuple[str, ...], leeway_s: float, now_s: float) -> None:
    """Raises Unauthenticated unless a signed token is meant for this server, and good now."""
    meant_for = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if not set(meant_for) & set(audience):
        raise refused("the token is meant for another audience", " or ".join(audience))
    if now_s >= claims.exp + leeway_s:
        raise expired()
    for name, moment in (("nbf", claims.nbf), ("iat", claims.iat)):
        if moment is not None and now_s + leeway_s < moment:
            raise refused(f"the token is not yet valid: `{name}` is in the future")


def expired() -> Unauthenticated:
    """The error for a token whose time is over."""
    return refused("the token has expired", "a new token")


def subject_of(issuer: str, sub: str) -> str:
    """How limits and records name the caller: `ISSUER:SUBJECT`, of a long or unprintable subject a hash."""
    name = f"{issuer}:{sub}"
    if len(name) <= LONGEST_ID and name.isascii() and name.isprintable():
        return name
    return f"{issuer}:{hashlib.blake2b(sub.encode(), digest_size=16).hexdigest()}"


def granted(payload: bytes, issuer: TokenIssuer) -> scopes.Grant:
    """What the claim that says so allows here; nothing where it is missing."""
    return scopes.grant(_mapped(_value(msgspec.json.decode(payload), issuer.claim), issuer))


def _value(claims: dict[str, Any], path: str) -> object:
    """The claim of exactly this name, else what the dotted path reaches."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _mapped(value: object, issuer: TokenIssuer) -> Iterator[str]:
    given = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
    for one in given:
        if not isinstance(one, str):
            continue
        if issuer.scopes is not None:
            yield from issuer.scopes.get(one, ())
        elif scopes.is_scope(one):
            yield one
