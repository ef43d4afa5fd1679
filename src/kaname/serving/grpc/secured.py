"""TLS for gRPC: the server's certificate, asked for anew at each handshake."""

from __future__ import annotations

import logging

import grpc

from kaname.errors import KanameError
from kaname.serving.certificates import Certificates

LOG = logging.getLogger("kaname.tls")


def credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Those of a port; clients must show a certificate where the settings require it (gRPC knows no "may").

    Raises InvalidInput.
    """
    required = certificates.settings.client_ca is not None and certificates.settings.clients == "required"
    first = certificates.texts()
    given = certificates.context

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """The new pair once connections of HTTP use it. On a thread of grpc, which takes None for no change."""
        nonlocal given
        wanted = certificates.context
        if wanted is given:
            return None
        try:
            found = _configured(certificates.texts())
        except (KanameError, OSError) as error:
            LOG.error("gRPC keeps the old certificate: %s", error)
            return None
        given = wanted
        return found

    return grpc.dynamic_ssl_server_credentials(_configured(first), renewed, require_client_authentication=required)


def _configured(texts: tuple[bytes, bytes, bytes | None]) -> grpc.ServerCertificateConfiguration:
    key, chain, authorities = texts
    return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)
