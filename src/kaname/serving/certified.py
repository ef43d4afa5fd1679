"""HTTP connections whose clients may have shown a certificate: it is who asks, where a request names nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from kaname.access.certificates import ClientCertificates, names_of
from kaname.serving.http import Connection

if TYPE_CHECKING:
    from kaname.serving.gate import Gate


def certified_class(gate: Gate, certificates: ClientCertificates) -> type[CertifiedConnection]:
    """The protocol class of a worker whose clients may show certificates."""
    return type("GateConnection", (CertifiedConnection,), {"gate": gate, "certificates": certificates})


class CertifiedConnection(Connection):
    """Equal heads of two such connections may come from two callers, so that no head is remembered."""

    certificates: ClassVar[ClientCertificates]
    remembers = False
    _who: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._who = self.certificates.header(names_of(transport.get_extra_info("peercert")))

    def data_received(self, data: bytes) -> None:
        if not self._deaf:
            self._parse(data)

    def on_headers_complete(self) -> None:
        if self._who is not None and not any(name == b"authorization" for name, _ in self.headers):
            self.headers.append((b"authorization", self._who))
        super().on_headers_complete()
