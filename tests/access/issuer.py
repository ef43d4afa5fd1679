"""An issuer of tokens for tests: its keys, its key set in a file, and tokens that it would never issue."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from jwt import PyJWK

from kaname.access import jose
from kaname.access.bearer import Tokens, open_tokens
from kaname.clock import ManualClock
from kaname.settings import AccessSettings, Algorithm, TokenIssuer

ISSUER = "https://login.example.com"
NOW_S = 1_700_000_000


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def part(value: object) -> str:
    """JSON as a part of a token."""
    return encoded(json.dumps(value).encode())


class Issuer:
    """Keys of the three algorithms, published in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.keys = {algorithm: jose.new_key(algorithm) for algorithm in jose.ALGORITHMS}
        self.publish()

    def publish(self, **more: Any) -> None:
        """Write the key set."""
        keys = [jose.public_members(key.jwk) for key in self.keys.values()]
        self.file.write_text(json.dumps({"keys": keys, **more}))

    def rotate(self, algorithm: Algorithm) -> jose.PrivateKey:
        """A new key in the place of the old one; returns the old one."""
        old, self.keys[algorithm] = self.keys[algorithm], jose.new_key(algorithm)
        self.publish()
        return old

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Claims that are accepted; a value of None takes one out."""
        good = {"iss": ISSUER, "sub": "alice", "aud": "kaname", "exp": NOW_S + 600, "iat": NOW_S, "scope": "predict:*"}
        return {name: value for name, value in (good | changed).items() if value is not None}

    def token(self, algorithm: Algorithm = "ES256", key: jose.PrivateKey | None = None, **changed: Any) -> str:
        """A signed token."""
        return jose.sign(self.claims(**changed), key or self.keys[algorithm])

    def with_header(self, algorithm: Algorithm = "ES256", **header: Any) -> str:
        """A token whose header has other members, with a signature that is right for it."""
        key = self.keys[algorithm]
        members = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt"} | header
        return self.signed({name: value for name, value in members.items() if value is not None}, self.claims(), key)

    def signed(self, header: object, payload: object, key: jose.PrivateKey) -> str:
        """Any header and payload, signed over these very bytes."""
        signing_input = f"{part(header)}.{part(payload)}"
        secret = PyJWK(key.jwk, key.algorithm)
        return f"{signing_input}.{encoded(secret.Algorithm.sign(signing_input.encode(), secret.key))}"

    def trusted(self, **changed: Any) -> TokenIssuer:
        """How a project declares it."""
        values: dict[str, Any] = {"name": "corp", "issuer": ISSUER, "audience": ("kaname",), "leeway_ms": 5000}
        return TokenIssuer(**values | {"jwks": str(self.file)} | changed)


async def opened(clock: ManualClock, folder: Path, *issuers: TokenIssuer, **access: Any) -> Tokens:
    """What a project with these settings accepts, the keys read once."""
    tokens = open_tokens(AccessSettings(tokens=issuers, **access), folder, folder, clock)
    await tokens.start()
    return tokens


def bearer(token: str) -> bytes:
    """The header value."""
    return f"Bearer {token}".encode()
