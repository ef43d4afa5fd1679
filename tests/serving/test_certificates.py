"""The server's certificate: taken when its files rest, never replaced by one that cannot be used."""

from __future__ import annotations

import os
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kaname.access.certificates import ClientCertificates, names_of
from kaname.errors import InvalidInput
from kaname.secret import Secret
from kaname.serving.certificates import Certificates
from kaname.serving.grpc.callers import RELIES_ON, Callers
from kaname.settings import ClientCertificate, TlsSettings
from tests.certificates import LOOPBACK, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Issues the certificates."""
    return Authority(tmp_path)


def pair(authority: Authority, **changed: Any) -> TlsSettings:
    """Settings with a pair of the authority's."""
    authority.issue("server", *LOOPBACK)
    return TlsSettings(**{"certificate": "server.crt", "key": "server.key", **changed})


def test_a_pair_is_taken_when_it_rests(authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A half that was replaced makes no pair, is said once, and changes nothing; two looks take a whole one."""
    found = Certificates(pair(authority), tmp_path)
    first = found.context
    assert not found.renew()
    authority.issue("server", *LOOPBACK)
    assert not found.renew(), "seen for the first time: it may still be written"
    assert found.renew()
    second = found.context
    assert second is not first
    for content in (b"nonsense", authority.issue("other")[1].read_bytes()):
        (tmp_path / "server.key").write_bytes(content)
        assert not any(found.renew() for _ in range(4))
        assert found.context is second
    (tmp_path / "server.crt").unlink()
    assert not any(found.renew() for _ in range(4))
    assert caplog.text.count("the old one stays in force") == 3
    authority.issue("server", *LOOPBACK)
    assert [found.renew() for _ in range(3)] == [False, True, False]


def test_a_file_swapped_by_a_link_is_seen(authority: Authority, tmp_path: Path) -> None:
    """As an orchestrator mounts secrets: the folder behind a link is another one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in authority.issue("server", *LOOPBACK):
            file.replace(tmp_path / name / file.name)
    (tmp_path / "now").symlink_to("one")
    found = Certificates(TlsSettings(certificate="now/server.crt", key="now/server.key"), tmp_path)
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", tmp_path / "now")  # noqa: PTH105  (the link, not what it names)
    assert [found.renew() for _ in range(2)] == [False, True]


def test_an_encrypted_key_needs_its_password(authority: Authority, tmp_path: Path) -> None:
    """Without, with a wrong and with the right one; gRPC gets it in the clear; no error shows it."""
    authority.issue("server", *LOOPBACK, password="very-secret")
    for password in (None, Secret("wrong-secret")):
        changed = TlsSettings(certificate="server.crt", key="server.key", key_password=password)
        with pytest.raises(InvalidInput, match=r"server\.tls\.certificate") as caught:
            Certificates(changed, tmp_path)
        assert "secret" not in str(caught.value)
    good = TlsSettings(certificate="server.crt", key="server.key", key_password=Secret("very-secret"))
    key, chain, authorities = Certificates(good, tmp_path).texts()
    assert load_pem_private_key(key, None) is not None
    assert chain == (tmp_path / "server.crt").read_bytes()
    assert authorities is None


@pytest.mark.parametrize(
    ("minimum", "clients", "version", "mode"),
    [
        ("1.3", "optional", ssl.TLSVersion.TLSv1_3, ssl.CERT_OPTIONAL),
        ("1.2", "required", ssl.TLSVersion.TLSv1_2, ssl.CERT_REQUIRED),
    ],
)
def test_settings_become_a_context(
    authority: Authority, tmp_path: Path, minimum: str, clients: str, version: ssl.TLSVersion, mode: ssl.VerifyMode
) -> None:
    """The oldest version, and whether clients must show certificates."""
    settings = pair(authority, minimum=minimum, clients=clients, client_ca=str(authority.file))
    context = Certificates(settings, tmp_path).context
    assert (context.minimum_version, context.verify_mode) == (version, mode)
    with pytest.raises(InvalidInput, match=r"server\.tls\.client_ca"):
        Certificates(pair(authority, client_ca="server.key"), tmp_path)


def test_a_certificate_says_its_names_in_order() -> None:
    """The common name first; addresses and other kinds are nobody's name here."""
    described = {
        "subject": ((("organizationName", "Example"),), (("commonName", "shop"),)),
        "subjectAltName": (("DNS", "shop.example"), ("IP Address", "127.0.0.1"), ("URI", "spiffe://example/shop")),
    }
    assert names_of(described) == ["CN=shop", "DNS:shop.example", "URI:spiffe://example/shop"]
    assert names_of({}) == names_of(None) == []


def test_nobody_can_write_the_header_of_a_certificate() -> None:
    """It holds a word of this process: that of another one, and names alone, stand for nobody."""
    declared = [ClientCertificate(name="CN=shop", scopes=("read",))]
    here, there = ClientCertificates(declared), ClientCertificates(declared)
    header = here.header(["CN=other", "CN=shop"])
    assert header is not None
    found = here.of(header)
    assert found is not None
    assert found.name == "CN=shop"
    assert here.header(["CN=other"]) is None
    for forged in (there.header(["CN=shop"]) or b"", b"Certificate CN=shop", b"Certificate  CN=shop", header + b"x"):
        assert here.of(forged) is None


def test_grpc_still_keeps_the_name_that_a_call_asked_for() -> None:
    """Callers reads a private member of grpc: a release without it must not pass unseen."""
    seen = []

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        seen.append(reduce(getattr, RELIES_ON.split("."), context))
        seen.append(dict(Callers().metadata(context))["host"])
        return b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer)

    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, handlers=[Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            channel.unary_unary("/x/y")(b"", timeout=5)
        server.stop(0).wait()
    assert seen == [f"127.0.0.1:{port}".encode(), f"127.0.0.1:{port}"]
