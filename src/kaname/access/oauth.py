"""The server's own OAuth 2.0 endpoint: short-lived tokens for API keys.

Client credentials (RFC 6749, 4.4): the client's id is the id of a key, its secret the key. Metadata (RFC 8414) and the
keys that check the tokens (RFC 7517) are public; the tokens have the profile of RFC 9068.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kaname.access import jose, scopes, tokens
from kaname.access.signing import SigningKeys
from kaname.call import Principal
from kaname.clock import Clock
from kaname.errors import KanameError, Unauthenticated, Unavailable
from kaname.settings import OAuthSettings
from kaname.web import bodies

PATH = "/oauth/token"
JWKS = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"
MOST_BYTES = 16_384
NEWS_S = 0.5
"""A worker knows of a key at most this long after it was made: who is not known is looked up once more after it."""
_NEVER_STORED = {"cache-control": "no-store", "pragma": "no-cache"}


class OAuthError(Exception):
    """A refusal in the words of RFC 6749, 5.2."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


class TokenAnswer(msgspec.Struct, frozen=True):
    """A new token (RFC 6749, 5.1)."""

    access_token: str
    expires_in: int
    """Seconds."""
    scope: str
    token_type: str = "Bearer"  # noqa: S105  (no secret)


class OAuth:
    """Issues tokens to holders of API keys."""

    def __init__(
        self,
        settings: OAuthSettings,
        keys: SigningKeys,
        authenticate: Callable[[bytes | None], Principal],
        clock: Clock,
    ) -> None:
        """`authenticate`: who an `Authorization` value belongs to; raises Unauthenticated."""
        self._settings = settings
        self._keys = keys
        self._authenticate = authenticate
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """The endpoint, its metadata and its public keys."""
        return [
            Route(PATH, self._token, methods=["POST"]),
            Route(METADATA, self._metadata, methods=["GET"]),
            Route(JWKS, self._jwks, methods=["GET"]),
        ]

    async def _token(self, request: Request) -> Response:
        try:
            form = await _form(request)
            if form.get("grant_type") != "client_credentials":
                raise _grant_refused("grant_type" in form)
            principal = await self._client(*_credentials(request, form))
            answer = await run_in_threadpool(self._issue, principal, form.get("scope"), self._issuer(request))
        except OAuthError as error:
            return _refused(error)
        except Unavailable as error:  # in the moment after a revocation of the signing keys
            return _refused(OAuthError("temporarily_unavailable", error.message, 503))
        return _json(answer, headers=_NEVER_STORED)

    async def _client(self, client_id: str, secret: str) -> Principal:
        """The API key behind id and secret. Raises OAuthError, of which strangers learn nothing."""
        found = self._holder(client_id, secret)
        if found is None:
            await asyncio.sleep(NEWS_S)
            found = self._holder(client_id, secret)
        if found is None:
            raise OAuthError("invalid_client", "the client's id or secret is unknown or revoked", 401)
        return found

    def _holder(self, client_id: str, secret: str) -> Principal | None:
        header = f"Bearer {secret}".encode("latin-1", "replace")
        if tokens.parse(header) is None:  # never a token: it would outlive its key's revocation by renewing itself
            return None
        try:
            principal = self._authenticate(header)
        except Unauthenticated:
            return None
        named = principal.key_id and secrets.compare_digest(principal.key_id.encode(), client_id.encode())
        return principal if named else None

    def _issue(self, client: Principal, asked: str | None, issuer: str) -> TokenAnswer:
        held = scopes.Grant(client.may_predict, client.scopes)
        scope = " ".join(scopes.spell(held)) if asked is None else _narrowed(held, asked)
        now_s, ttl_s = self._clock.time_ns() // 1_000_000_000, max(1, self._settings.ttl_ms // 1000)
        claims = {
            "iss": issuer,
            "sub": client.key_id,
            "client_id": client.key_id,
            "aud": self._settings.audience,
            "iat": now_s,
            "exp": now_s + ttl_s,
            "jti": secrets.token_urlsafe(16),
            "scope": scope,
        }
        return TokenAnswer(jose.sign(claims, self._keys.current()), ttl_s, scope)

    def _issuer(self, request: Request) -> str:
        """The settings' URL, else the one that the request came to; the Host was checked before."""
        return self._settings.issuer or f"{request.url.scheme}://{request.headers.get('host', 'localhost')}"

    async def _metadata(self, request: Request) -> Response:
        issuer = self._issuer(request)
        return _json(
            {
                "issuer": issuer,
                "token_endpoint": issuer.rstrip("/") + PATH,
                "jwks_uri": issuer.rstrip("/") + JWKS,
                "grant_types_supported": ["client_credentials"],
                "response_types_supported": [],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "scopes_supported": ["predict:*", "read:*", "write:*", "read", "write", "admin"],
            }
        )

    async def _jwks(self, _: Request) -> Response:
        public = await run_in_threadpool(self._keys.public)
        return _json(public, media_type="application/jwk-set+json", headers={"cache-control": "max-age=60"})


def _narrowed(held: scopes.Grant, asked: str) -> str:
    names = asked.split(" ")
    if not all(scopes.is_scope(name) for name in names):
        raise OAuthError("invalid_scope", f"scopes are {scopes.EXPECTED}")
    if not all(scopes.covers(held, scopes.grant([name])) for name in names):
        raise OAuthError("invalid_scope", "the key does not have every scope that was asked for")
    return " ".join(dict.fromkeys(names))


async def _form(request: Request) -> dict[str, str]:
    """The parameters of the body, each at most once. Raises OAuthError."""
    try:
        bodies.check_media_type(request, ("application/x-www-form-urlencoded",))
        raw = await bodies.read(request, MOST_BYTES)
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=32)
    except KanameError as error:
        raise OAuthError("invalid_request", str(error)) from None
    except ValueError:
        raise OAuthError("invalid_request", "the body is not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "a parameter came more than once")
    return form


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Id and secret, from the header or from the form. Raises OAuthError."""
    header = request.headers.get("authorization")
    posted = "client_secret" in form
    if header is None:
        if not posted:
            raise OAuthError("invalid_client", "no client credentials came with the request", 401)
        return form.get("client_id", ""), form["client_secret"]
    if posted:
        raise OAuthError("invalid_request", "client credentials came twice: in the header and in the form")
    kind, _, encoded = header.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        pair = ""
    client_id, colon, secret = pair.partition(":")
    if kind.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "client credentials come by HTTP Basic, or in the form", 401)
    client_id = unquote_plus(client_id)
    if form.get("client_id", client_id) != client_id:
        raise OAuthError("invalid_request", "the header and the form name different clients")
    return client_id, unquote_plus(secret)


def _grant_refused(given: bool) -> OAuthError:
    if given:
        return OAuthError("unsupported_grant_type", "the grant is client_credentials")
    return OAuthError("invalid_request", "grant_type is missing")


def _refused(error: OAuthError) -> Response:
    headers = dict(_NEVER_STORED)
    if error.status == 401:
        headers["www-authenticate"] = 'Basic realm="kaname"'
    return _json({"error": error.code, "error_description": error.description}, error.status, headers=headers)


def _json(
    value: object, status: int = 200, *, media_type: str = "application/json", headers: dict[str, str] | None = None
) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type)
