"""A fault inside the server, as the protocol's resources tell it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from kaname.call import Principal
from kaname.errors import KanameError
from kaname.ids import counting_ids
from kaname.models.types import ModelInfo, VersionInfo
from kaname.serving.oip import api
from kaname.serving.oip.catalog import NodeCatalog
from kaname.serving.snapshot import ModelEntry, Snapshot

ANYBODY = Principal("k", "anybody", may_predict=None, scopes=frozenset({"read"}))


class Broken:
    """A node and a registry that fail at every question."""

    snapshot = Snapshot(number=0, models=(), keys=())

    def entry(self, ref: str) -> ModelEntry:
        raise ZeroDivisionError("a secret inside the server")

    def version(self, ref: str, version: str | None) -> VersionInfo:
        raise ZeroDivisionError("a secret inside the server")

    def unready(self, info: VersionInfo) -> KanameError | None:
        raise ZeroDivisionError("a secret inside the server")

    def set_loaded(self, ref: int | str, loaded: bool, *, who: str) -> ModelInfo:
        raise ZeroDivisionError("a secret inside the server")

    def seq(self) -> int:
        raise ZeroDivisionError("a secret inside the server")


def test_a_fault_is_logged_once_and_stays_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One entry that names the request and has the traceback; the caller learns neither cause nor place."""
    broken = Broken()
    catalog = NodeCatalog(broken, broken, lambda _, __: [], tmp_path)
    routes = api.routes(catalog, lambda _, __: ANYBODY, ids=counting_ids("r-"), is_ready=lambda: True, max_rows=1)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://kaname") as client:
            return await client.get("/v2/models/iris")

    with caplog.at_level(logging.ERROR):
        answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert "secret" not in answer.text
    (entry,) = caplog.records
    assert answer.headers["x-request-id"] in entry.getMessage()
    assert "ZeroDivisionError: a secret" in caplog.text
