"""The links of a remote model, by its protocol; the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Sequence

from kaname.runtimes.remote import access
from kaname.runtimes.remote.description import Remote
from kaname.runtimes.remote.http import Dialect, HttpLink
from kaname.runtimes.remote.oip import Oip
from kaname.runtimes.remote.types import Link
from kaname.settings import RemoteSettings
from kaname.signature import Signature


def open_links(remote: Remote, signature: Signature, settings: Sequence[RemoteSettings]) -> list[Link]:
    """One link per address; no connection is made yet. Raises InvalidInput for what cannot be used."""
    return [_link(remote, signature, url.rstrip("/"), settings) for url in remote.urls]


def _link(remote: Remote, signature: Signature, url: str, settings: Sequence[RemoteSettings]) -> Link:
    here = access.of_address(settings, url)
    headers = {**{name.lower(): value for name, value in remote.headers.items()}, **access.headers(here)}
    return HttpLink(
        url, _dialect(remote, signature), keep=remote.connections + 1, headers=headers, tls=access.trust(here)
    )


def _dialect(remote: Remote, signature: Signature) -> Dialect:
    return Oip(remote.model, remote.version, signature, binary=bool(remote.binary))
