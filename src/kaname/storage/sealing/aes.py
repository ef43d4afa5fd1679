"""AES-256-GCM and HKDF-SHA256: the one module of the stores that knows the library."""

from __future__ import annotations

from kaname.errors import MissingDependency

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ModuleNotFoundError as missing:
    raise MissingDependency.of(missing.name or "cryptography", "security", "encryption at rest") from missing

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16


class Aes:
    """One key. A nonce must never be used twice with it."""

    def __init__(self, key: bytes) -> None:
        self._aes = AESGCM(key)

    def seal(self, nonce: bytes, value: bytes, bound: bytes) -> bytes:
        """`value` encrypted, `TAG_BYTES` longer; it opens only together with `bound`."""
        return self._aes.encrypt(nonce, value, bound)

    def open(self, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
        """What was sealed; None when it was sealed with another key, is bound to something else, or was changed."""
        try:
            return self._aes.decrypt(nonce, sealed, bound)
        except InvalidTag:
            return None


def derived(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    """A key of its own for each salt."""
    return HKDF(SHA256(), KEY_BYTES, salt, purpose).derive(key)
