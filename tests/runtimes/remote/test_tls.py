"""Remotes behind TLS: believed only when an authority of the settings vouches for them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from kaname.errors import InvalidInput, Unavailable
from kaname.runtimes.remote.description import Remote
from kaname.runtimes.remote.session import RemoteSession
from kaname.runtimes.types import SessionOptions
from kaname.settings import RemoteSettings
from tests.certificates import LOOPBACK, Authority

from .grpc_peer import Service
from .peer import SIGNATURE, Peer

ROW = np.array([[1.5, -0.1]], np.float32)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Vouches for the servers of these tests."""
    return Authority(tmp_path)


@pytest.fixture
def https(authority: Authority) -> Iterator[str]:
    """The address of a server over HTTPS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("http", *LOOPBACK))
    with Peer(tls=context) as peer:
        yield f"https://localhost:{peer.port}"


@pytest.fixture
def grpcs(authority: Authority) -> Iterator[str]:
    """The address of a server over gRPC with TLS."""
    certificate, key = authority.issue("grpc", *LOOPBACK)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Service(),))
    pair = [(key.read_bytes(), certificate.read_bytes())]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
    server.start()
    yield f"grpcs://localhost:{port}"
    server.stop(0).wait()


def answer(protocol: str, url: str, ca_file: str | None) -> float:
    """One number of an answer."""
    settings = (RemoteSettings(url=url, ca_file=ca_file),)
    remote = Remote(protocol=protocol, urls=(url,), model="m", binary=True)  # type: ignore[arg-type]  # a parameter
    session = RemoteSession(remote, SIGNATURE, SessionOptions(remotes=settings))
    try:
        return float(session.run((ROW,))[0][0, 0])
    finally:
        session.close()


@pytest.mark.parametrize(("protocol", "server"), [("oip", "https"), ("oip-grpc", "grpcs"), ("tfs-grpc", "grpcs")])
def test_the_settings_say_whom_to_believe(
    protocol: str, server: str, authority: Authority, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With the authority's file there is an answer; with another's, or the system's, there is no connection; a file
    that is none is refused."""
    url = request.getfixturevalue(server)
    assert answer(protocol, url, str(authority.file)) == 3.0
    stranger = Authority(tmp_path, "stranger")
    for ca_file in (str(stranger.file), None):
        with pytest.raises(Unavailable):
            answer(protocol, url, ca_file)
    with pytest.raises(InvalidInput, match="unusable certificates"):
        answer(protocol, url, str(tmp_path / "nothing.pem"))
