"""From the event log into the shards, each event once.

Rows and the offset behind them are written in one transaction; the offset is moved only from where this sink found it.
So a sink that is killed anywhere goes on where its last commit was, and of two that run by mistake one writes and the
other starts over. Events of a partition go in their order: where a model was deleted and another one of its name has
another shard, nothing is written to that one before the first has all of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from kaname.clock import Clock
from kaname.errors import Conflict, CorruptData, KanameError, Unavailable
from kaname.predictions.decoding import decode
from kaname.predictions.shards.shard import Shard, Shards
from kaname.predictions.shards.tables import inference_requests, registered_models, sink_offsets
from kaname.predictions.shards.types import SHARDS, ModelRow
from kaname.predictions.shown import shown
from kaname.predictions.types import TOPIC, Prediction
from kaname.storage.events.types import Block, EventReader, Position
from kaname.telemetry.logs import Throttle

log = structlog.get_logger(__name__)
BLOCKS_AT_ONCE = 64
EVENTS_AT_ONCE = 5_000
"""About how many events one transaction writes of a partition."""
KEY_CHARACTERS = 128


class Part(msgspec.Struct, frozen=True):
    """What one transaction takes from one partition: events of one shard, and the offsets before and after."""

    partition: str
    before: int
    after: int
    shard: int
    events: list[Prediction]


class Sink:
    """Moves what is recorded on one node; call `turn` again and again."""

    def __init__(self, reader: EventReader, shards: Shards, source: str, clock: Clock) -> None:
        """`source`: the node's id."""
        self._log = reader
        self._shards = shards
        self._source = source
        self._throttle = Throttle(clock)
        self._at: dict[str, int] | None = None
        self._stored: list[dict[str, int]] = [{} for _ in range(SHARDS)]
        """What each shard says of partitions that have events in it."""
        self._rows: list[dict[int, ModelRow]] = [{} for _ in range(SHARDS)]
        self.missed = 0
        """Events that the log had deleted before they were moved."""

    def turn(self, models: Iterable[ModelRow] = ()) -> int:
        """Move what there is, up to a few thousand events per partition; returns how many went.

        `models`: rows to write first, of models that are new or have changed. A shard that cannot be used now keeps
        its events waiting in the log; those of the others go on.
        """
        if self._at is None:
            self._at = self._positions()
        parts = [part for partition in self._log.partitions(TOPIC) if (part := self._part(partition)) is not None]
        for row in models:
            self._rows[row.model_id % SHARDS][row.model_id] = row
        moved = 0
        for number, shard in enumerate(self._shards.all):
            mine = [part for part in parts if part.shard == number]
            if mine or self._rows[number]:
                moved += self._move(shard, mine, self._rows[number])
        return moved

    def _positions(self) -> dict[str, int]:
        """Where each partition is: the furthest that any shard has, as they are filled in the order of the log."""
        columns = (sink_offsets.c.log_partition, sink_offsets.c.next_offset)
        for shard, stored in zip(self._shards.all, self._stored, strict=True):
            stored.clear()
            with shard.transaction(writing=False) as conn:
                rows = conn.execute(select(*columns).where(sink_offsets.c.source == self._source))
                stored.update({row.log_partition: row.next_offset for row in rows})
        names = {name for stored in self._stored for name in stored}
        return {name: max(stored.get(name, 0) for stored in self._stored) for name in names}

    def _part(self, partition: str) -> Part | None:
        assert self._at is not None
        before = self._at.get(partition, 0)
        if before >= self._log.end(TOPIC, partition):
            return None
        after, events, shard = before, list[Prediction](), -1
        for block in self._log.blocks(TOPIC, Position(partition, before), BLOCKS_AT_ONCE):
            found = [event for event in self._events(block) if event.offset >= before]
            where = found[0].model_id % SHARDS if found else shard
            if len(events) >= EVENTS_AT_ONCE or (events and where != shard):
                break
            if block.offset > after:
                self._note_missed(partition, block.offset - after)
            after, shard = block.offset + block.count, where
            events += found
        return None if after == before else Part(partition, before, after, max(shard, 0), events)

    def _events(self, block: Block) -> list[Prediction]:
        try:
            return decode(block)
        except CorruptData as error:
            log.error("events cannot be read and are left out of the tables", error=str(error), count=block.count)
            return []

    def _note_missed(self, partition: str, count: int) -> None:
        self.missed += count
        log.error("the log deleted events before they were in the tables", partition=partition, count=count)

    def _move(self, shard: Shard, parts: list[Part], rows: dict[int, ModelRow]) -> int:
        assert self._at is not None
        try:
            with shard.transaction() as conn:
                _write_models(conn, list(rows.values()), [event for part in parts for event in part.events])
                values = [_row(event) for part in parts for event in part.events]
                if values:
                    conn.execute(insert(inference_requests), values)
                for part in parts:
                    self._advance(conn, part)
        except (Conflict, IntegrityError) as error:
            self._at = None  # somebody else has been here: look again
            raise Unavailable(f"another sink writes, too: {error}", where=shard.place, retry_after_s=1.0) from error
        except KanameError as error:
            self._say(shard, error)
            return 0
        rows.clear()
        for part in parts:
            self._at[part.partition] = self._stored[part.shard][part.partition] = part.after
        return sum(len(part.events) for part in parts)

    def _advance(self, conn: Connection, part: Part) -> None:
        """Move the offset from where it was read. Raises Conflict when another sink has moved it."""
        key = {"source": self._source, "log_partition": part.partition}
        stored = self._stored[part.shard].get(part.partition)
        if stored is None:  # another sink that was here first breaks the primary key
            conn.execute(insert(sink_offsets).values(**key, next_offset=part.after))
            return
        mine = (sink_offsets.c.source == self._source) & (sink_offsets.c.log_partition == part.partition)
        moved = update(sink_offsets).where(mine, sink_offsets.c.next_offset == stored).values(next_offset=part.after)
        if not conn.execute(moved).rowcount:
            raise Conflict("another sink moves the same events", where=part.partition)

    def _say(self, shard: Shard, error: Exception) -> None:
        held_back = self._throttle.due(shard.place)
        if held_back is not None:
            what = "events wait for their shard of the prediction log"
            log.error(what, shard=shard.place, error=str(error), times_since_last_said=held_back)


