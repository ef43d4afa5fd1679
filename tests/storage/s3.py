"""A real S3 server with one bucket, and artefact stores on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.settings import ArtefactSettings
from kaname.storage.blobs.bucket import BucketArtefacts
from kaname.storage.blobs.opening import open_artefacts
from kaname.storage.sealing.keys import Keyring
from tests.servers import RealServer, free_port, listens

RECIPE = Path(__file__).parents[2] / "services" / "versitygw" / "build.sh"
BUCKET = "models"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not-a-secret-but-looks-like-one"}


def built() -> str:
    """The server's program; the first time it is built, which takes a minute or two."""
    if shutil.which("go") is None and shutil.which("uv", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("neither Go nor uv is installed: the S3 server cannot be built")
    environ = {"UV": str(Path(sys.executable).parent / "uv"), **os.environ}
    done = subprocess.run(["sh", str(RECIPE)], env=environ, capture_output=True, text=True, check=False, timeout=570)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


class S3(RealServer):
    """The server, ready. Its buckets are folders, so that a test can look, and damage what lies in them."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.objects = folder / "buckets" / BUCKET
        for made in (self.objects, folder / "notes"):
            made.mkdir(parents=True)
        kept = ["--sidecar", str(folder / "notes"), str(folder / "buckets")]
        command = [built(), "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", *kept]
        environ = {
            "ROOT_ACCESS_KEY": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "ROOT_SECRET_KEY": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        }
        super().__init__(command, folder, lambda: listens(self.port), environ=environ)

    def settings(
        self, *, prefix: str = "", bucket: str = BUCKET, port: int | None = None, timeout_ms: float = 2_000,
        retry_ms: float = 3_000, cache_bytes: int = 1 << 30,
    ) -> ArtefactSettings:  # fmt: skip
        """How to reach it."""
        return ArtefactSettings(
            url=f"s3://{bucket}/{prefix}",
            endpoint=f"http://127.0.0.1:{port or self.port}",
            region="us-east-1",
            timeout_ms=timeout_ms,
            retry_ms=retry_ms,
            cache_bytes=cache_bytes,
        )

    def artefacts(
        self, data: Path, settings: ArtefactSettings | None = None, keyring: Keyring | None = None
    ) -> BucketArtefacts:
        """The artefacts on it, with a node cache in `data`."""
        found = open_artefacts(settings or self.settings(), data, SystemClock(), keyring or Keyring())
        assert isinstance(found, BucketArtefacts)
        return found
