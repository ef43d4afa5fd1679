"""What is known of a gRPC call besides its message: its metadata, the name it asked for, the certificate it showed."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

import grpc

from kaname.access.certificates import ClientCertificates
from kaname.serving.grpc.ticket import Metadata

RELIES_ON = "_rpc_event.call_details.host"
"""Where grpc keeps the name that a call asked for (`:authority`), which it shows nobody; a test looks whether it is
still there."""
_KINDS = {"x509_common_name": "CN=", "peer_dns": "DNS:", "peer_uri": "URI:", "peer_email": "email:"}


class Callers:
    """Completes metadata with `host`, and with `authorization` where a certificate stands for a key."""

    def __init__(self, certificates: ClientCertificates | None = None) -> None:
        self._certificates = certificates

    def metadata(self, context: grpc.ServicerContext) -> Metadata:
        """What the caller sent, and what the connection says; called on any thread."""
        host = context._rpc_event.call_details.host.decode("latin-1")
        sent: Metadata = context.invocation_metadata()
        found = (*sent, ("host", unquote(host) if "%" in host else host))
        if self._certificates is None or any(name == "authorization" for name, _ in sent):
            return found
        shown = self._certificates.header(_names(context))
        return found if shown is None else (*found, ("authorization", shown))


def _names(context: grpc.ServicerContext) -> Iterator[str]:
    """The names in the caller's certificate, written as over HTTP."""
    facts = context.auth_context()
    for kind, prefix in _KINDS.items():
        for value in facts.get(kind, ()):
            yield prefix + value.decode("utf-8", "replace")
