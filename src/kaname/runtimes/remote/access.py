"""What a server is shown, and whom to believe there: only what the settings say of its very address."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from kaname.errors import InvalidInput
from kaname.runtimes.remote.description import HEADER_VALUE, is_header_value
from kaname.settings import RemoteSettings

_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}


def of_address(settings: Iterable[RemoteSettings], url: str) -> list[RemoteSettings]:
    """Those that hold for `url`: same scheme, host and port, and a path at or above its own."""
    return [one for one in settings if _covers(urlsplit(one.url), urlsplit(url))]


def _covers(one: SplitResult, url: SplitResult) -> bool:
    above, below = one.path.rstrip("/"), url.path
    if ".." in below.split("/") or _server(one) != _server(url):
        return False
    return below == above or below.startswith(f"{above}/") or not above


def _server(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)


def headers(settings: Iterable[RemoteSettings]) -> dict[str, str]:
    """The headers with their secrets: for use, not to be kept or shown. Raises InvalidInput, without them."""
    found = {one.header.lower(): one.value.reveal() for one in settings if one.value is not None}
    for name, value in found.items():
        if not is_header_value(value):
            raise InvalidInput("not the value of a header", where=f"remotes: {name}", expected=HEADER_VALUE)
    return found


def authorities(settings: Iterable[RemoteSettings]) -> str | None:
    """The file of the authorities to believe; None: the system's."""
    return next((one.ca_file for one in settings if one.ca_file is not None), None)


def trust(settings: Iterable[RemoteSettings]) -> ssl.SSLContext | None:
    """The same for TLS. Raises InvalidInput for a file that cannot be used."""
    file = authorities(settings)
    if file is None:
        return None
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput("unusable certificates", where="remotes: ca_file", found=f"{file}: {error}") from error
