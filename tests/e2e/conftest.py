"""Projects and servers of the tests of the whole.

Importing and profiling models takes seconds, so it is done once per session; each test gets a copy of the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.kaname import kaname
from tests.e2e import graphs
from tests.e2e.server import Server, new_project

Serve = Callable[..., Server]
STEPS = [str(number) for number in range(1, 9)]


@pytest.fixture(scope="session")
def served_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project that a server has run on."""
    folder = new_project(tmp_path_factory.mktemp("new") / "project")
    with Server(folder):
        return folder


@pytest.fixture(scope="session")
def stepped(served_before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a model `steps` of eight versions, of which the first answers."""
    folder = tmp_path_factory.mktemp("steps") / "project"
    shutil.copytree(served_before, folder)
    lines = ["name: steps", "versions:"]
    for number in STEPS:
        graphs.constant(folder / "models" / f"steps-{number}.onnx", float(number))
        lines.append(f'  - {{version: "{number}", path: models/steps-{number}.onnx}}')
    (folder / "models" / "steps.yaml").write_text("\n".join([*lines, 'promoted: "1"\n']))
    ran = kaname("apply", folder, "--yes")
    assert ran.code == 0, ran.out + ran.err
    return folder


@pytest.fixture
def project(served_before: Path, tmp_path: Path) -> Path:
    """A project with its iris model, imported."""
    return Path(shutil.copytree(served_before, tmp_path / "project"))


@pytest.fixture
def steps(stepped: Path, project: Path) -> Path:
    """The project with the model `steps`, too."""
    shutil.rmtree(project)
    return Path(shutil.copytree(stepped, project))


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
