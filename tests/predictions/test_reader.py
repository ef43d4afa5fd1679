"""Reading, following, exporting and deleting what was recorded, by program and by command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kaname.call import Call, Outcome, Principal
from kaname.clock import SystemClock
from kaname.errors import InvalidInput, NotFound, RateLimited
from kaname.predictions.api import PATH, Predictions, Tail, resources
from kaname.predictions.cli import commands, moment_us
from kaname.predictions.erasure import OrderedErasures
from kaname.predictions.reader import Query
from kaname.predictions.shards.log import SqlLog
from kaname.predictions.types import Prediction, Subject
from kaname.settings import Recording
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.web.resources import Asked, Nothing
from tests.predictions.traffic import (
    FLOWERS,
    KEY,
    TARGET,
    answer,
    flower_run,
    open_reader,
    record,
    recording,
    table_call,
    until,
)

OTHER_KEY = Principal("key-2", "other", may_predict=None, scopes=frozenset())


def calls(count: int) -> list[tuple[Call, Outcome]]:
    """Every fifth is refused; every third comes with another key; `length` is the number of the call. One comes each
    millisecond: commits read the time of day anew, so events that are closer may change places between two."""
    run, first_ns = flower_run(count), time.monotonic_ns() - count * 1_000_000
    return [
        (
            table_call(
                f"r{i:03}",
                [[float(i), 2.0, "red"]],
                principal=OTHER_KEY if i % 3 == 0 else KEY,
                started_ns=first_ns + i * 1_000_000,
            ),
            RateLimited("no") if i % 5 == 4 else answer(1, i, run),
        )
        for i in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A record of 50 requests."""
    record(tmp_path, calls(50), Recording())
    return tmp_path


def test_tail_filters_by_model_status_and_time(folder: Path) -> None:
    """The last events of a model, of a status, and of a span of time."""
    reader = open_reader(folder)
    assert [event.request_id for event in reader.tail(last=3)] == ["r047", "r048", "r049"]
    assert [event.request_id for event in reader.tail(Query(status="error"), last=2)] == ["r044", "r049"]
    assert reader.tail(Query(model="nothing")) == []
    middle = reader.find("r025").time_us
    assert len(reader.tail(Query(since_us=middle), last=100)) == 25
    assert len(list(reader.scan(Query(until_us=middle)))) == 25
    with pytest.raises(NotFound):
        reader.find("r999")


def _extended(seen: list[Prediction], events: list[Prediction]) -> list[Prediction]:
    seen += events
    return seen


def test_follow_returns_each_event_once(tmp_path: Path) -> None:
    """What is recorded after `follow` comes out of it once, also from a model that did not exist then."""

    async def scenario() -> None:
        with recording(tmp_path) as recorder:
            handle = recorder.observer(TARGET, FLOWERS, Recording()).each
            more = open_reader(tmp_path).follow()
            seen: list[Prediction] = []
            for i in range(5):
                handle(table_call(str(i), [[1.0, 2.0, "red"]]), answer())
                await until(lambda: len(_extended(seen, more())) == i + 1)  # noqa: B023
            assert more() == []
        assert [event.request_id for event in seen] == ["0", "1", "2", "3", "4"]

    asyncio.run(scenario())


def no_sql_log() -> SqlLog:
    """This project keeps none."""
    raise AssertionError("asked for the log in SQL")


