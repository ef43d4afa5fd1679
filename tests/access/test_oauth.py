"""The token endpoint: tokens for keys, as the RFCs want them asked for and answered."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from starlette.applications import Starlette

from kaname.access.bearer import Tokens, open_tokens, signing_keys
from kaname.access.buckets import Buckets
from kaname.access.keys import Keys
from kaname.access.oauth import OAuth
from kaname.access.principals import Principals
from kaname.access.signing import LEAD_S, SigningKeys
from kaname.clock import ManualClock
from kaname.errors import CorruptData, Unauthenticated, Unavailable
from kaname.settings import AccessSettings, OAuthSettings
from tests.access.issuer import bearer
from tests.web.asking import Asker

SETTINGS = AccessSettings(oauth=OAuthSettings(enabled=True, issuer="https://kaname.example"))


class Server:
    """An application with the endpoint, and what its tokens give."""

    def __init__(self, keys: Keys, clock: ManualClock, folder: Path, access: AccessSettings = SETTINGS) -> None:
        self.keys = keys
        self.clock = clock
        self.signing = signing_keys(access, folder, clock)
        self.tokens: Tokens = open_tokens(access, folder, folder, clock)
        asyncio.run(self._read())
        self.buckets = Buckets(clock)
        oauth = OAuth(access.oauth, self.signing, lambda header: self.principals.of(header), clock)
        self.http = Asker(Starlette(routes=oauth.routes()))

    async def _read(self) -> None:
        await self.tokens.start()
        await self.tokens.stop()

    def read_keys(self) -> None:
        """As the background task does it every half second."""
        asyncio.run(self._read())

    @property
    def principals(self) -> Principals:
        """As of the keys now."""
        return Principals(self.keys.rows(), self.buckets, check=self.tokens)

    def ask(self, client: tuple[str, str] | None = None, **form: str) -> Any:
        """One request to the endpoint with HTTP Basic."""
        return self.http("POST", "/oauth/token", data={"grant_type": "client_credentials", **form}, auth=client)

    def token(self, client: tuple[str, str], **form: str) -> str:
        """A token that is given."""
        answer = self.ask(client, **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture
def server(keys: Keys, clock: ManualClock, tmp_path: Path) -> Server:
    """A server whose clock stands still."""
    return Server(keys, clock, tmp_path)


@pytest.fixture
def shop(keys: Keys) -> tuple[str, str]:
    """Id and secret of a key for two models and reading."""
    info, key = keys.create("shop", ["predict:iris", "predict:mlp", "read"], who="t", rate_rows_per_s=5)
    return info.id, key


def test_a_key_gets_a_token_that_stands_for_it(server: Server, shop: tuple[str, str]) -> None:
    """The answer is never stored; the token's principal has the key's id, name, scopes and bucket."""
    answer = server.ask(shop)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    assert body["scope"] == "predict:iris predict:mlp read"
    who = server.principals.of(bearer(body["access_token"]))
    key = server.principals.of(bearer(shop[1]))
    assert (who.key_id, who.name, who.may_predict, who.scopes) == (shop[0], "shop", key.may_predict, key.scopes)
    assert who.limiter is not None
    assert key.limiter is not None
    assert who.limiter(5) == 0.0
    assert key.limiter(1) > 0


def test_a_key_that_the_worker_hears_of_only_now_gets_a_token(server: Server, keys: Keys, clock: ManualClock) -> None:
    """Whoever makes a key and uses it at once is not told that it is unknown."""
    known = [server.principals]
    info, key = keys.create("shop", ["read"], who="t")
    oauth = OAuth(SETTINGS.oauth, server.signing, lambda header: known[-1].of(header), clock)
    news = threading.Timer(0.1, lambda: known.append(server.principals))
    news.start()
    answer = Asker(Starlette(routes=oauth.routes()))(
        "POST", "/oauth/token", data={"grant_type": "client_credentials"}, auth=(info.id, key)
    )
    news.join()
    assert answer.status_code == 200, answer.text


def test_a_token_is_what_rfc_9068_says(server: Server, shop: tuple[str, str]) -> None:
    """A standard library verifies it by the published metadata and keys alone."""
    token = server.token(shop)
    metadata = server.http("GET", "/.well-known/oauth-authorization-server").json()
    assert metadata["issuer"] == "https://kaname.example"
    assert metadata["token_endpoint"] == "https://kaname.example/oauth/token"
    assert "client_credentials" in metadata["grant_types_supported"]
    keys = server.http("GET", metadata["jwks_uri"])
    assert keys.headers["content-type"] == "application/jwk-set+json"
    assert not {"d", "p", "q", "signs_from_us"} & set(keys.json()["keys"][0])
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "at+jwt"
    key = jwt.PyJWKSet.from_dict(keys.json())[header["kid"]]
    claims = jwt.decode(
        token, key, algorithms=["ES256"], audience="kaname", issuer=metadata["issuer"],
        options={"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"], "verify_exp": False},
    )  # fmt: skip
    assert claims["sub"] == claims["client_id"] == shop[0]
    assert claims["exp"] - claims["iat"] == 600
    assert server.token(shop) != token


def test_scopes_are_narrowed_but_never_widened(server: Server, shop: tuple[str, str], keys: Keys) -> None:
    """Less than the key may; more is refused, whatever implies it."""
    who = server.principals.of(bearer(server.token(shop, scope="predict:mlp")))
    assert (who.may_predict, who.scopes) == (frozenset({"mlp"}), frozenset())
    for scope in ("predict:*", "write", "admin", "read write", "", "read  read", "predict:other", "x", "read\tread"):
        answer = server.ask(shop, scope=scope)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), scope
    info, key = keys.create("boss", ["admin"], who="t")
    for scope, expected in (("predict:iris", frozenset({"iris"})), ("predict:*", None)):
        who = server.principals.of(bearer(server.token((info.id, key), scope=scope)))
        assert (who.may_predict, who.scopes) == (expected, frozenset())
    assert server.ask((info.id, key)).json()["scope"] == "admin"


def test_a_revoked_key_takes_its_tokens_with_it(server: Server, shop: tuple[str, str], keys: Keys) -> None:
    """With the next snapshot; and it gets no more."""
    header = bearer(server.token(shop))
    assert bool(server.principals.of(header))
    keys.revoke(shop[0], who="t")
    with pytest.raises(Unauthenticated, match="revoked"):
        server.principals.of(header)
    answer = server.ask(shop)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_token_expires(server: Server, shop: tuple[str, str]) -> None:
    """At the second that it says, without leeway: the server's clock is its own."""
    known = server.principals
    header = bearer(server.token(shop))
    who = known.of(header)
    server.clock.advance(ms=599_999)
    assert bool(who)
    server.clock.advance(ms=1)
    assert not bool(who)
    with pytest.raises(Unauthenticated, match="expired"):
        known.of(header)


