"""Servers that are asked as models."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.secret import Secret

RemoteName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the servers behind one address are shown, and whom to believe there."""

    url: Annotated[str, Meta(pattern=r"^(https?|grpcs?)://[^/?#\s]+(/[^?#\s]*)?$")]
    """Holds for this address and what lies below its path; nothing is shown to another server."""
    header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$")] = "authorization"
    """Name of the header, or of the gRPC metadata, that carries `value`."""
    value: Secret | None = None
    """The whole value: `Bearer …`."""
    value_file: str | None = None
    """File that holds the value."""
    ca_file: str | None = None
    """PEM file of the authorities that vouch for the server; None: the system's."""
