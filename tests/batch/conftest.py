"""One project for all tests of batches; what tests write lies in folders of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch.project import Batches, make


@pytest.fixture(scope="session")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batches]:
    """Models of every layout, and their request path."""
    found = Batches(make(tmp_path_factory.mktemp("batches") / "project"))
    with found.platform:
        yield found
    found.close()
