"""Signed tokens and the keys that sign them (RFC 7515, 7517, 7638, 8037) through PyJWT and cryptography.

This is the one module that knows those libraries. Three algorithms, each with one kind of key, so that no token can
choose how it is checked: RS256 (RSA, 2,048 bits or more), ES256 (P-256), EdDSA (Ed25519).
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import UNSET, UnsetType

from kaname.errors import InvalidInput, MissingDependency, Unauthenticated
from kaname.settings import Algorithm

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )
    from jwt import PyJWK, PyJWTError
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    from jwt.api_jws import PyJWS
except ModuleNotFoundError as error:
    raise MissingDependency.of("pyjwt and cryptography", "security", "a signed token") from error

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
_KIND: dict[Algorithm, tuple[str, str | None]] = {
    "RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519"),
}  # fmt: skip
"""Type and curve of each algorithm's keys."""
_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
"""The public members of a key in the order of RFC 7638; all that is kept of an issuer's."""
_RSA_BITS = range(2048, 8193)
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
LONGEST = 8192
"""Bytes of a token; longer ones do not fit where API keys fit."""
_jws = PyJWS()


class Header(msgspec.Struct, frozen=True):
    """What the first part of a token says; a member that would choose or bring a key makes the token worthless."""

    alg: str
    kid: str = ""
    typ: str = "JWT"
    jwk: Any | UnsetType = UNSET
    jku: Any | UnsetType = UNSET
    x5u: Any | UnsetType = UNSET
    x5c: Any | UnsetType = UNSET
    crit: Any | UnsetType = UNSET
    b64: Any | UnsetType = UNSET
    zip: Any | UnsetType = UNSET
    enc: Any | UnsetType = UNSET


_REFUSED = ("jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc")


class PublicKey(NamedTuple):
    """A key that tokens are checked with."""

    kid: str
    algorithm: Algorithm
    thumbprint: str
    key: PyJWK


Keys = dict[tuple[str, str], PublicKey]
"""Keys by (kid, algorithm); the only one of an algorithm also stands under ("", algorithm), for tokens without kid."""


class PrivateKey(NamedTuple):
    """A key that signs tokens; `jwk` has its private members."""

    kid: str
    algorithm: Algorithm
    jwk: dict[str, Any]


def refused(reason: str, expected: str = "a valid token") -> Unauthenticated:
    """The error for a token; `reason` repeats nothing of it that was not signed."""
    return Unauthenticated(reason, where="Authorization", expected=expected)


def header_of(token: bytes) -> Header:
    """The header of a compact token. Raises Unauthenticated for what is not one, and for one that brings its key."""
    if len(token) > LONGEST or not _TOKEN.fullmatch(token):
        raise refused("this is neither an API key nor a token")
    try:
        header = msgspec.json.decode(_decoded(token.partition(b".")[0]), type=Header)
    except (ValueError, RecursionError):
        raise refused("the token's header cannot be read") from None
    for name in _REFUSED:
        if getattr(header, name) is not UNSET:
            raise refused(f"the token's header has `{name}`", "a token signed by a key that the server knows")
    if header.typ.lower() not in _TYPES:
        raise refused("this kind of token gives no access", "typ JWT or at+jwt")
    if header.alg not in ALGORITHMS:
        raise refused("the token is signed in a way that is not accepted", ", ".join(ALGORITHMS))
    return header


def payload_of(token: bytes) -> bytes:
    """The second part, which nobody has vouched for yet. Raises Unauthenticated."""
    try:
        return _decoded(token.split(b".")[1])
    except ValueError:
        raise refused("the token's claims cannot be read") from None


def verify(token: bytes, key: PublicKey) -> None:
    """Raises Unauthenticated unless the token was signed with `key`, by its algorithm."""
    try:
        _jws.decode_complete(token, key.key, algorithms=[key.algorithm])
    except (PyJWTError, ValueError):
        raise refused("the token's signature is wrong") from None


def keys_of(raw: bytes) -> Keys:
    """The usable keys of a JWK set: public, for signatures, of the three algorithms; others are passed over.

    Raises InvalidInput for what is no set, and for one without a usable key.
    """
    try:
        listed = msgspec.json.decode(raw, type=_Set).keys
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not a JWK set: {error}") from None
    found: Keys = {}
    for jwk in listed:
        key = _public(jwk)
        if key is not None:
            found[key.kid, key.algorithm] = key
    if not found:
        raise InvalidInput("a JWK set without a usable key", expected=f"keys for {', '.join(ALGORITHMS)}")
    for algorithm in ALGORITHMS:
        of_it = [key for key in found.values() if key.algorithm == algorithm]
        if len(of_it) == 1:
            found["", algorithm] = of_it[0]
    return found


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


def _public(jwk: dict[str, Any]) -> PublicKey | None:
    kid, algorithm = jwk.get("kid", ""), _algorithm(jwk)
    if algorithm is None or not isinstance(kid, str) or jwk.get("use", "sig") != "sig":
        return None
    if "verify" not in jwk.get("key_ops", ["verify"]):
        return None
    members = {name: jwk.get(name) for name in _MEMBERS[_KIND[algorithm][0]]}
    if not all(isinstance(value, str) for value in members.values()):
        return None
    try:
        key = PyJWK(members, algorithm)
    except (PyJWTError, ValueError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size not in _RSA_BITS:
        return None
    return PublicKey(kid, algorithm, thumbprint(members), key)


def _algorithm(jwk: dict[str, Any]) -> Algorithm | None:
    """The one algorithm of a key, by its type and curve; None where the key itself says otherwise."""
    for algorithm, (kty, curve) in _KIND.items():
        if jwk.get("kty") == kty and (curve is None or jwk.get("crv") == curve):
            return algorithm if jwk.get("alg", algorithm) == algorithm else None
    return None


def public_members(jwk: dict[str, Any]) -> dict[str, Any]:
    """A private key as others may see it."""
    kept = (*_MEMBERS[jwk["kty"]], "kid", "alg")
    return {name: jwk[name] for name in kept} | {"use": "sig"}


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638, of SHA-256."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    return _encoded(hashlib.sha256(msgspec.json.encode(members, order="sorted")).digest())


def new_key(algorithm: Algorithm) -> PrivateKey:
    """A new key, named by its thumbprint."""
    jwk: dict[str, Any]
    if algorithm == "RS256":
        jwk = RSAAlgorithm.to_jwk(generate_rsa_key(65537, 2048), as_dict=True)
    elif algorithm == "ES256":
        jwk = ECAlgorithm.to_jwk(generate_private_key(SECP256R1()), as_dict=True)
    else:
        jwk = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    jwk.pop("key_ops", None)
    kid = thumbprint(jwk)
    return PrivateKey(kid, algorithm, jwk | {"kid": kid, "alg": algorithm})


def sign(claims: dict[str, Any], key: PrivateKey) -> str:
    """An access token (RFC 9068) with these claims."""
    secret = PyJWK(key.jwk, key.algorithm).key
    payload = msgspec.json.encode(claims)
    return _jws.encode(payload, secret, algorithm=key.algorithm, headers={"typ": "at+jwt", "kid": key.kid})


def plain_key(pem: bytes, password: str) -> bytes:
    """An encrypted private key without its password, for libraries that take none. Raises InvalidInput."""
    try:
        key = load_pem_private_key(pem, password.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidInput("the private key cannot be read with its password", where="server.tls.key") from None
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
