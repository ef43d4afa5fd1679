"""The code in the documentation works as printed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Session, run_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
FROM_NOTHING = {ROOT / "README.md", *(DOCS / f"{name}.md" for name in ("remote", "repositories", "start", "tokens"))}
"""Pages that begin in an empty folder; the others inside a project whose server runs."""
NOT_RUN = {"text", "toml", "yaml", "json", "{toctree}"}
CODE = re.compile(r"^```(\S*)", re.MULTILINE)


def _fences(page: Path) -> list[str]:
    return CODE.findall(page.read_text())[::2]


def _runs(page: Path) -> bool:
    return any(language in ("python", "console") for language in _fences(page))


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with its model imported; pages work on copies."""
    with Session(tmp_path_factory.mktemp("docs")) as session:
        session.block("$ kaname init my-project\n$ cd my-project\n$ kaname apply")
        return session.folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _runs(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, applied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is run in order, in a folder of its own, against a real server."""
    with Session(tmp_path) as session:
        if page not in FROM_NOTHING:
            session.folder = Path(shutil.copytree(applied, tmp_path / applied.name))
            session.serve()
        monkeypatch.chdir(session.folder)
        assert run_page(page, session) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block is run, or its language says that there is nothing to run."""
    assert set(_fences(page)) <= {"python", "console", *NOT_RUN}


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    """Broken links and references are warnings, and warnings are errors."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
