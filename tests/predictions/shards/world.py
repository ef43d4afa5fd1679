"""A log of events, eight shards, and sinks between them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from kaname.call import Outcome, Target
from kaname.clock import SystemClock
from kaname.predictions.shards.shard import Shards
from kaname.predictions.shards.sink import Sink
from kaname.predictions.shards.tables import inference_requests
from kaname.predictions.shards.types import ModelRow
from kaname.settings import Recording
from kaname.storage.events.lmdb.reader import LmdbReader
from tests.databases import PASSWORD, DatabaseServer
from tests.predictions.traffic import FLOWERS, answer, recording, table_call

SOURCE = "node1"


def target(model_id: int, name: str = "flowers") -> Target:
    return Target(model=name, model_id=model_id, version="3", version_id=21)


def write(folder: Path, ids: Sequence[str], to: Target, outcome: Outcome | None = None, trace_id: str = "") -> None:
    """Record a request per id."""
    with recording(folder) as recorder:
        observer = recorder.observer(to, FLOWERS, Recording())
        assert observer.traced is not None
        handle = observer.traced(lambda _: trace_id) if trace_id else observer.each
        for request_id in ids:
            handle(table_call(request_id, [[float(len(request_id)), None, "red"]]), outcome or answer())


def sink_of(folder: Path, shards: Shards) -> Sink:
    return Sink(LmdbReader(folder), shards, SOURCE, SystemClock())


def keys_in(shards: Shards, number: int) -> list[str]:
    """The ids of all requests in one shard, in the order of their rows."""
    column = inference_requests.c.request_key
    with shards.all[number].transaction(writing=False) as conn:
        return list(conn.execute(select(column).order_by(inference_requests.c.request_id)).scalars())


def model(model_id: int, **values: object) -> ModelRow:
    usual = {
        "model_name": f"m{model_id}",
        "model_version": "1",
        "model_path": "artefacts/x",
        "model_type": "onnx",
        "status": "deployed",
        "accuracy": Decimal("0.950000"),
        "created_at": datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    }
    return ModelRow(model_id=model_id, **(usual | values))  # type: ignore[arg-type]  # a row's columns by name


def urls_of(request: pytest.FixtureRequest, kind: str, folder: Path) -> list[str]:
    """Eight databases: files; schemas of one database of PostgreSQL; databases of MariaDB."""
    if kind == "sqlite":
        return [f"sqlite:///{folder}/shard-{{shard}}.db"]
    if kind == "postgresql":
        postgres: DatabaseServer = request.getfixturevalue("postgres")
        return [postgres.create() + "?schema=shard_{shard}"]
    mariadb: DatabaseServer = request.getfixturevalue("mariadb")
    return [mariadb.create() for _ in range(8)]


def open_shards(urls: Sequence[str], timeout_s: float = 10.0) -> Shards:
    return Shards(urls, PASSWORD, timeout_s=timeout_s)