def _basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


Change = Callable[[str, str], dict[str, Any]]
GRANT = {"grant_type": "client_credentials"}
BAD: dict[str, tuple[Change, int, str]] = {
    "no credentials": (lambda i, k: {"data": GRANT}, 401, "invalid_client"),
    "a wrong secret": (lambda i, k: {"data": GRANT, "auth": (i, k[:-1] + "x")}, 401, "invalid_client"),
    "a secret that is no key": (lambda i, k: {"data": GRANT, "auth": (i, "x")}, 401, "invalid_client"),
    "the id of another": (lambda i, k: {"data": GRANT, "auth": ("zzzzzzzz", k)}, 401, "invalid_client"),
    "no id": (lambda i, k: {"data": GRANT, "auth": ("", k)}, 401, "invalid_client"),
    "an unknown client": (
        lambda i, k: {"data": GRANT, "auth": ("zzzzzzzz", k.replace(i, "zzzzzzzz"))},
        401,
        "invalid_client",
    ),
    "the key as bearer": (
        lambda i, k: {"data": GRANT, "headers": {"authorization": f"Bearer {k}"}},
        401,
        "invalid_client",
    ),
    "Basic of nonsense": (
        lambda i, k: {"data": GRANT, "headers": {"authorization": "Basic !"}},
        401,
        "invalid_client",
    ),
    "Basic without a colon": (lambda i, k: {"data": GRANT, "headers": _basic(k)}, 401, "invalid_client"),
    "header and form": (
        lambda i, k: {"data": GRANT | {"client_secret": k}, "auth": (i, k)},
        400,
        "invalid_request",
    ),
    "two clients": (lambda i, k: {"data": GRANT | {"client_id": "other"}, "auth": (i, k)}, 400, "invalid_request"),
    "no grant type": (lambda i, k: {"data": {"x": "y"}, "auth": (i, k)}, 400, "invalid_request"),
    "an empty body": (lambda i, k: {"content": b"", "auth": (i, k)}, 400, "invalid_request"),
    "another grant": (lambda i, k: {"data": {"grant_type": "password"}, "auth": (i, k)}, 400, "unsupported_grant_type"),
    "JSON": (lambda i, k: {"json": GRANT, "auth": (i, k)}, 400, "invalid_request"),
    "a parameter twice": (
        lambda i, k: {
            "content": b"grant_type=client_credentials&grant_type=client_credentials",
            "headers": {"content-type": "application/x-www-form-urlencoded"},
            "auth": (i, k),
        },
        400,
        "invalid_request",
    ),
    "too many parameters": (
        lambda i, k: {"data": dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", ""), "auth": (i, k)},
        400,
        "invalid_request",
    ),
    "a body of 20 KB": (lambda i, k: {"data": GRANT | {"x": "y" * 20_000}, "auth": (i, k)}, 400, "invalid_request"),
}


@pytest.mark.parametrize(("change", "status", "code"), BAD.values(), ids=list(BAD))
def test_a_bad_request_is_refused_in_the_words_of_the_rfc(
    server: Server, shop: tuple[str, str], change: Change, status: int, code: str
) -> None:
    """Status, code, a challenge for 401, never stored, and nothing of the secret."""
    answer = server.http("POST", "/oauth/token", **change(*shop))
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert shop[1] not in answer.text
    assert set(answer.json()) == {"error", "error_description"}


def test_credentials_may_come_in_the_form(server: Server, shop: tuple[str, str]) -> None:
    """As many clients send them."""
    assert server.ask(client_id=shop[0], client_secret=shop[1]).status_code == 200


def test_a_token_is_no_secret_that_gets_another(server: Server, shop: tuple[str, str]) -> None:
    """Otherwise it would renew itself for ever."""
    token = server.token(shop)
    assert server.ask((shop[0], token)).status_code == 401


# --- keys -----------------------------------------------------------------------------------------------


def test_the_signing_key_is_for_its_owner_alone(server: Server) -> None:
    """Mode 0600, made once."""
    path = server.signing.path
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    server.signing.ensure()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == before


def test_workers_that_start_together_agree_on_one_key(clock: ManualClock, tmp_path: Path) -> None:
    """Whoever comes second finds the first one's."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(signing_keys(SETTINGS, tmp_path, clock))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({keys.current().kid for keys in found}) == 1


def test_a_rotation_invalidates_nothing(server: Server, shop: tuple[str, str]) -> None:
    """The new key is published before it signs; tokens of the old one are good until they expire, then it goes."""
    old = server.token(shop)
    made = server.signing.rotate()
    published = {key["kid"] for key in server.http("GET", "/.well-known/jwks.json").json()["keys"]}
    assert len(published) == 2
    assert jwt.get_unverified_header(server.token(shop))["kid"] != made.kid
    server.read_keys()
    server.clock.advance(ms=LEAD_S * 1000)
    new = server.token(shop)
    assert jwt.get_unverified_header(new)["kid"] == made.kid
    assert bool(server.principals.of(bearer(old)))
    assert bool(server.principals.of(bearer(new)))
    server.clock.advance(ms=600_001)
    server.signing.rotate()
    assert len(server.signing.list()) == 2


def test_a_revocation_withdraws_every_token(server: Server, shop: tuple[str, str]) -> None:
    """At once where the file is read; new tokens come when all workers know the new key."""
    known = server.principals
    who = known.of(bearer(server.token(shop)))
    server.signing.rotate(revoke=True)
    server.read_keys()
    assert not bool(who)
    with pytest.raises(Unavailable):
        server.signing.current()
    answer = server.ask(shop)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    server.clock.advance(ms=LEAD_S * 1000)
    assert bool(known.of(bearer(server.token(shop))))


def test_an_unreadable_key_file_shows_nothing_of_itself(server: Server) -> None:
    """The error names the file, not what is in it."""
    server.signing.path.write_text(json.dumps({"keys": [{"d": "very-secret"}]}))
    with pytest.raises(CorruptData) as caught:
        server.signing.list()
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_each_algorithm_signs(keys: Keys, clock: ManualClock, tmp_path: Path, algorithm: Any) -> None:
    """And is checked by the server itself."""
    server = Server(keys, clock, tmp_path, AccessSettings(oauth=OAuthSettings(enabled=True, algorithm=algorithm)))
    info, key = keys.create("k", ["read"], who="t")
    assert server.principals.of(bearer(server.token((info.id, key)))).key_id == info.id


def test_while_authentication_is_off_nobody_gets_a_token(keys: Keys, clock: ManualClock, tmp_path: Path) -> None:
    """Everybody has no name that a token could bear."""
    server = Server(keys, clock, tmp_path)
    _, key = keys.create("k", ["read"], who="t")
    off = Principals((), Buckets(clock), off=True)
    oauth = OAuth(SETTINGS.oauth, server.signing, off.of, clock)
    assert (
        Asker(Starlette(routes=oauth.routes()))("POST", "/oauth/token", data=GRANT, auth=("", key)).status_code == 401
    )


def test_the_file_is_where_others_cannot_see_it(tmp_path: Path, clock: ManualClock) -> None:
    """In the data folder."""
    assert isinstance(signing_keys(SETTINGS, tmp_path, clock), SigningKeys)
    assert (tmp_path / "tokens" / "signing.json").is_file()
