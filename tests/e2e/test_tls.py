"""TLS on a real server: what a handshake may be, renewal under load, certificates of clients."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509

from kaname.client import Client
from kaname.errors import InvalidInput, Unavailable
from tests.certificates import LOOPBACK, Authority
from tests.e2e.conftest import Serve
from tests.e2e.server import ROW, Server, predict, tail
from tests.processes import until
from tests.serving.grpc.conftest import hold_port

pytestmark = pytest.mark.slow


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Vouches for the server."""
    return Authority(tmp_path)


def secured(authority: Authority, **more: str) -> dict[str, str]:
    """The environment of a server with a certificate."""
    certificate, key = authority.issue("server", *LOOPBACK)
    names = {"CERTIFICATE": str(certificate), "KEY": str(key), **more}
    return {f"KANAME_SERVER__TLS__{name}": value for name, value in names.items()}


def serial(port: int, context: ssl.SSLContext) -> str:
    """Of the certificate that a new handshake shows."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() == "TLSv1.3"
        return str((secure.getpeercert() or {})["serialNumber"])


def test_a_server_with_a_certificate_speaks_tls_alone(serve: Serve, authority: Authority) -> None:
    """Every kind of answer, the command line's idea of the address, HSTS; plain requests and old versions are cut."""
    server = serve(workers=2, **secured(authority, HSTS_MAX_AGE_S="60"))
    assert server.url.startswith("https://")
    with server.client(verify=authority.trusting()) as client:
        for _ in range(3):
            answer = predict(client)
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"] == "max-age=60"
        for _ in range(4):  # large bodies take a way of their own once their head is known
            assert len(predict(client, instances=[ROW] * 10_000).json()["predictions"]) == 10_000
        assert client.get("/docs").headers["strict-transport-security"] == "max-age=60"
        kind = {"content-type": "application/x-ndjson"}
        line = b'{"features": {"input": [1, 2, 3, 4]}}'
        assert "prediction" in client.post("/api/v1/models/iris/predict/stream", content=line, headers=kind).text
        assert client.get("/nowhere").status_code == 404
    with pytest.raises(httpx.HTTPError):
        httpx.get(server.url.replace("https", "http") + "/health/live", trust_env=False)
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/health/live", trust_env=False)
    old = authority.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        serial(server.port, old)


def test_a_new_certificate_is_taken_within_a_second_and_harms_nobody(serve: Serve, authority: Authority) -> None:
    """Open connections stay; a broken pair is logged and the old one stays; then the next good one counts."""
    environ = secured(authority)
    server = serve(workers=2, **environ)
    context = authority.trusting()
    with server.client(verify=context) as kept:
        assert predict(kept).status_code == 200
        first = serial(server.port, context)
        Path(environ["KANAME_SERVER__TLS__KEY"]).write_text("nonsense")
        until(lambda: server.log().count("the old one stays in force") >= 2, "both workers say so")
        assert serial(server.port, context) == first
        changed = time.monotonic()
        authority.issue("server", *LOOPBACK)
        until(lambda: first not in {serial(server.port, context) for _ in range(12)}, "new handshakes show it")
        assert time.monotonic() - changed < 1.5
        assert predict(kept).status_code == 200
        assert server.log().count("new handshakes use the new certificate") >= 2


def test_a_handshake_that_never_comes_is_bounded(serve: Serve, authority: Authority) -> None:
    """Silent and half-done clients are cut after the time allowed, and meanwhile delay nobody."""
    server = serve(**secured(authority, HANDSHAKE_TIMEOUT_MS="500"))
    began = time.monotonic()
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(20)]
    for one in silent[:10]:
        one.sendall(b"\x16\x03\x01\x02\x00\x01")
    with server.client(verify=authority.trusting()) as client:
        assert predict(client).status_code == 200
    for one in silent:
        while one.recv(1024):
            pass
        one.close()
    assert 0.4 < time.monotonic() - began < 5.0


