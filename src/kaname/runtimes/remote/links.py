"""The links of a remote model, by its protocol; the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from kaname.errors import MissingDependency
from kaname.runtimes.remote import access
from kaname.runtimes.remote.description import OVER_GRPC, Remote
from kaname.runtimes.remote.http import Dialect, HttpLink
from kaname.runtimes.remote.oip import Oip
from kaname.runtimes.remote.plain import Plain
from kaname.runtimes.remote.tfs import TensorFlow
from kaname.runtimes.remote.types import Link
from kaname.settings import RemoteSettings
from kaname.signature import Signature


def open_links(remote: Remote, signature: Signature, settings: Sequence[RemoteSettings]) -> list[Link]:
    """One link per address; no connection is made yet. Raises InvalidInput for what cannot be used."""
    return [_link(remote, signature, url.rstrip("/"), settings) for url in remote.urls]


def _link(remote: Remote, signature: Signature, url: str, settings: Sequence[RemoteSettings]) -> Link:
    here = access.of_address(settings, url)
    headers = {**{name.lower(): value for name, value in remote.headers.items()}, **access.headers(here)}
    if remote.protocol in OVER_GRPC:
        return _over_grpc(remote, signature, url, headers, access.authorities(here))
    base, dialect = _dialect(remote, signature, url)
    keep = remote.connections + 1  # one for the probes
    return HttpLink(base, dialect, keep=keep, headers=headers, tls=access.trust(here), address=url)


def _dialect(remote: Remote, signature: Signature, url: str) -> tuple[str, Dialect]:
    """What is spoken at an address, and the part of it that all paths begin with."""
    if remote.protocol == "http":
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}", Plain(parts.path or "/", remote.http, signature)
    if remote.protocol == "tfs":
        return url, TensorFlow(remote.model, remote.version, signature, remote.signature_name)
    return url, Oip(remote.model, remote.version, signature, binary=bool(remote.binary))


def _over_grpc(remote: Remote, signature: Signature, url: str, headers: dict[str, str], ca_file: str | None) -> Link:
    try:
        from kaname.runtimes.remote import grpc, oip_grpc, tfs_grpc
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error.name or "grpcio", "grpc", "a remote model over gRPC") from error
    dialect: grpc.Dialect
    if remote.protocol == "tfs-grpc":
        dialect = tfs_grpc.TensorFlowGrpc(remote.model, remote.version, signature, remote.signature_name)
    else:
        dialect = oip_grpc.OipGrpc(remote.model, remote.version, signature)
    return grpc.GrpcLink(url, dialect, headers=headers, ca_file=ca_file)
