"""Redis over TLS: the authority that the settings name is trusted, no other, and nothing goes out in the clear."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kaname.errors import Unavailable
from kaname.storage.shared.address import parse
from kaname.storage.shared.redis import RedisStore
from kaname.storage.shared.types import Value
from tests.redis_servers import RedisServer

WHEN = datetime.datetime.now(datetime.UTC)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for loopback that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(WHEN - datetime.timedelta(days=1))
        .not_valid_after(WHEN + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


def test_only_the_named_authority_is_trusted(tmp_path: Path) -> None:
    """With it values travel; with another one, the system's, or without TLS, the store does not answer."""
    mine, secret = certificate(tmp_path, "mine")
    other, _ = certificate(tmp_path, "other")
    options = ("--tls-cert-file", str(mine), "--tls-key-file", str(secret), "--tls-auth-clients", "no")
    with RedisServer(tmp_path / "redis", *options, tls=True) as server:
        address = parse(server.url, "test")
        assert address.tls
        right = RedisStore(address, prefix="t:", timeout_ms=2_000, ca_file=str(mine))
        right.put([Value("k", b"v", 60_000)])
        assert right.get(["k"]) == [b"v"]
        right.close()
        for ca_file in (str(other), None):
            with pytest.raises(Unavailable, match="certificate"):
                RedisStore(address, prefix="t:", timeout_ms=2_000, ca_file=ca_file).get(["k"])
        plain = parse(server.url.replace("rediss", "redis"), "test")
        with pytest.raises(Unavailable):
            RedisStore(plain, prefix="t:", timeout_ms=500).get(["k"])