def test_a_restart_loses_no_request(serve: Serve, authority: Authority) -> None:
    """SIGHUP replaces the workers while clients come and go with TLS."""
    server = serve(workers=2, **secured(authority))
    context = authority.trusting()
    before = server.pids()
    server.signal(signal.SIGHUP)
    answers = set()

    def replaced() -> bool:
        with server.client(verify=context) as client:
            answers.add(predict(client).status_code)
        return not before & server.pids()

    until(replaced, "the workers are replaced", 60.0)
    assert answers == {200}


def test_the_command_line_knows_its_own_server(serve: Serve, authority: Authority, project: Path) -> None:
    """By the very certificate in the settings; whoever needs one from clients says so."""
    certificate, key = authority.issue("somewhere.example")
    pair = f"certificate: {certificate}, key: {key}, client_ca: {authority.file}"
    file = project / "kaname.yaml"
    rest = file.read_text().replace("server:\n", "", 1).replace("  port: 8080\n", "")
    for clients, said in (("optional", "ready at https://"), ("required", "ready for clients with certificates")):
        file.write_text(f"{rest}server:\n  tls: {{{pair}, clients: {clients}}}\n  port: 0\n")
        server = serve()
        assert said in server.run("status").out
        assert server.stop() == 0


def test_the_client_library_believes_whom_it_is_told(serve: Serve, authority: Authority) -> None:
    """Its own authority and its own certificate; without them it does not speak to the server."""
    environ = secured(authority, CLIENT_CA=str(authority.file), CLIENTS="required")
    server = serve(**environ, KANAME_ACCESS__CERTIFICATES=RULES)
    with Client(server.url, ca=authority.file, certificate=authority.issue("shop")) as client:
        assert client.predict("iris", features=ROW).prediction == "setosa"
        for rows in range(1, 40):  # what is sent and what is read overlaps differently each time
            assert len(list(client.stream("iris", [ROW] * rows))) == rows
    for ca in (authority.file, None):
        with Client(server.url, server.admin, ca=ca, timeout_s=3.0) as client, pytest.raises(Unavailable):
            client.predict("iris", features=ROW)
    with pytest.raises(InvalidInput):
        Client(server.url, ca="nowhere.pem")


# --- gRPC -----------------------------------------------------------------------------------------------


def asked(target: str, channel: grpc.ChannelCredentials, key: str | None = None, **options: str) -> str:
    """The status of one call for the metadata of a model."""
    body = b"\x0a\x04iris"
    metadata = () if key is None else (("authorization", f"Bearer {key}"),)
    with grpc.secure_channel(target, channel, tuple(options.items())) as made:
        try:
            made.unary_unary("/inference.GRPCInferenceService/ModelMetadata")(body, metadata=metadata, timeout=5)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def test_grpc_speaks_tls_with_the_same_certificate(serve: Serve, authority: Authority) -> None:
    """1.3 alone, renewed like that of HTTP; calls by another name are refused."""
    environ = secured(authority)
    with hold_port() as held:
        port = held.getsockname()[1]
        server = serve(KANAME_SERVER__GRPC_PORT=str(port), **environ)
        trust = grpc.ssl_channel_credentials(authority.file.read_bytes())
        assert asked(f"localhost:{port}", trust, server.admin) == "OK"
        assert asked(f"localhost:{port}", trust) == "UNAUTHENTICATED"
        other = {"grpc.ssl_target_name_override": "localhost", "grpc.default_authority": "evil.example"}
        assert asked(f"localhost:{port}", trust, server.admin, **other) == "PERMISSION_DENIED"
        context, old = authority.trusting(), authority.trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        for one in (context, old):
            one.set_alpn_protocols(["h2"])
        with pytest.raises(ssl.SSLError):
            serial(port, old)
        first = serial(port, context)
        authority.issue("server", *LOOPBACK)
        until(lambda: serial(port, context) != first, "gRPC shows the new certificate", 3.0)