def _write_models(conn: Connection, rows: list[ModelRow], events: list[Prediction]) -> None:
    """Rows as given, and for models that are not in the registry any more what their events say."""
    there = set(conn.execute(select(registered_models.c.model_id)).scalars())
    for row in rows:
        values = msgspec.structs.asdict(row)
        if row.model_id in there:
            mine = registered_models.c.model_id == row.model_id
            conn.execute(update(registered_models).where(mine).values(**values))
        else:
            conn.execute(insert(registered_models).values(**values))
            there.add(row.model_id)
    for event in events:
        if event.model_id not in there:
            conn.execute(insert(registered_models).values(**msgspec.structs.asdict(_unregistered(event))))
            there.add(event.model_id)


def _unregistered(event: Prediction) -> ModelRow:
    return ModelRow(
        model_id=event.model_id,
        model_name=event.model,
        model_version=event.version,
        model_path="",
        model_type="unknown",
        status="archived",
        accuracy=None,
        created_at=_moment(event.time_us),
    )


def _row(event: Prediction) -> dict[str, Any]:
    seen = shown(event)
    return {
        "model_id": event.model_id,
        "input_data": _json(seen.inputs),
        "output_data": _json(seen.outputs) if event.error is None else None,
        "latency_ms": round(event.latency_us / 1000),
        "created_at": _moment(event.time_us),
        "request_key": event.request_id[:KEY_CHARACTERS],
        "model_version": event.version,
        "api_key_id": event.key_id,
        "row_count": event.rows,
        "trace_id": event.trace_id,
        "error": None if event.error is None else _json(event.error),
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