def test_export_is_read_back_by_pyarrow(folder: Path, tmp_path: Path) -> None:
    """Columns have the types of their values, rows of one request share its id, refused ones have no outputs."""
    record(folder, [(table_call("many", [[1.5, None, "blue"]] * 3), answer(3))], Recording())
    output = tmp_path / "out.parquet"
    result = CliRunner().invoke(commands(lambda: open_reader(folder), no_sql_log), ["export", "--output", str(output)])
    assert result.output == f"53 rows in {output}\n"
    table = pq.read_table(output)
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("input.length").type) == "double"
    assert str(table.schema.field("output.label").type) == "int64"
    assert str(table.schema.field("output.probabilities").type).startswith("list<")
    rows = {(row["request_id"], row["row"]): row for row in table.to_pylist()}
    assert rows["r003", 0]["input.length"] == 3.0
    assert rows["r003", 0]["output.label"] == 3
    assert rows["r004", 0]["error_code"] == "rate_limited"
    assert rows["r004", 0]["output.label"] is None
    assert [rows["many", i]["output.probabilities"] for i in range(3)] == [[0.0, 1.0], [0.125, 0.875], [0.25, 0.75]]
    assert rows["many", 0]["input.width"] is None
    assert rows["many", 0]["input.colour"] == "blue"


def test_deletion_offline_removes_exactly_the_subject(folder: Path) -> None:
    """By request id, by key and by value; everything else stays at its offset, and the value is nowhere."""
    reader = open_reader(folder)
    before = {event.request_id: event for event in reader.scan()}
    assert reader.delete(Subject(request_ids=("r007", "r013", "none"))) == 2
    assert reader.delete(Subject(inputs={"length": 20.0})) == 1
    assert reader.delete(Subject(key_id="key-2", inputs={"length": 20.0})) == 0
    assert reader.delete(Subject(key_id="key-2")) == 17
    left = {event.request_id: event for event in reader.scan()}
    gone = {"r007", "r013", "r020", *(f"r{i:03}" for i in range(0, 50, 3))}
    assert left == {key: event for key, event in before.items() if key not in gone}
    with pytest.raises(InvalidInput):
        reader.delete(Subject())


def test_deletion_beside_a_running_owner_is_carried_out_by_it(tmp_path: Path) -> None:
    """While a recorder owns the slot, another reader's order is executed by its writer thread under traffic."""

    async def scenario() -> None:
        log = LmdbReader(tmp_path)
        orders = OrderedErasures(tmp_path, 0, log, SystemClock())
        with recording(tmp_path, housekeeping=orders) as recorder:
            handle = recorder.observer(TARGET, FLOWERS, Recording()).each
            for call, outcome in calls(50):
                handle(call, outcome)
            await until(lambda: recorder.counts.recorded == 50)
            reader = open_reader(tmp_path)
            deleting = asyncio.create_task(asyncio.to_thread(reader.delete, Subject(request_ids=("r010", "r011"))))
            while not deleting.done():
                handle(table_call("more", [[1.0, 2.0, "red"]]), answer())
                await asyncio.sleep(0.001)
            assert await deleting == 2
            assert not {"r010", "r011"} & {event.request_id for event in reader.scan()}
            assert list((tmp_path / "0" / "erase").iterdir()) == []
        assert recorder.counts.failures == 0

    asyncio.run(scenario())


def test_tail_command_prints_for_people_and_for_machines(folder: Path) -> None:
    """One line per event; with --json one object per line; a wrong status is said."""
    app = commands(lambda: open_reader(folder), no_sql_log)
    lines = CliRunner().invoke(app, ["tail", "flowers", "-n", "2"]).output.splitlines()
    assert "flowers/3" in lines[0]
    assert "r048  length=48 width=2 colour=red -> label=48" in lines[0]
    assert "rate_limited: no" in lines[1]
    found = [json.loads(line) for line in CliRunner().invoke(app, ["tail", "-n", "3", "--json"]).output.splitlines()]
    assert [event["request_id"] for event in found] == ["r047", "r048", "r049"]
    assert isinstance(CliRunner().invoke(app, ["tail", "--status", "odd"]).exception, InvalidInput)
    assert len(CliRunner().invoke(app, ["tail", "--since", "1h", "-n", "99"]).output.splitlines()) == 50


