"""Who may ask, and how much: keys, tokens, certificates, tenants."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kaname.settings.units import Count, Rate

Algorithm = Literal["RS256", "ES256", "EdDSA"]
SCOPE = (
    r"predict:(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127})|(?:read|write):(?:\*|[A-Za-z_][A-Za-z0-9_]{0,127})|read|write|admin"
)
"""What a key or token may be allowed; `access.scopes` says what each means."""
Scope = Annotated[str, Meta(pattern=f"^({SCOPE})$")]


class TokenIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody whose signed tokens (JWT) are accepted in the place of API keys."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,23}$")]
    """Short name; limits and records know who came with a token as `NAME:SUBJECT`."""
    issuer: Annotated[str, Meta(min_length=1)]
    """The claim `iss`, exactly."""
    audience: Annotated[tuple[str, ...], Meta(min_length=1)]
    """A token must be meant for one of these (`aud`)."""
    jwks: str | None = None
    """Its keys (JWK set): a file, or a URL; None: as the issuer's metadata say."""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "ES256", "EdDSA")
    """How tokens may be signed."""
    claim: str = "scope"
    """The claim that says what the caller may do: text, or a list; a dotted path reaches into objects."""
    scopes: dict[str, tuple[Scope, ...]] | None = None
    """What each value of the claim allows here; None: the values are Kaname's own scopes. Others allow nothing."""
    leeway_ms: Annotated[float, Meta(ge=0, le=300_000)] = 30_000
    """How far the issuer's clock may be off."""
    refresh_ms: Annotated[float, Meta(ge=1_000)] = 300_000
    """How often keys behind a URL are read again."""
    rate_rows_per_s: Rate | None = None
    """Limit of each caller; None: the default limit of a key."""
    ca: str | None = None
    """File of the certificates that vouch for the issuer's server; None: the system's."""


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the holder of a certificate may do that `server.tls.client_ca` vouches for."""

    name: Annotated[str, Meta(pattern=r"^(CN=|DNS:|URI:|email:)[!-~]([ -~]*[!-~])?$", max_length=64)]
    """A name in the certificate: `CN=shop`, `DNS:shop.example`, `URI:spiffe://example/shop`."""
    scopes: tuple[Scope, ...]
    """What it may do."""
    rate_rows_per_s: Rate | None = None
    """Its limit; None: the default limit of a key."""


class OAuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server's own OAuth 2.0 token endpoint: short-lived tokens for API keys. Needs the extra `security`."""

    enabled: bool = False
    """Whether `/oauth/token` answers, and its tokens are accepted."""
    issuer: str | None = None
    """The URL under which clients know the server, without a path; None: as each request names it."""
    audience: Annotated[str, Meta(min_length=1)] = "kaname"
    """The claim `aud` of its tokens."""
    ttl_ms: Annotated[int, Meta(ge=1_000, le=86_400_000)] = 600_000
    """How long a token is valid."""
    algorithm: Algorithm = "ES256"
    """How tokens are signed; a change takes effect with the next rotation of the keys."""
    keys_file: str | None = None
    """File of the signing keys, which nodes with the same one share; None: one in the project's data folder."""


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may ask, and how much."""

    authentication: Literal["required", "off"] = "required"
    """`required`: every request but health needs a key. `off`: anyone who reaches the port is admin."""
    allow_insecure_bind: bool = False
    """Permit binding another address than loopback while authentication is off."""
    rate_rows_per_s: float | None = None
    """Default limit of a key, in rows per second; 1,000 in profile `cluster`, none in `local`."""
    tokens: tuple[TokenIssuer, ...] = ()
    """Issuers whose signed tokens are accepted beside API keys. Needs the extra `security`."""
    oauth: OAuthSettings = OAuthSettings()
    certificates: tuple[ClientCertificate, ...] = ()
    """Clients that need no key because of the certificate that they show."""


TenantName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one tenant, over all its keys, workers and nodes. None: no limit."""

    rate_rows_per_s: Rate | None = None
    """Rows per second."""
    burst_rows: Count | None = None
    """Rows that may come at once; None: one second's worth."""
    rows_per_day: Count | None = None
    """Rows per day, from midnight to midnight UTC."""
