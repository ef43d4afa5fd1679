"""Reads and deletes rows of the prediction log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, select, true

from kaname.predictions.shards.shard import Shard, Shards
from kaname.predictions.shards.tables import inference_requests as table
from kaname.predictions.shards.tables import registered_models
from kaname.predictions.shards.types import RequestRow
from kaname.predictions.types import Prediction, Subject

AT_ONCE = 2_000
"""Rows that one transaction reads or deletes: none holds others up for long."""


class ShardReader:
    """The log by model and time."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def requests(
        self,
        model_id: int,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        trace_id: str | None = None,
        limit: int = 100,
    ) -> list[RequestRow]:
        """The newest rows of a model in a span of time (µs since the Unix epoch, the end excluded), or of a trace; asks
        one shard."""
        where = table.c.model_id == model_id
        if since_us is not None:
            where &= table.c.created_at >= _moment(since_us)
        if until_us is not None:
            where &= table.c.created_at < _moment(until_us)
        if trace_id is not None:
            where &= table.c.trace_id == trace_id
        newest = (table.c.created_at.desc(), table.c.request_id.desc())
        with self._shards.of(model_id).transaction(writing=False) as conn:
            return [_request(row) for row in conn.execute(select(table).where(where).order_by(*newest).limit(limit))]

    def retire(self, before_us: int) -> int:
        """Delete the rows of requests that arrived before; returns their number."""
        gone = 0
        for shard in self._shards.all:
            with shard.transaction(writing=False) as conn:
                models = list(conn.execute(select(registered_models.c.model_id)).scalars())
            for model_id in models:  # so that the index on model and time finds them
                gone += _delete(shard, (table.c.model_id == model_id) & (table.c.created_at < _moment(before_us)))
        return gone

    def erase(self, subject: Subject) -> int:
        """Delete the rows of a subject; returns their number."""
        where: ColumnElement[bool] = true()
        if subject.request_ids:
            where &= table.c.request_key.in_(subject.request_ids)
        if subject.key_id is not None:
            where &= table.c.api_key_id == subject.key_id
        if not subject.inputs:
            return sum(_delete(shard, where) for shard in self._shards.all)
        return sum(_delete_found(shard, where, subject) for shard in self._shards.all)


def _delete(shard: Shard, where: ColumnElement[bool]) -> int:
    gone = 0
    while True:
        with shard.transaction() as conn:
            found = list(conn.execute(select(table.c.request_id).where(where).limit(AT_ONCE)).scalars())
            _delete_rows(conn, found)
        gone += len(found)
        if len(found) < AT_ONCE:
            return gone


def _delete_found(shard: Shard, where: ColumnElement[bool], subject: Subject) -> int:
    gone = 0
    for rows in _pages(shard, where):
        belongs = subject.test()
        found = [row.request_id for row in rows if belongs(_event(row))]
        with shard.transaction() as conn:
            _delete_rows(conn, found)
        gone += len(found)
    return gone


def _pages(shard: Shard, where: ColumnElement[bool]) -> Iterator[list[RequestRow]]:
    last = 0
    while True:
        query = select(table).where(where, table.c.request_id > last).order_by(table.c.request_id).limit(AT_ONCE)
        with shard.transaction(writing=False) as conn:
            rows = [_request(row) for row in conn.execute(query)]
        if not rows:
            return
        yield rows
        last = rows[-1].request_id


def _delete_rows(conn: Connection, numbers: list[int]) -> None:
    if numbers:
        conn.execute(delete(table).where(table.c.request_id.in_(numbers)))


def _event(row: RequestRow) -> Prediction:
    """As much of the event as a subject looks at."""
    return Prediction(
        partition="",
        offset=0,
        request_id=row.request_key,
        time_us=0,
        latency_us=0,
        model="",
        model_id=row.model_id,
        version=row.model_version,
        version_id=0,
        key_id=row.api_key_id,
        rows=row.row_count,
        status="ok",
        inputs=row.input_data,
    )


def _request(row: Row[Any]) -> RequestRow:
    values = dict(row._mapping)
    for name in ("input_data", "output_data", "error"):
        if isinstance(values[name], str):  # PostgreSQL's driver has decoded it already
            values[name] = msgspec.json.decode(values[name])
    return RequestRow(**values)


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
