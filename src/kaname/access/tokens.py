"""The text of an API key: `kn_<id>_<secret>`, easy to find in a leak and safe to name by its id."""

from __future__ import annotations

import base64
import hashlib
import re

PREFIX = "kn_"
ID_BYTES = 5
SECRET_BYTES = 32

KEY = re.compile(r"kn_[a-z2-7]{8}_[A-Za-z0-9_-]{43}")
"""Matches a key anywhere in a text; what secret scanners and log filters look for."""

_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +(kn_([a-z2-7]{8})_[A-Za-z0-9_-]{43}) *")


def id_of(raw: bytes) -> str:
    """The 8-character id (lower-case base32) made of `ID_BYTES` random bytes."""
    return base64.b32encode(raw).decode().lower()


def key_of(key_id: str, raw: bytes) -> str:
    """The key for `key_id` whose secret is `SECRET_BYTES` random bytes; 55 characters."""
    return f"{PREFIX}{key_id}_{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"


def digest(key: bytes) -> str:
    """BLAKE2b-256 of the whole key, hexadecimal: all that is ever stored of it."""
    return hashlib.blake2b(key, digest_size=32).hexdigest()


def parse(authorization: bytes) -> tuple[str, bytes] | None:
    """Id and key in an `Authorization: Bearer …` value, or None when it does not hold a well-formed key."""
    match = _BEARER.fullmatch(authorization)
    return None if match is None else (match[2].decode(), match[1])
