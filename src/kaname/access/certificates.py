"""Clients that show a certificate: which name of it is a caller here, and what that one may do.

A door that has verified a certificate gives its requests an `Authorization` value that only this process can make, so
that everything behind the door knows one way of saying who asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from kaname.settings import ClientCertificate

_KINDS = {"DNS": "DNS", "URI": "URI", "email": "email"}


def names_of(certificate: Mapping[str, Any] | None) -> list[str]:
    """The names in a verified certificate as `ssl` describes it: `CN=…`, then `DNS:…`, `URI:…`, `email:…`."""
    if not certificate:
        return []
    subject = (pair for group in certificate.get("subject", ()) for pair in group)
    common = [f"CN={value}" for name, value in subject if name == "commonName"]
    return common + [f"{kind}:{value}" for kind, value in certificate.get("subjectAltName", ()) if kind in _KINDS]


class ClientCertificates:
    """The declared names, and the headers that stand for them in this process."""

    def __init__(self, declared: Iterable[ClientCertificate]) -> None:
        self._by_name = {one.name: one for one in declared}
        self._prefix = f"Certificate {secrets.token_hex(16)} ".encode()

    def header(self, names: Iterable[str]) -> bytes | None:
        """The `Authorization` value of the first of these names that is declared; None where none is."""
        for name in names:
            if name in self._by_name:
                return self._prefix + name.encode()
        return None

    def of(self, authorization: bytes) -> ClientCertificate | None:
        """Who a value stands for that `header` made."""
        if not authorization.startswith(self._prefix):
            return None
        return self._by_name.get(authorization[len(self._prefix) :].decode())
