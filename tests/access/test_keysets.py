"""Keys behind a URL: read in the background from a real server that lies, fails and disappears."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kaname.access.bearer import Tokens
from kaname.access.buckets import Buckets
from kaname.access.keysets import LEAST_NS
from kaname.access.principals import Principals
from kaname.clock import ManualClock
from kaname.errors import KanameError, Unauthenticated, Unavailable
from kaname.settings import TokenIssuer
from tests.access.issuer import Issuer, bearer, opened
from tests.certificates import LOOPBACK, Authority


class Site:
    """An issuer's web server; `answers` are status and body by path, `asked` what was asked for."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                status, body = site.answers.get(self.path, (404, b""))
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "/keys")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002  (likewise)
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """It is down."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server of the issuer."""
    made = Site()
    yield made
    made.close()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Its keys."""
    return Issuer(tmp_path / "jwks.json")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop on which key sets are read."""
    with asyncio.Runner() as made:
        yield made


def at(site: Site, issuer: Issuer, **changed: Any) -> TokenIssuer:
    """The issuer with its keys at the site."""
    return issuer.trusted(**{"jwks": f"{site.url}/keys", **changed})


def ask(tokens: Tokens, clock: ManualClock, token: str) -> str:
    """Who comes with a token, or the code of the refusal."""
    try:
        return Principals((), Buckets(clock), check=tokens).of(bearer(token)).key_id
    except KanameError as error:
        return error.code


def turn(runner: asyncio.Runner, site: Site, count: int) -> None:
    """Let the background task work until the site was asked so often, and a little longer."""

    async def wait() -> None:
        async with asyncio.timeout(5):
            while len(site.asked) < count:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    runner.run(wait())


def test_an_unknown_key_is_asked_for_once_and_not_again_for_a_while(
    runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, issuer: Issuer, site: Site
) -> None:
    """A rotation is found by the first token; a flood of made-up keys asks the issuer once in five seconds."""
    site.answers["/keys"] = (200, issuer.file.read_bytes())
    tokens = runner.run(opened(clock, tmp_path, at(site, issuer)))
    assert ask(tokens, clock, issuer.token()) == "corp:alice"
    assert ask(tokens, clock, issuer.with_header(kid="made-up")) == "unauthenticated"
    old = issuer.rotate("ES256")
    site.answers["/keys"] = (200, issuer.file.read_bytes())
    clock.advance(ms=LEAST_NS / 1e6)
    assert ask(tokens, clock, issuer.token()) == "unavailable"
    turn(runner, site, 2)
    assert ask(tokens, clock, issuer.token()) == "corp:alice"
    assert ask(tokens, clock, issuer.token(key=old)) == "unauthenticated"
    for number in range(50):
        assert ask(tokens, clock, issuer.with_header(kid=f"made-up-{number}")) == "unauthenticated"
    turn(runner, site, 2)
    assert len(site.asked) == 2
    runner.run(tokens.stop())


LIES = [(500, b"{}"), (302, b""), (200, b""), (200, b"<html>"), (200, b'{"keys": []}'), (200, b'{"keys": [{}]}')]


@pytest.mark.parametrize(("status", "body"), LIES)
def test_an_answer_that_is_no_key_set_changes_nothing(
    runner: asyncio.Runner,
    clock: ManualClock,
    tmp_path: Path,
    issuer: Issuer,
    site: Site,
    status: int,
    body: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Errors, redirects, pages and empty sets leave the last good keys in force, which the log says."""
    site.answers["/keys"] = (200, issuer.file.read_bytes())
    tokens = runner.run(opened(clock, tmp_path, at(site, issuer)))
    site.answers["/keys"] = (status, body)
    clock.advance(ms=LEAST_NS / 1e6)
    assert ask(tokens, clock, issuer.with_header(kid="made-up")) == "unavailable"
    turn(runner, site, 2)
    assert "the last good ones stay in force" in caplog.text
    assert ask(tokens, clock, issuer.token()) == "corp:alice"
    assert ask(tokens, clock, issuer.with_header(kid="made-up")) == "unavailable", "nobody knows what the issuer has"
    runner.run(tokens.stop())


def test_the_last_good_keys_outlive_the_process(
    runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, issuer: Issuer
) -> None:
    """A server that starts while the issuer is down accepts its tokens."""
    site = Site()
    site.answers["/keys"] = (200, issuer.file.read_bytes())
    declared = at(site, issuer)
    runner.run(runner.run(opened(clock, tmp_path, declared)).stop())
    site.close()
    tokens = runner.run(opened(clock, tmp_path, declared))
    assert ask(tokens, clock, issuer.token()) == "corp:alice"
    runner.run(tokens.stop())


def test_the_issuers_metadata_name_the_keys(
    runner: asyncio.Runner,
    clock: ManualClock,
    tmp_path: Path,
    issuer: Issuer,
    site: Site,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those of another issuer, and keys over a network that anybody can change, are not believed."""
    path = "/.well-known/openid-configuration"
    site.answers["/keys"] = (200, issuer.file.read_bytes())
    token = issuer.token(iss=site.url)
    for said, accepted in (
        ({"issuer": site.url, "jwks_uri": f"{site.url}/keys"}, "corp:alice"),
        ({"issuer": "https://other.example", "jwks_uri": f"{site.url}/keys"}, "unavailable"),
        ({"issuer": site.url, "jwks_uri": "http://192.0.2.1/keys"}, "unavailable"),
        ({"issuer": site.url}, "unavailable"),
    ):
        site.answers[path] = (200, msgspec.json.encode(said))
        folder = tmp_path / str(len(site.asked))
        tokens = runner.run(opened(clock, folder, issuer.trusted(issuer=site.url, jwks=None)))
        assert ask(tokens, clock, token) == accepted, said
        runner.run(tokens.stop())
    assert "HTTPS, or from this machine" in caplog.text


def test_an_issuer_of_a_private_authority_needs_it_named(
    runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, issuer: Issuer
) -> None:
    """With `ca` the keys are read; without, the issuer is nobody."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("issuer", *LOOPBACK))
    site = Site(context)
    site.answers["/keys"] = (200, issuer.file.read_bytes())
    for ca, accepted in ((authority.file.name, "corp:alice"), (None, "unavailable")):
        folder = tmp_path if ca else tmp_path / "other"
        tokens = runner.run(opened(clock, folder, at(site, issuer, ca=ca)))
        assert ask(tokens, clock, issuer.token()) == accepted
        runner.run(tokens.stop())
    site.close()
    with pytest.raises(KanameError, match="no file of certificates"):
        runner.run(opened(clock, tmp_path, at(site, issuer, ca="nowhere.pem")))


def test_refusals_say_what_to_do_next(
    runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, issuer: Issuer, site: Site
) -> None:
    """An unknown key of an issuer that is being asked is worth another try, which the error says; otherwise not."""
    site.answers["/keys"] = (200, issuer.file.read_bytes())
    tokens = runner.run(opened(clock, tmp_path, at(site, issuer)))
    header = bearer(issuer.with_header(kid="made-up"))
    with pytest.raises(Unauthenticated):
        tokens.verify(header)
    clock.advance(ms=LEAST_NS / 1e6)
    with pytest.raises(Unavailable) as caught:
        tokens.verify(header)
    assert caught.value.retry_after_s == 1.0
    runner.run(tokens.stop())
