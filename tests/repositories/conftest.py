"""A registry for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A registry whose importer reads small ONNX files within milliseconds."""
    folder = tmp_path / "registry"
    folder.mkdir()
    made = World(folder)
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the repository is."""
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder
