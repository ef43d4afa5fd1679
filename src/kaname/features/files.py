"""Where a project declares its features."""

from __future__ import annotations

from pathlib import Path


def files_of(project: Path) -> list[Path]:
    """The schema files of a project, by name."""
    return sorted((project / "features").glob("*.schema"))


def views_of(project: Path) -> list[Path]:
    """The views of a project, by name of the file."""
    return sorted((project / "features").glob("*.view.yaml"))
