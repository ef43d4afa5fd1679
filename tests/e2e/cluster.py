"""Several nodes on one database: project folders as git has them, and what they share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.cli.kaname import Ran, kaname
from tests.databases import PASSWORD, DatabaseServer
from tests.e2e.server import Server


class Cluster:
    """A database server, and nodes on it."""

    def __init__(self, database: DatabaseServer, folder: Path, template: Path) -> None:
        self.database = database
        self.folder = folder
        self.environ = {
            "KANAME_DATABASE__URL": database.create(),
            "KANAME_DATABASE__PASSWORD": PASSWORD,
            "KANAME_DATABASE__TIMEOUT_MS": "2000",
            "KANAME_ARTEFACTS__FOLDER": str(folder / "artefacts"),
            "KANAME_PROFILE": "cluster",
            "KANAME_ACCESS__RATE_ROWS_PER_S": "null",
        }
        self._template = template
        self._nodes: list[Server] = []
        self.run("apply", "--yes")

    def project(self, name: str) -> Path:
        """A project folder with nothing but what is in git: what `template` has."""
        folder = self.folder / name
        if not folder.exists():
            shutil.copytree(self._template, folder, ignore=shutil.ignore_patterns(".kaname"))
        return folder

    def node(self, name: str, workers: int = 1) -> Server:
        """A node that serves."""
        self._nodes.append(Server(self.project(name), workers=workers, wait=True, **self.environ))
        return self._nodes[-1]

    def nodes(self) -> list[dict[str, Any]]:
        """What `kaname nodes` says, whether all of them are ready or not."""
        found: list[dict[str, Any]] = self._ran("nodes", "--json").json()["nodes"]
        return found

    def run(self, *arguments: str, on: str = "first") -> Ran:
        """A command that succeeds, in the project folder of a node."""
        ran = self._ran(*arguments, on=on)
        assert ran.code == 0, ran.out + ran.err
        return ran

    def _ran(self, *arguments: str, on: str = "first") -> Ran:
        return kaname("-C", self.project(on), *arguments, cwd=None, **self.environ)

    def close(self) -> None:
        """End what is left."""
        for node in self._nodes:
            node.close()
