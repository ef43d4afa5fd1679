"""The keys that the server signs its own tokens with: a private JWK set in the project's data folder.

A new key is published at once and signs from `LEAD_S` later, when every worker knows it; the one before it is kept
until the last token that it signed has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from kaname.access import jose
from kaname.access.private import alone, write_private
from kaname.clock import Clock
from kaname.errors import CorruptData, Unavailable
from kaname.settings import OAuthSettings

LEAD_S = 2.0
"""Time in which the other workers read a new key."""
_S = 1_000_000


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the file; times in microseconds since the Unix epoch, UTC."""

    jwk: dict[str, Any]
    signs_from_us: int
    until_us: int | None = None
    """When the last token signed with it expires; None: it is the newest."""

    @property
    def kid(self) -> str:
        """Its name: its thumbprint."""
        return str(self.jwk["kid"])


class SigningKeys:
    """The file, read when it is needed: whoever signs does so on a thread."""

    def __init__(self, path: Path, settings: OAuthSettings, clock: Clock) -> None:
        self.path = path
        self._settings = settings
        self._clock = clock

    def ensure(self) -> None:
        """Make the first key where there is none."""
        with alone(self.path):
            if not self.path.exists():
                self._write([self._new(signs_from_us=0)])
            self.path.chmod(0o600)

    def rotate(self, *, revoke: bool = False) -> SigningKey:
        """A new key. `revoke`: the others are withdrawn at once, and with them every token that they signed."""
        with alone(self.path):
            kept = self.list() if self.path.exists() else []
            begins_us = self._now_us() + int(LEAD_S * _S)
            ends_us = begins_us + self._settings.ttl_ms * 1000
            new = self._new(signs_from_us=begins_us if kept else 0)
            before = [
                key if key.until_us else msgspec.structs.replace(key, until_us=ends_us)
                for key in ([] if revoke else kept)
                if (key.until_us or ends_us) > self._now_us()
            ]
            self._write([*before, new])
        return new

    def list(self) -> list[SigningKey]:
        """Every key of the file, oldest first. Raises CorruptData, FileNotFoundError."""
        try:
            stored = msgspec.json.decode(self.path.read_bytes(), type=_Stored).keys
            return [
                SigningKey(
                    jwk={k: v for k, v in jwk.items() if not k.endswith("_us")},
                    signs_from_us=jwk["signs_from_us"],
                    until_us=jwk.get("until_us"),
                )
                for jwk in stored
            ]
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
            raise CorruptData(f"unreadable signing keys: {type(error).__name__}", where=str(self.path)) from None

    def current(self) -> jose.PrivateKey:
        """The key that signs now. Raises Unavailable in the moment after a revocation."""
        now_us = self._now_us()
        ready = [key for key in self.list() if key.signs_from_us <= now_us]
        if not ready:
            raise Unavailable("the new signing key is not known to every worker yet", retry_after_s=LEAD_S)
        jwk = ready[-1].jwk
        return jose.PrivateKey(jwk["kid"], jwk["alg"], jwk)

    def public(self) -> dict[str, Sequence[dict[str, Any]]]:
        """The JWK set with which others check the tokens."""
        return {"keys": [jose.public_members(key.jwk) for key in self.list()]}

    def _new(self, signs_from_us: int) -> SigningKey:
        return SigningKey(jwk=jose.new_key(self._settings.algorithm).jwk, signs_from_us=signs_from_us)

    def _write(self, keys: Sequence[SigningKey]) -> None:
        flat = [key.jwk | {"signs_from_us": key.signs_from_us, "until_us": key.until_us} for key in keys]
        write_private(self.path, msgspec.json.encode(_Stored(flat)).decode())

    def _now_us(self) -> int:
        return self._clock.time_ns() // 1000


class _Stored(msgspec.Struct):
    keys: list[dict[str, Any]]
