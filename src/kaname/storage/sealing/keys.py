"""The owner's keys, by name: they wrap the data keys with which everything else is encrypted.

They are listed as `name: key` lines, a key being 32 bytes in base64; blank lines and lines that begin with `#` do not
count, and commas stand for line ends where a variable has only one line. The first is the active one unless
`encryption.active_key` names another: it wraps what is new. All of them open what they wrapped before.
"""

from __future__ import annotations

import binascii
import os
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import msgspec

from kaname.errors import CorruptData, InvalidInput, Unavailable
from kaname.settings import EncryptionSettings

if TYPE_CHECKING:
    from kaname.storage.sealing.aes import Aes

KEY_BYTES, NONCE_BYTES = 32, 12
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
WHERE = "encryption.keys"


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A data key, wrapped: which key opens it, and the nonce and ciphertext."""

    key: str
    wrapped: bytes


class Keyring:
    """The keys of a project; without any, nothing new is encrypted."""

    def __init__(self, keys: dict[str, bytes] | None = None, active: str | None = None) -> None:
        """`active` None: the first one. Raises MissingDependency where there are keys and no library to use them."""
        self.names = tuple(keys or ())
        self.active = active or next(iter(self.names), None)
        self._keys: dict[str, Aes] = {}
        if keys:
            from kaname.storage.sealing.aes import Aes

            self._keys = {name: Aes(key) for name, key in keys.items()}

    @classmethod
    def of(cls, settings: EncryptionSettings) -> Keyring:
        """The keys that the settings list. Raises InvalidInput, which shows none of them."""
        if settings.keys is None:
            return cls()
        keys = _parsed(settings.keys.reveal())
        if settings.active_key and settings.active_key not in keys:
            raise InvalidInput(
                "no such key is listed",
                where="encryption.active_key",
                found=settings.active_key,
                expected=" or ".join(keys),
            )
        return cls(keys, settings.active_key or None)

    def data_key(self) -> bytes | None:
        """A fresh data key; None where no key is active and nothing is to be encrypted."""
        return None if self.active is None else os.urandom(KEY_BYTES)

    def wrap(self, key: bytes, what: str) -> Envelope:
        """The data key of `what` under the active key, which there must be."""
        assert self.active is not None
        nonce = os.urandom(NONCE_BYTES)  # random: few enough are made with one key, and no two processes share a count
        return Envelope(key=self.active, wrapped=nonce + self._keys[self.active].seal(nonce, key, what.encode()))

    def unwrap(self, envelope: Envelope, what: str) -> bytes:
        """The data key of `what`.

        Raises Unavailable naming the key that is not listed, CorruptData when the listed one does not open it.
        """
        key = self._keys.get(envelope.key)
        if key is None:
            raise Unavailable(
                f"encrypted with the key {envelope.key}, which is not listed",
                where=what,
                found=", ".join(self.names) or "no keys",
                expected=f"{envelope.key} in {WHERE}",
            )
        nonce, wrapped = envelope.wrapped[:NONCE_BYTES], envelope.wrapped[NONCE_BYTES:]
        found = key.open(nonce, wrapped, what.encode())
        if found is None:
            raise CorruptData(
                f"the key {envelope.key} does not open it: another key of that name, or damage", where=what
            )
        return found

    def rewrap(self, envelope: Envelope, what: str) -> Envelope | None:
        """The same data key under the active key; None when it is already."""
        if self.active is None:
            raise InvalidInput("there is no key to wrap anything with", where=WHERE, expected="a key")
        return None if envelope.key == self.active else self.wrap(self.unwrap(envelope, what), what)


def new_line(name: str) -> str:
    """A line for the list of keys: a name and 32 random bytes. Raises InvalidInput for a name that cannot be."""
    if not NAME.fullmatch(name):
        raise InvalidInput("not the name of a key", found=repr(name), expected="letters, digits, `.`, `_`, `-`")
    return f"{name}: {b64encode(os.urandom(KEY_BYTES)).decode()}"


def _parsed(text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(re.split(r"[\n,]", text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        where = f"{WHERE}, line {number}"
        if not colon or not NAME.fullmatch(name):
            raise InvalidInput(
                "not a key", where=where, expected="`name: key`, as `kaname encryption new-key` prints it"
            )
        if name in keys:
            raise InvalidInput("a key of that name is listed twice", where=where, found=name)
        keys[name] = _key(value, f"{where} ({name})")
    if not keys:
        raise InvalidInput("no key is listed", where=WHERE)
    return keys


def _key(text: str, where: str) -> bytes:
    try:
        key = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("a key is not base64", where=where) from None
    if len(key) != KEY_BYTES:
        raise InvalidInput("a key has the wrong length", where=where, found=f"{len(key)} bytes", expected="32 bytes")
    return key
