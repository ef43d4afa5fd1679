"""The server's certificate: read at the start and again when its files change, a broken new one leaving the old."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from kaname.errors import InvalidInput
from kaname.settings import TlsSettings

LOG = logging.getLogger("kaname.tls")
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
GRPC_CIPHERS = "GRPC_SSL_CIPHER_SUITES", "ECDHE-PSK-CHACHA20-POLY1305"
"""grpc has no setting for the oldest version of TLS, but a variable for the ciphers of 1.2: of those this names only
one for keys shared beforehand, which there are none of. The ciphers of 1.3 are not its business."""
Facts = tuple[tuple[int, int, int] | None, ...]


class Certificates:
    """The pair in force now, as a context for handshakes and as text. `renew` is for one thread."""

    def __init__(self, settings: TlsSettings, root: Path) -> None:
        """`root`: where relative paths start. Raises InvalidInput for files that make no pair."""
        self.settings = settings
        self._root = root
        self._looked = self._seen = self._facts()
        self.context = self._load()

    @property
    def handshake_s(self) -> float:
        """Time in which a handshake must be done."""
        return self.settings.handshake_timeout_ms / 1000

    def renew(self) -> bool:
        """Look at the files; True when `context` is a new one. New files are taken once they rest from one look to the
        next, because a pair is rarely replaced at one instant."""
        facts = self._facts()
        rests, self._looked = facts == self._looked, facts
        if facts == self._seen or not rests:
            return False
        self._seen = facts
        try:
            self.context = self._load()
        except InvalidInput as error:
            LOG.error("the new certificate cannot be used, the old one stays in force: %s", error)
            return False
        LOG.warning("new handshakes use the new certificate in %s", self.settings.certificate)
        return True

    def texts(self) -> tuple[bytes, bytes, bytes | None]:
        """Private key, certificate chain and the authorities of clients, as PEM; of a pair that can be used.

        Raises InvalidInput, OSError; MissingDependency for an encrypted key without the extra `security`.
        """
        self._load()
        settings = self.settings
        key = self._path(settings.key or settings.certificate).read_bytes()
        if settings.key_password is not None:
            from kaname.access.jose import plain_key

            key = plain_key(key, settings.key_password.reveal())
        chain = self._path(settings.certificate).read_bytes()
        return key, chain, None if settings.client_ca is None else self._path(settings.client_ca).read_bytes()

    def _load(self) -> ssl.SSLContext:
        settings = self.settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[settings.minimum]
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        password = None if settings.key_password is None else settings.key_password.reveal()
        try:
            context.load_cert_chain(self._path(settings.certificate), self._key(), password or _no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise _unusable(
                "server.tls.certificate", error, "a certificate chain and its private key, as PEM"
            ) from None
        if settings.client_ca is not None:
            try:
                context.load_verify_locations(self._path(settings.client_ca))
            except OSError as error:
                raise _unusable("server.tls.client_ca", error, "certificates of authorities, as PEM") from None
            context.verify_mode = ssl.CERT_REQUIRED if settings.clients == "required" else ssl.CERT_OPTIONAL
        return context

    def _key(self) -> Path | None:
        return None if self.settings.key is None else self._path(self.settings.key)

    def _path(self, name: str | None) -> Path:
        return self._root / (name or "")

    def _facts(self) -> Facts:
        names = (self.settings.certificate, self.settings.key, self.settings.client_ca)
        return tuple(_facts(self._root / name) for name in names if name is not None)


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    """Instead of asking a terminal. ssl wants a password of at least one character where a key is encrypted."""
    raise ValueError("the private key is encrypted and there is no server.tls.key_password")


def _unusable(where: str, error: Exception, expected: str) -> InvalidInput:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InvalidInput("unusable file", where=where, found=str(reason), expected=expected)
