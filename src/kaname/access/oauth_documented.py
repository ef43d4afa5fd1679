"""The token endpoint as declared resources: documented here, answered by `access.oauth`."""

from __future__ import annotations

from typing import Literal

import msgspec

from kaname.access.oauth import JWKS, METADATA, PATH, TokenAnswer
from kaname.web.resources import Resource

TAG = "tokens"


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A form; id and secret may come by HTTP Basic instead."""

    grant_type: Literal["client_credentials"]
    scope: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class TokenRefused(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749, 5.2."""

    error: str
    error_description: str


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8414."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    scopes_supported: list[str]


class PublicKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A JWK set, RFC 7517."""

    keys: list[dict[str, str]]


def resources() -> list[Resource]:
    """The endpoint, its metadata and its public keys; open to everybody, for the secret is in the request."""
    return [
        Resource(
            method="POST",
            path=PATH,
            summary="Get a token for an API key",
            description="OAuth 2.0 client credentials: the client's id is the key's id, its secret the key.",
            handler=None,
            scope="public",
            body=TokenRequest,
            body_media="application/x-www-form-urlencoded",
            answer=TokenAnswer,
            error=TokenRefused,
            tag=TAG,
            example={"grant_type": "client_credentials", "scope": "predict:iris"},
        ),
        _public(METADATA, "What the token endpoint can do", ServerMetadata),
        _public(JWKS, "The keys that its tokens are checked with", PublicKeys, "application/jwk-set+json"),
    ]


def _public(path: str, summary: str, answer: type[msgspec.Struct], media: str = "application/json") -> Resource:
    return Resource(
        method="GET", path=path, summary=summary, handler=None, scope="public", answer=answer, media=media, tag=TAG
    )