def test_delete_command_says_how_many(folder: Path) -> None:
    """Conditions of the command line reach the record; text that is JSON is taken as a number."""
    app = commands(lambda: open_reader(folder), no_sql_log)
    assert CliRunner().invoke(app, ["delete", "--request-id", "r001"]).output == "1 predictions deleted\n"
    assert CliRunner().invoke(app, ["delete", "--where", "length=2", "--json"]).output == '{"deleted": 1}\n'
    assert CliRunner().invoke(app, ["delete", "--where", "colour=red", "--key", "key-9"]).output.startswith("31 ")
    assert isinstance(CliRunner().invoke(app, ["delete", "--where", "oops"]).exception, InvalidInput)


FOLLOW = """
import sys
from pathlib import Path
from tests.predictions.traffic import open_reader
from kaname.predictions.cli import commands
commands(lambda: open_reader(Path(sys.argv[1])), lambda: None)(["tail", "-n", "1", "--follow", "--json"])
"""


def test_follow_command_prints_what_another_process_records(folder: Path) -> None:
    """`tail --follow` in its own process shows the last event, then those that come, then ends by Ctrl-C."""
    follower = subprocess.Popen([sys.executable, "-c", FOLLOW, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["request_id"] == "r049"
        record(folder, [(table_call("new", [[1.0, 2.0, "red"]]), answer())], Recording())
        assert json.loads(follower.stdout.readline())["request_id"] == "new"
    finally:
        _interrupt(follower)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, again where the first one came while a finalizer ran, whose exceptions Python drops."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=2)
            return
    raise AssertionError("it does not end")


def test_moments_are_dates_times_and_ages() -> None:
    """Dates are UTC unless they say otherwise; ages count back from now."""
    assert moment_us("2026-11-22") == 1795305600_000_000
    assert moment_us("2026-11-22T10:00+09:00") == 1795305600_000_000 + 3600_000_000
    assert moment_us("15m", now_s=1000.0) == 100_000_000
    assert moment_us(None) is None
    with pytest.raises(InvalidInput, match="yesterday"):
        moment_us("yesterday")


def test_resources_answer_from_the_record(folder: Path) -> None:
    """The declared resources read, find and delete, all for admins only."""
    tail, delete, find = resources(open_reader(folder))
    assert {tail.scope, find.scope, delete.scope} == {"admin"}
    assert tail.path == PATH

    def asked(**parts: object) -> Asked:
        return Asked(principal=KEY, request_id="q", **{"path": {}, "query": Nothing(), **parts})  # type: ignore[arg-type]  # as decoded

    assert tail.handler is not None
    assert find.handler is not None
    assert delete.handler is not None
    found = tail.handler(asked(query=Tail(model="flowers", status="error", last=3)))
    assert isinstance(found, Predictions)
    assert [event.request_id for event in found.items] == ["r039", "r044", "r049"]
    event = find.handler(asked(path={"request_id": "r005"}))
    assert isinstance(event, Prediction)
    assert event.inputs["length"] == [5.0]
    assert delete.handler(asked(body=Subject(request_ids=("r005",)))).deleted == 1  # type: ignore[attr-defined]  # a Deleted
    with pytest.raises(NotFound):
        find.handler(asked(path={"request_id": "r005"}))


def test_reading_is_not_disturbed_by_a_writer(tmp_path: Path) -> None:
    """While events are recorded as fast as they come, a reader sees a growing record without gaps."""

    async def scenario() -> None:
        with recording(tmp_path, commit_ms=1.0) as recorder:
            handle = recorder.observer(TARGET, FLOWERS, Recording()).each
            reader = open_reader(tmp_path)
            ends = time.monotonic() + 0.5
            number = 0
            while time.monotonic() < ends:
                for _ in range(20):
                    handle(table_call(str(number), [[float(number), 2.0, "red"]]), answer())
                    number += 1
                await asyncio.sleep(0)
                if number % 400 == 0:
                    found = [event.request_id for event in await asyncio.to_thread(lambda: list(reader.scan()))]
                    assert found == [str(i) for i in range(len(found))]
        assert len(list(reader.scan())) == number
        reader.close()

    asyncio.run(scenario())