def test_a_certificate_stands_for_a_key_over_grpc(serve: Serve, authority: Authority) -> None:
    """Where one is required; a key goes before it."""
    environ = secured(authority, CLIENT_CA=str(authority.file), CLIENTS="required")
    with hold_port() as held:
        port = held.getsockname()[1]
        server = serve(KANAME_SERVER__GRPC_PORT=str(port), KANAME_ACCESS__CERTIFICATES=RULES, **environ)

        def shows(*pair: Path) -> grpc.ChannelCredentials:
            texts = [file.read_bytes() for file in reversed(pair)]
            return grpc.ssl_channel_credentials(authority.file.read_bytes(), *texts)

        shop = shows(*authority.issue("shop"))
        assert asked(f"localhost:{port}", shop) == "OK"
        assert asked(f"localhost:{port}", shop, "wrong") == "UNAUTHENTICATED"
        assert asked(f"localhost:{port}", shows(*authority.issue("other"))) == "UNAUTHENTICATED"
        assert asked(f"localhost:{port}", shows()) == "UNAVAILABLE"
        assert server.process.poll() is None


# --- certificates of clients ----------------------------------------------------------------------------


@contextmanager
def shown(server: Server, authority: Authority, pair: tuple[Path, Path] | None) -> Iterator[httpx.Client]:
    """A client without a key that shows this certificate."""
    context = authority.trusting(*(pair or ()))
    with httpx.Client(base_url=server.url, verify=context, trust_env=False) as client:
        yield client


RULES = (
    '[{"name": "CN=shop", "scopes": ["predict:iris"]}, '
    '{"name": "URI:spiffe://example/ops", "scopes": ["admin"], "rate_rows_per_s": 5}]'
)


def test_a_certificate_stands_for_a_key(serve: Serve, authority: Authority) -> None:
    """By common name or another name, with its scopes; a key that comes along goes before it."""
    server = serve(**secured(authority, CLIENT_CA=str(authority.file)), KANAME_ACCESS__CERTIFICATES=RULES)
    shop = authority.issue("shop")
    ops = authority.issue("ops", x509.UniformResourceIdentifier("spiffe://example/ops"))
    other = authority.issue("other")
    with (
        shown(server, authority, shop) as a,
        shown(server, authority, ops) as b,
        shown(server, authority, other) as c,
        shown(server, authority, None) as d,
    ):
        for _ in range(3):  # the same bytes over four connections
            assert [predict(one).status_code for one in (a, b, c, d)] == [200, 200, 401, 401]
        assert a.get("/api/v1/keys").status_code == 403
        assert b.get("/api/v1/keys").status_code == 200
        forged = {"authorization": "Certificate CN=shop"}
        assert d.get("/api/v1/models", headers=forged).status_code == 401
        key = {"authorization": f"Bearer {server.admin}"}
        assert a.get("/api/v1/keys", headers=key).status_code == 200
        assert (
            a.post("/api/v1/models/iris/predict", json={"features": ROW}, headers={"authorization": "x"}).status_code
            == 401
        )
    assert {event["key_id"] for event in tail(server)} == {"CN=shop", "URI:spiffe://example/ops"}


def test_a_stranger_does_not_get_in_where_certificates_are_required(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    """Without one, or with one that another authority vouches for, the handshake fails."""
    environ = secured(authority, CLIENT_CA=str(authority.file), CLIENTS="required")
    server = serve(**environ, KANAME_ACCESS__CERTIFICATES=RULES)
    (tmp_path / "strange").mkdir()
    strange = Authority(tmp_path / "strange").issue("shop")
    with shown(server, authority, authority.issue("shop")) as client:
        assert predict(client).status_code == 200
    for pair in (None, strange):
        with shown(server, authority, pair) as client, pytest.raises(httpx.HTTPError):
            predict(client)


def test_a_pair_that_cannot_be_used_stops_the_start(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    """With the setting and the reason, before any worker starts; no secret is shown."""
    environ = secured(authority)
    shutil.copy(authority.file, environ["KANAME_SERVER__TLS__KEY"])
    server = serve(wait=False, **environ, KANAME_SERVER__TLS__KEY_PASSWORD="very-secret")
    assert server.process.wait(30) == 2
    assert "server.tls.certificate" in server.log()
    assert "very-secret" not in server.log() + server.out()
