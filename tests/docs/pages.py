"""Runs the code of a documentation page: Python blocks in one namespace, console blocks in one folder.

In a console block, lines after `$ ` are commands; what follows are lines that their output must contain, in order,
where `…` stands for anything. `kaname serve` runs in the background until the page ends, on a free port in the place
of 8080.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from tests.servers import free_port

START_S = 60.0
ADDRESS = "localhost:8080"
"""Where the server of a page answers, as the page says it."""


class Session:
    """The shell of one page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            self.server.communicate(timeout=30)

    def environment(self) -> dict[str, str]:
        """The person's environment: kaname on the path, the page's port, no settings of the tester."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KANAME_")}
        path = f"{Path(sys.executable).parent}:{clean['PATH']}"
        return {**clean, "PATH": path, "COLUMNS": "200", "KANAME_SERVER__PORT": str(self.port)}

    def block(self, text: str) -> None:
        """Run the commands of a console block and compare what they print."""
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, expected = _split(part)
            if command.startswith("cd "):
                self.folder = self.folder / command.removeprefix("cd ").strip()
            elif command.startswith("kaname serve"):
                self.serve(command)
            else:
                _compare(expected, self._run(command), command)

    def serve(self, command: str = "kaname serve") -> None:
        """Start the server and wait until it answers."""
        self.server = subprocess.Popen(
            command.removesuffix("&").split(),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.server.kill()
        raise AssertionError(f"{command}: {self.server.communicate()[0]}")

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def _split(part: str) -> tuple[str, list[str]]:
    """A command with its continuation lines, and the lines of output that the page shows."""
    lines = part.rstrip().splitlines()
    end = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
    return "\n".join(lines[: end + 1]), [line for line in lines[end + 1 :] if line.strip()]


def _compare(expected: list[str], output: str, command: str) -> None:
    at = 0
    for line in expected:
        pattern = ".*".join(re.escape(piece) for piece in line.split("…"))
        found = re.compile(pattern).search(output, at)
        assert found, f"{command}\nshould print: {line}\nprinted:\n{output}"
        at = found.end()


def run_page(page: Path, session: Session) -> int:
    """Run every block of `page`; returns their number."""

    def shell(example: Example) -> None:
        session.block(example.parsed)

    sybil = Sybil(parsers=[PythonCodeBlockParser(), CodeBlockParser(language="console", evaluator=shell)])
    copy = session.folder / f".page-{page.name}"
    copy.write_text(page.read_text().replace(ADDRESS, f"localhost:{session.port}"))
    document = sybil.parse(copy)
    copy.unlink()
    document.namespace.update(_namespace(session))
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


def _namespace(session: Session) -> dict[str, Any]:
    """Names that Python blocks may use without making them."""
    return {"project": session.folder, "port": session.port}
