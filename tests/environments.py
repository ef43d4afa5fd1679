"""Python environments of their own for libraries that are too heavy for the one that tests run in.

An environment is made once from a pinned requirements file and shared by all clones of the project: its folder below
the user's cache is named by the file's hash. Kaname is not installed in it: its source is on the path of what runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that is complete."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def run(self, arguments: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run its interpreter in the project's root, with this clone's Kaname and tests to import."""
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        environ = {**os.environ, "PYTHONPATH": path, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        command = [str(self.python), *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )


def environment(requirements: Path) -> Environment:
    """The environment of a requirements file (with hashes), made now unless it is there; others who ask wait."""
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaname" / "environments"
    base.mkdir(parents=True, exist_ok=True)
    found = Environment(base / f"{requirements.stem}-{digest}")
    with (base / f"{found.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (found.folder / "complete").exists():
            shutil.rmtree(found.folder, ignore_errors=True)
            _make(found, requirements)
            (found.folder / "complete").touch()
    return found


def _make(wanted: Environment, requirements: Path) -> None:
    uv = [str(Path(sys.executable).with_name("uv"))]
    _run([*uv, "venv", "--quiet", "--python", sys.executable, str(wanted.folder)])
    install = ["pip", "install", "--quiet", "--require-hashes", "--no-deps", "--compile-bytecode"]
    _run([*uv, *install, "--python", str(wanted.python), "-r", str(requirements)])


def _run(command: list[str]) -> None:
    with tempfile.TemporaryFile("w+") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if code != 0:
            log.seek(0)
            raise RuntimeError(f"{command[0]} ended with {code}: {log.read()[-2000:]}")
