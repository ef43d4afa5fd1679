"""Secrets stay secret: a server with every one of them set prints, logs, answers and lists none."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from kaname.project.typed import is_secret
from kaname.settings import Settings
from tests.certificates import LOOPBACK, Authority
from tests.cli.kaname import kaname
from tests.e2e.conftest import Serve
from tests.e2e.server import predict
from tests.processes import until


def secrets_of(kind: type, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every secret in a Struct of settings, groups included."""
    found = []
    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]  # a Struct
        here = (*path, field.name)
        if is_secret(field.type):
            found.append(here)
        elif isinstance(field.type, inspect.StructType):
            found += secrets_of(field.type.cls, here)
    return found


SECRETS = secrets_of(Settings)
SEALING = base64.b64encode(bytes(range(32))).decode()


def word(path: tuple[str, ...]) -> str:
    """A secret that is easy to find."""
    return "hush-" + "-".join(path)


def test_every_setting_that_sounds_like_a_secret_is_one() -> None:
    """A password, a key or a token in plain text would be printed by `kaname settings`."""
    assert SECRETS

    def leaves(kind: type, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], inspect.Type]]:
        fields = inspect.type_info(kind).fields  # type: ignore[attr-defined]  # a Struct
        return [
            leaf
            for field in fields
            for leaf in (
                leaves(field.type.cls, (*path, field.name))
                if isinstance(field.type, inspect.StructType)
                else [((*path, field.name), field.type)]
            )
        ]

    sounding = {path for path, _ in leaves(Settings) if any(word in path[-1] for word in ("password", "secret"))}
    plain = {path for path in sounding if path not in SECRETS and not path[-1].endswith("_file")}
    assert not plain


@pytest.mark.slow
def test_a_server_shows_no_secret(serve: Serve, tmp_path: Path) -> None:
    """In its output, its log, its answers, its listings and its data folder, through good and bad requests."""
    authority = Authority(tmp_path)
    password = word(("server", "tls", "key_password"))
    certificate, key = authority.issue("server", *LOOPBACK, password=password)
    environ = {f"KANAME_{'__'.join(path).upper()}": word(path) for path in SECRETS}
    environ |= {
        "KANAME_SHARED__REDIS_URL": "redis://hush-user:hush-word@127.0.0.1:1/0",  # nobody is there
        "KANAME_ENCRYPTION__KEYS": f"first: {SEALING}",
        "KANAME_SERVER__TLS__CERTIFICATE": str(certificate),
        "KANAME_SERVER__TLS__KEY": str(key),
        "KANAME_ACCESS__OAUTH__ENABLED": "true",
        "KANAME_TELEMETRY__OTLP__ENDPOINT": "http://127.0.0.1:1",  # nor there
        "KANAME_TELEMETRY__OTLP__HEADERS": "x-key=hush-otlp",
        "KANAME_LOG_LEVEL": "debug",
    }
    server = serve(workers=2, **environ)
    said = []
    with server.client(verify=authority.trusting()) as client:
        form = {"grant_type": "client_credentials", "client_id": server.admin[3:11], "client_secret": server.admin}
        token = client.post("/oauth/token", data=form, headers={"authorization": ""}).json().get("access_token", "")
        said += [predict(client).text, predict(client, "nothing").text, client.get("/api/v1/keys").text]
        said += [client.get("/metrics").text, client.get("/openapi.json").text]
        for header in (f"Bearer {token}x", f"Bearer {server.admin}x", f"Basic {server.admin}"):
            said.append(client.get("/api/v1/keys", headers={"authorization": header}).text)
    authority.issue("server", *LOOPBACK, password="another")
    until(lambda: "the old one stays in force" in server.log(), "a certificate with another password is refused")
    for arguments in (("settings",), ("settings", "--json"), ("settings", "--changed"), ("check",), ("doctor",)):
        ran = kaname("-C", server.project, *arguments, cwd=None, **environ)
        said.append(ran.out + ran.err)
    assert server.stop() == 0
    said += [server.log(), server.out()]
    for secret in (*environ.values(), server.admin, token):
        if secret.startswith(("hush-", "redis:", "kn_", "eyJ")):
            assert not [text for text in said if secret in text], "a secret was shown"
    assert not [text for text in said if "hush-" in text or SEALING in text]
    signing = (server.project / ".kaname" / "tokens" / "signing.json").read_bytes()
    private = msgspec.json.decode(signing)["keys"][0]["d"]
    assert not [text for text in said if private in text]
    kept = [path for path in server.project.rglob("*") if path.is_file()]
    assert not [path for path in kept if password.encode() in path.read_bytes()]
