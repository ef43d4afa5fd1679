"""The trace of a request in its record: kept, found, shown, and no matter to those who do not know of it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kaname.call import Call, Outcome
from kaname.errors import InvalidInput, RateLimited
from kaname.predictions.cli import commands
from kaname.predictions.columns import Body
from kaname.predictions.decoding import decode
from kaname.predictions.encoding import encode
from kaname.predictions.export import export_parquet
from kaname.predictions.items import traced_item_of
from kaname.predictions.reader import Query
from kaname.predictions.shards.log import SqlLog
from kaname.predictions.source import Source
from kaname.predictions.types import Subject
from kaname.settings import Recording
from kaname.storage.events.types import Block
from tests.predictions.traffic import FLOWERS, TARGET, answer, flower_run, open_reader, recording, table_call

TRACES = [f"{number:032x}" for number in range(1, 9)]
EVERY = 4


def trace_of(call: Call) -> str:
    """Of every fourth request."""
    number = int(call.request_id.removeprefix("r"))
    return TRACES[number // EVERY] if number % EVERY == 0 else ""


def calls(count: int) -> list[tuple[Call, Outcome]]:
    """Every fifth is refused."""
    run = flower_run(count)
    return [
        (
            table_call(f"r{i}", [[float(i), None, "red"]]),
            RateLimited("no") if i % 5 == 4 else answer(1, i, run),
        )
        for i in range(count)
    ]


@pytest.fixture(params=["drop", "sample"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A record of twelve requests, three of them traced, in blocks with others."""
    with recording(tmp_path) as recorder:
        observer = recorder.observer(TARGET, FLOWERS, Recording(policy=request.param))
        assert observer.traced is not None
        traced = observer.traced(trace_of)
        for number, (call, outcome) in enumerate(calls(12)):
            see = traced if number % EVERY == 0 else observer.each
            assert see(call, outcome) is outcome
    return tmp_path


def no_sql_log() -> SqlLog:
    """No table is asked here."""
    raise AssertionError


def test_the_record_leads_to_the_trace_and_the_trace_to_the_record(folder: Path) -> None:
    """Answers and refusals alike; those that were not traced have none."""
    reader = open_reader(folder)
    found = {event.request_id: event.trace_id for event in reader.scan()}
    assert found == {f"r{i}": TRACES[i // EVERY] if i % EVERY == 0 else None for i in range(12)}
    (event,) = reader.tail(Query(trace_id=TRACES[1]))
    assert (event.request_id, event.status) == ("r4", "error")
    assert reader.tail(Query(trace_id="f" * 32)) == []
    reader.close()


def test_a_deletion_leaves_the_other_traces_where_they_belong(folder: Path) -> None:
    """Positions move, traces with them."""
    reader = open_reader(folder)
    assert reader.delete(Subject(request_ids=("r0", "r5", "r7"))) == 3
    found = {event.request_id: event.trace_id for event in reader.scan()}
    assert {key for key, trace in found.items() if trace} == {"r4", "r8"}
    assert (found["r4"], found["r8"]) == (TRACES[1], TRACES[2])
    reader.close()


def test_commands_and_files_show_it(folder: Path, tmp_path: Path) -> None:
    """`tail` for people and machines, by an id or by a whole header; Parquet has a column."""
    app = commands(lambda: open_reader(folder), no_sql_log)
    line = CliRunner().invoke(app, ["tail", "--trace", TRACES[2]]).output
    assert f"r8  trace {TRACES[2]}  length=8" in line
    whole = f"00-{TRACES[0]}-00f067aa0ba902b7-01"
    (shown,) = CliRunner().invoke(app, ["tail", "--json", "--trace", whole]).output.splitlines()
    assert (json.loads(shown)["request_id"], json.loads(shown)["trace_id"]) == ("r0", TRACES[0])
    assert isinstance(CliRunner().invoke(app, ["tail", "--trace", "odd"]).exception, InvalidInput)
    reader = open_reader(folder)
    export_parquet(reader, tmp_path / "out.parquet")
    reader.close()
    column = pq.read_table(tmp_path / "out.parquet").column("trace_id").to_pylist()
    assert sorted(filter(None, column)) == TRACES[:3]


def test_versions_beside_each_other_read_each_others_blocks() -> None:
    """A reader that knows of no traces reads blocks that have them; one that does reads blocks without."""
    items = [traced_item_of(trace_of)(call, outcome, call.started_ns) for call, outcome in calls(9)]
    fields = [(field.name, field.type) for field in msgspec.structs.fields(Body)]
    assert fields[-1][0] == "traces"
    older = msgspec.defstruct("Older", fields[:-1], array_like=True)
    for encoded in encode(Source(TARGET, FLOWERS, Recording()), items, 0):
        block = Block("flowers/0", 0, *encoded)
        read = msgspec.msgpack.decode(block.value, type=older)
        assert len(read.request_ids) == encoded.events  # type: ignore[attr-defined]  # made at run time
        before = msgspec.structs.replace(block, value=msgspec.msgpack.encode(read))
        assert [event.trace_id for event in decode(before)] == [None] * encoded.events
        with_traces = {event.request_id: msgspec.structs.replace(event, trace_id=None) for event in decode(block)}
        assert with_traces == {event.request_id: event for event in decode(before)}


def test_without_traces_a_block_grows_by_a_byte() -> None:
    """What is not sampled costs nothing on the disk."""
    items = [traced_item_of(lambda _: "")(call, outcome, call.started_ns) for call, outcome in calls(3)]
    (encoded,) = encode(Source(TARGET, FLOWERS, Recording()), items, 0)
    assert encoded.value.endswith(msgspec.msgpack.encode({}))
