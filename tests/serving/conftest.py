"""One data plane with two doors for all tests of this folder that only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .world import World


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A running data plane; see `world.World`."""
    with World(tmp_path_factory.mktemp("doors")) as made:
        yield made
