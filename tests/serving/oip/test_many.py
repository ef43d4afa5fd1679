"""An index of thousands of models, asked for beside requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
from starlette.applications import Starlette

from kaname.call import Principal
from kaname.errors import KanameError, Unavailable
from kaname.ids import counting_ids
from kaname.models.types import ModelInfo, VersionInfo
from kaname.serving.oip import api
from kaname.serving.oip.catalog import NodeCatalog
from kaname.serving.snapshot import ModelEntry, Snapshot
from kaname.settings import ModelConfig
from tests.inference.house import version

MODELS = 3_000
ANYBODY = Principal("k", "anybody", may_predict=None, scopes=frozenset({"read"}))


def entry(number: int) -> ModelEntry:
    only = msgspec.structs.replace(version(number), model=f"m{number}", model_id=number)
    info = ModelInfo(
        id=number, name=only.model, promoted=only.version, previous=None, loaded=True, config=ModelConfig(),
        created_us=0, etag=str(number),
    )  # fmt: skip
    return ModelEntry(info=info, versions=(only,))


class Many:
    """A node that has every second model in memory, and forgets all of them while it is asked."""

    def __init__(self) -> None:
        self.snapshot = Snapshot(number=1, models=tuple(map(entry, range(MODELS))), keys=())
        self.at_once = self.most_at_once = 0

    def entry(self, ref: str) -> ModelEntry:
        raise AssertionError(f"{ref} is looked up one by one")

    def version(self, ref: str, version: str | None) -> VersionInfo:
        raise AssertionError(f"{ref} is looked up one by one")

    def unready(self, info: VersionInfo) -> KanameError | None:
        self.snapshot = Snapshot(number=2, models=(), keys=())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        return None if info.id % 2 else Unavailable("not in memory")

    def set_loaded(self, ref: int | str, loaded: bool, *, who: str) -> ModelInfo:
        raise AssertionError("nobody loads")

    def seq(self) -> int:
        return 1


def test_requests_have_their_turn_while_an_index_is_listed(tmp_path: Path) -> None:
    """Thousands of models are listed piece by piece, all as of one moment."""
    many = Many()
    catalog = NodeCatalog(many, many, lambda _, __: [], tmp_path)
    routes = api.routes(catalog, lambda _, __: ANYBODY, ids=counting_ids("r-"), is_ready=lambda: True, max_rows=1)

    async def others() -> None:
        while True:
            many.at_once = 0
            await asyncio.sleep(0)

    async def ask() -> list[dict[str, str]]:
        beside = asyncio.ensure_future(others())
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://kaname") as client:
            answer = await client.post("/v2/repository/index", content=b"{}")
        beside.cancel()
        found: list[dict[str, str]] = answer.json()
        return found

    listed = asyncio.run(ask())
    assert [one["name"] for one in listed] == [f"m{number}" for number in range(MODELS)]
    assert {one["state"] for one in listed[::2]} == {"UNAVAILABLE"}
    assert {one["state"] for one in listed[1::2]} == {"READY"}
    assert many.most_at_once <= api.AT_ONCE
