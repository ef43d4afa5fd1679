"""What it costs to know who asks and to keep it to oneself: key against token, plain against TLS.

python -m benchmarks.access      (a minute; needs wrk)
"""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.request
from pathlib import Path

from benchmarks import interleaved, models, process, subject
from benchmarks.contestants import OUT
from benchmarks.request import Request
from kaname.access import jose
from kaname.access.bearer import Own, Tokens
from kaname.access.keysets import FileSource, Keyset
from kaname.clock import SystemClock
from kaname.settings import OAuthSettings
from tests.certificates import LOOPBACK, Authority

CHECKS = 300


def _project(secure: bool) -> subject.Project:
    project = subject.Project.make("tls" if secure else "plain", {"iris": models.build(OUT / "models")["iris"]})
    lines = ["access:", "  oauth: {enabled: true, ttl_ms: 3600000}"]
    if secure:
        certificate, key = Authority(project.folder).issue("server", *LOOPBACK)
        lines += ["server:", f"  tls: {{certificate: {certificate.name}, key: {key.name}}}"]
    with (project.folder / "kaname.yaml").open("a") as file:
        file.write("\n".join([*lines, ""]))
    return project


def _token(project: subject.Project, server: process.Server) -> str:
    pair = base64.b64encode(f"{project.key[3:11]}:{project.key}".encode()).decode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/oauth/token",
        b"grant_type=client_credentials",
        {"authorization": f"Basic {pair}"},
    )
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return str(json.loads(answer.read())["access_token"])


def _request(like: Request, secret: str, *more: tuple[str, str]) -> Request:
    headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {secret}"), *more)
    return Request(like.path, like.body, headers, like.method)


def _check_us(algorithm: str, folder: Path) -> float:
    """A token that was not seen before, from its bytes to what it grants."""
    key = jose.new_key(algorithm)  # type: ignore[arg-type]  # one of the three
    file = folder / f"{algorithm}.json"
    file.write_text(json.dumps({"keys": [jose.public_members(key.jwk)]}))
    tokens = Tokens(SystemClock())
    keys = Keyset("own", FileSource(file), SystemClock(), tokens.withdraw)
    keys.keys = jose.keys_of(file.read_bytes())
    tokens.trust((), Own(OAuthSettings(enabled=True), keys))
    claims = {"iss": "x", "sub": "abcdefgh", "aud": "kaname", "exp": time.time() + 600, "scope": "predict:iris"}
    made = [f"Bearer {jose.sign(claims | {'jti': str(at)}, key)}".encode() for at in range(CHECKS)]
    began = time.process_time_ns()
    for one in made:
        tokens.verify(one)
    return (time.process_time_ns() - began) / CHECKS / 1e3


def main() -> None:
    """Print two tables."""
    plain, secure = _project(secure=False), _project(secure=True)
    servers = [plain.start(), secure.start()]
    try:
        for server in servers:
            interleaved.wait_open(server.port)
        token, close = _token(plain, servers[0]), ("Connection", "close")
        like = plain.predict_request(servers[0], "iris")
        variants: list[interleaved.Variant] = [
            ("API key", servers[0], _request(like, plain.key), "http"),
            ("token", servers[0], _request(like, token), "http"),
            ("API key, TLS 1.3", servers[1], _request(like, secure.key), "https"),
            ("API key, a connection each", servers[0], _request(like, plain.key, close), "http"),
            ("API key, TLS 1.3, a connection each", servers[1], _request(like, secure.key, close), "https"),
        ]
        print(interleaved.table(variants))
    finally:
        for server in servers:
            server.stop()
    print("\n| first sight of a token | CPU µs |\n|---|---:|")
    for algorithm in jose.ALGORITHMS:
        print(f"| {algorithm} | {_check_us(algorithm, OUT):.0f} |")
    print(f"\n{ssl.OPENSSL_VERSION}")


if __name__ == "__main__":
    main()
