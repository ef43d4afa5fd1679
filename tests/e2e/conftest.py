"""Projects and servers of the tests of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, new_project

Serve = Callable[..., Server]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project with its iris model."""
    return new_project(tmp_path / "project")


@pytest.fixture
def serve(project: Path) -> Iterator[Serve]:
    """Start a server on the project; whatever is left at the end of the test is ended."""
    started: list[Server] = []

    def start(*, workers: int = 1, wait: bool = True, **environ: str) -> Server:
        started.append(Server(project, workers=workers, wait=wait, **environ))
        return started[-1]

    yield start
    for one in started:
        one.close()
