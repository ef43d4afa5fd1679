"""Where a project declares its features."""

from __future__ import annotations

import contextlib
from pathlib import Path


def files_of(project: Path) -> list[Path]:
    """The schema files of a project, by name."""
    return sorted((project / "features").glob("*.schema"))


def views_of(project: Path) -> list[Path]:
    """The views of a project, by name of the file."""
    return sorted((project / "features").glob("*.view.yaml"))


def stamp_of(project: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Differs when a schema file or a view has changed, come or gone; cheap. Empty: there are none."""
    found = []
    for path in [*files_of(project), *views_of(project)]:
        with contextlib.suppress(FileNotFoundError):  # gone since it was listed
            stat = path.stat()
            found.append((path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
