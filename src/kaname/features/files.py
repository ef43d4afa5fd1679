"""Where a project declares its features."""

from __future__ import annotations

import contextlib
from pathlib import Path

SUFFIX = ".view.yaml"


def files_of(project: Path) -> list[Path]:
    """The schema files of a project, by name."""
    return sorted((project / "features").glob("*.schema"))


def views_of(project: Path) -> list[Path]:
    """The views of a project, by name of the file."""
    return sorted((project / "features").glob(f"*{SUFFIX}"))


def stamp_of(project: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Differs when a schema file, a view, or a Python file of `code/` or its folders has changed, come or gone; cheap.
    Empty: there is neither a schema nor a view."""
    declared, code = [*files_of(project), *views_of(project)], project / "code"
    found = []
    for path in [*declared, *sorted([*code.glob("*.py"), *code.glob("*/*.py")])] if declared else ():
        with contextlib.suppress(FileNotFoundError):  # gone since it was listed
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
