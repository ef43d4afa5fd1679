"""Eight shards of each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaname.predictions.shards.shard import Shards
from tests.databases import KINDS
from tests.predictions.shards.world import open_shards, urls_of


@pytest.fixture(params=KINDS)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Of eight new databases."""
    return urls_of(request, request.param, tmp_path)


@pytest.fixture
def shards(urls: list[str]) -> Iterator[Shards]:
    """Opened."""
    opened = open_shards(urls)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the event log."""
    return tmp_path / "events"
