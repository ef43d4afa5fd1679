"""A real identity provider (oidc-provider on Node.js) that issues tokens by client credentials."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx

from kaname.access import jose
from kaname.settings import Algorithm
from tests.servers import RealServer, free_port, listens, program

RECIPE = Path(__file__).parents[1] / "services" / "oidc-provider"
CLIENT = ("shop", "a-secret-of-the-shop")


def installed() -> Path:
    """The provider with its packages, in the user's cache; the first time asks the package registry."""
    wanted = json.loads((RECIPE / "package.json").read_text())["dependencies"]["oidc-provider"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaname"
    folder = cache / f"oidc-provider-{wanted}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("package.json", "provider.js"):
            shutil.copy(RECIPE / name, folder / name)
        if not (folder / "complete").exists():
            npm = [program("npm", "npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(npm, cwd=folder, check=True, capture_output=True, timeout=110)
            (folder / "complete").touch()
    return folder


class Provider:
    """One issuer on a port of its own; `start` with other keys is what the world sees as a rotation."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._code = installed()
        self.server: RealServer | None = None

    def start(self, algorithm: Algorithm, keys: Sequence[jose.PrivateKey]) -> None:
        """Issue tokens signed with the first of the keys that fits."""
        self.stop()
        file = self._folder / "keys.json"
        file.write_text(json.dumps({"keys": [key.jwk for key in keys]}))
        script = [program("node", "nodejs"), str(self._code / "provider.js"), str(self.port), str(file), algorithm]
        self.server = RealServer(script, self._folder, lambda: listens(self.port))

    def token(self, scope: str = "predict:iris") -> str:
        """A new access token."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": "urn:kaname"}
        answer = httpx.post(f"{self.url}/token", data=form, auth=CLIENT, trust_env=False, timeout=10)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def stop(self) -> None:
        """The issuer is down."""
        server, self.server = self.server, None
        if server is not None:
            server.stop()
