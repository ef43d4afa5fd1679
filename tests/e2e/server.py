"""A server that a test starts through the command line, and everything that it does to it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from kaname.serving.workers.board import Board, board_path
from tests.cli.kaname import COMMAND, Ran, kaname
from tests.processes import Started, until

ROW = {"input": [5.1, 3.5, 1.4, 0.2]}
"""A row that the iris model of a new project answers."""


def environment(**environ: str) -> dict[str, str]:
    """The tester's environment without its settings for Kaname, and as if no CI looked on."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KANAME_") and name != "CI"}
    return {**clean, "COLUMNS": "200", "NO_COLOR": "1", **environ}


def new_project(folder: Path) -> Path:
    """What `kaname init` makes."""
    ran = kaname("init", folder)
    assert ran.code == 0, ran.err
    return folder


class Server(Started):
    """`kaname serve` on a project folder, ready when this returns."""

    def __init__(
        self,
        project: Path,
        *,
        workers: int = 1,
        wait: bool = True,
        port: str = "0",
        command: Sequence[str] = (),
        **environ: str,
    ) -> None:
        """`port`: 0 picks a free one. `command`: arguments instead of the project's folder, given in the folder around
        it."""
        self._err = (project.parent / f"{project.name}.err").open("ab")
        self._out = (project.parent / f"{project.name}.out").open("wb")
        super().__init__(project, self._out, self._err)
        self.process = subprocess.Popen(
            [*COMMAND, "serve", *(command or [str(project)]), "--port", port, "--workers", str(workers)],
            cwd=project.parent,
            env=environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
        )
        self.url = ""
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait for the printed address."""
        self.url = until(self._announced, "the server says where it answers", 60.0)
        self.port = int(self.url.rsplit(":", 1)[1])
        self.board = Board(board_path(self.project))

    def _announced(self) -> str:
        assert self.process.poll() is None, self.log()
        said = self.out()
        return said.partition("answers at ")[2].strip() if said.endswith("\n") else ""

    def out(self) -> str:
        """What it printed."""
        return Path(self._out.name).read_text()

    def log(self) -> str:
        """What it logged, earlier runs on the same project included."""
        return Path(self._err.name).read_text()

    def logged(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        return [json.loads(line) for line in self.log().splitlines()]

    def kaname(self, *arguments: str | Path) -> Ran:
        """Run a command on the project beside the server."""
        return kaname("-C", self.project, *arguments)

    def run(self, *arguments: str | Path) -> Ran:
        """The same, which must succeed."""
        ran = self.kaname(*arguments)
        assert ran.code == 0, ran.out + ran.err
        return ran

    @property
    def admin(self) -> str:
        """The generated key."""
        return (self.project / ".kaname" / "admin.key").read_text().strip()

    def client(self, key: str | None = None, **options: Any) -> httpx.Client:
        """An HTTP client with a key (the admin's), keeping connections alive."""
        headers = {"authorization": f"Bearer {self.admin if key is None else key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30.0, trust_env=False, **options)

    def predict(self, model: str = "iris", key: str | None = None, **body: Any) -> httpx.Response:
        """One prediction on a fresh connection."""
        with self.client(key) as client:
            return predict(client, model, **body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            assert self.stop() == 0, self.log()
        else:
            self.close()


def predict(client: httpx.Client, model: str = "iris", **body: Any) -> httpx.Response:
    """One prediction over `client`."""
    return client.post(f"/api/v1/models/{model}/predict", json=body or {"features": ROW})


def tail(server: Server, last: int = 1_000_000, *options: str) -> list[dict[str, Any]]:
    """The end of the prediction record."""
    ran = server.run("predictions", "tail", "-n", str(last), "--json", *options)
    return [json.loads(line) for line in ran.out.splitlines()]


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def files_under(folder: Path) -> Iterator[str]:
    """Every file and folder below `folder`, relative to it."""
    return (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
