"""The sink: each event becomes one row, whatever happens on the way."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import inspect, select

from kaname.clock import SystemClock
from kaname.errors import InvalidInput, Overloaded, Unavailable
from kaname.predictions.shards.reader import ShardReader
from kaname.predictions.shards.shard import Shards
from kaname.predictions.shards.sink import Sink
from kaname.predictions.shards.tables import registered_models
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from tests.databases import DatabaseServer
from tests.predictions.shards.world import SOURCE, keys_in, model, open_shards, sink_of, target, write

OF_THE_DESIGN = ["request_id", "model_id", "input_data", "output_data", "latency_ms", "created_at"]
OF_MODELS = ["model_id", "model_name", "model_version", "model_path", "model_type", "status", "accuracy", "created_at"]


def test_each_event_is_a_row_in_the_shard_of_its_model(shards: Shards, folder: Path) -> None:
    """With its values, its time and what became of it; a second turn finds nothing to do."""
    write(folder, ["a1", "𝄞 ünï"], target(7))
    write(folder, ["b1"], target(16, "other"))
    write(folder, ["refused"], target(7), Overloaded("no room", where="queue"))
    sink, began = sink_of(folder, shards), time.time()
    assert (sink.turn(), sink.turn()) == (4, 0)
    assert [len(keys_in(shards, number)) for number in range(8)] == [1, 0, 0, 0, 0, 0, 0, 3]
    failed, odd, first = ShardReader(shards).requests(7)
    assert (first.request_key, first.model_version, first.api_key_id, first.row_count) == ("a1", "3", "key-9", 1)
    assert first.input_data == {"length": [2.0], "width": [None], "colour": ["red"]}
    assert first.output_data == {"label": [0], "probabilities": [[0.0, 1.0]]}
    assert abs(first.created_at.timestamp() - began) < 60
    assert odd.request_key == "𝄞 ünï"
    assert failed.output_data is None
    assert failed.error == {"code": "overloaded", "message": "no room", "where": "queue"}


def test_the_tables_are_those_of_the_design(shards: Shards) -> None:
    """Its columns first and in its order, its indexes by their names, and the view `models`."""
    for shard in (shards.all[0], shards.all[7]):
        with shard.transaction() as conn:
            look = inspect(conn)
            assert [column["name"] for column in look.get_columns("inference_requests")][:6] == OF_THE_DESIGN
            assert [column["name"] for column in look.get_columns("models")] == OF_MODELS
            assert look.get_view_names() == ["models"]
            assert {index["name"]: index["column_names"] for index in look.get_indexes("registered_models")} == {
                "idx_model_name_version": ["model_name", "model_version"],
                "idx_status": ["status"],
            }
            found = {index["name"]: index["column_names"] for index in look.get_indexes("inference_requests")}
            assert found["idx_model_id_created_at"] == ["model_id", "created_at"]
            assert [key["referred_table"] for key in look.get_foreign_keys("inference_requests")] == [
                "registered_models"
            ]


def test_models_follow_the_registry(shards: Shards, folder: Path) -> None:
    """A new one appears, a changed one changes, one that only its events know is there as archived."""
    write(folder, ["x"], target(15, "gone"))
    sink = sink_of(folder, shards)
    sink.turn([model(7), model(8)])
    sink.turn([model(7, model_version="2", accuracy=None)])
    table = registered_models
    with shards.all[7].transaction(writing=False) as conn:
        rows = {row.model_id: row for row in conn.execute(select(table))}
    assert (rows[7].model_version, rows[7].accuracy, rows[7].created_at) == ("2", None, model(7).created_at)
    assert (rows[15].model_name, rows[15].status) == ("gone", "archived")
    with shards.all[0].transaction(writing=False) as conn:
        assert conn.execute(select(table.c.accuracy)).scalar_one() == model(8).accuracy


def test_two_sinks_by_mistake_write_each_event_once(shards: Shards, folder: Path) -> None:
    """The one that finds the offset moved starts over from there."""
    one, two = sink_of(folder, shards), sink_of(folder, shards)
    write(folder, ["a"], target(7))
    assert one.turn() == 1
    assert two.turn() == 0
    write(folder, ["b"], target(7))
    assert two.turn() == 1
    with pytest.raises(Unavailable, match="another sink"):
        one.turn()
    write(folder, ["c"], target(7))
    assert one.turn() == 1
    assert keys_in(shards, 7) == ["a", "b", "c"]


def test_a_model_made_anew_under_its_name_goes_to_another_shard(shards: Shards, folder: Path) -> None:
    """One partition of the log, two shards: both get theirs, and a new sink goes on behind the last of them."""
    for round_, number in enumerate((7, 8, 15)):
        write(folder, [f"{round_}-{i}" for i in range(3)], target(number))
    sink = sink_of(folder, shards)
    while sink.turn():
        pass
    assert (len(keys_in(shards, 7)), len(keys_in(shards, 0))) == (6, 3)
    assert sink_of(folder, shards).turn() == 0


def test_a_shard_that_is_locked_holds_up_its_own_events_only(tmp_path: Path, folder: Path) -> None:
    """Those of the others go on; its own wait in the log and arrive when it is free."""
    shards = open_shards([f"sqlite:///{tmp_path}/shard-{{shard}}.db"], timeout_s=0.05)
    sink = sink_of(folder, shards)
    assert sink.turn() == 0
    write(folder, ["a"], target(7, "one"))
    write(folder, ["b"], target(8, "two"))
    other = sqlite3.connect(tmp_path / "shard-7.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert sink.turn([model(7)]) == 1
    assert keys_in(shards, 0) == ["b"]
    other.execute("ROLLBACK")
    other.close()
    assert sink.turn() == 1
    assert keys_in(shards, 7) == ["a"]
    with shards.all[7].transaction(writing=False) as conn:
        assert conn.execute(select(registered_models.c.model_name)).scalar_one() == "m7"
    shards.close()


def test_what_the_log_has_deleted_is_counted(tmp_path: Path, folder: Path) -> None:
    """Retention of the log does not wait for the sink; what it took is said, the rest arrives."""
    shards = open_shards([f"sqlite:///{tmp_path}/shard-{{shard}}.db"])
    write(folder, ["old"] * 10, target(7))
    sink = sink_of(folder, shards)
    clock = SystemClock()
    LmdbWriter(folder, 0, clock, retain_days=1e-9).close()
    writer = LmdbWriter(folder, 0, clock, retain_days=1e-9)
    for _ in range(3):
        writer.append("other", "x", [(clock.time_ns() // 1000, b"x")])
        writer.commit()
    writer.close()
    write(folder, ["new"], target(7))
    while sink.turn():
        pass
    kept = keys_in(shards, 7)
    assert kept[-1] == "new"
    assert len(kept) + sink.missed == 11
    shards.close()


SINK = """
import sys, time
from pathlib import Path
from tests.predictions.shards.world import open_shards, sink_of
shards = open_shards(sys.argv[2:])
sink = sink_of(Path(sys.argv[1]), shards)
print("ready", flush=True)
while True:
    try:
        if not sink.turn():
            time.sleep(0.001)
    except Exception as error:
        print(error, file=sys.stderr)
"""


@pytest.mark.slow
def test_kill_9_of_the_sink_loses_and_doubles_no_row(urls: list[str], folder: Path) -> None:
    """Killed again and again at random moments while events arrive for four models: in the end each is there once."""
    chance = random.Random(3)
    shards = open_shards(urls)
    sink_of(folder, shards).turn()
    written: list[str] = []
    for attempt in range(4):
        process = subprocess.Popen([sys.executable, "-c", SINK, str(folder), *urls], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        until = time.monotonic() + chance.uniform(0.05, 0.4)
        while time.monotonic() < until:
            number = chance.randrange(7, 11)
            ids = [f"{attempt}-{len(written) + i}" for i in range(20)]
            write(folder, ids, target(number, f"m{number}"))
            written += ids
        process.kill()
        process.communicate()
    last = sink_of(folder, shards)
    while last.turn():
        pass
    found = [key for number in range(8) for key in keys_in(shards, number)]
    assert len(found) == len(written)
    assert sorted(found) == sorted(written)
    shards.close()


def test_a_read_by_model_and_time_asks_one_shard(tmp_path: Path, folder: Path) -> None:
    """All other databases are out of reach: the model's rows are read all the same, newest first, by time."""
    mine = f"sqlite:///{tmp_path}/mine.db"
    all_mine = open_shards([f"sqlite:///{tmp_path}/{n}.db" if n != 7 else mine for n in range(8)])
    write(folder, [f"{i}" for i in range(5)], target(7))
    sink_of(folder, all_mine).turn()
    all_mine.close()
    shards = open_shards([f"postgresql://nobody@127.0.0.1:1/s{n}" if n != 7 else mine for n in range(8)], 1.0)
    reader = ShardReader(shards)
    rows = reader.requests(7)
    assert [row.request_key for row in rows] == ["4", "3", "2", "1", "0"]
    third = int(rows[2].created_at.timestamp() * 1_000_000 + 0.5)
    assert [row.request_key for row in reader.requests(7, since_us=third, limit=2)] == ["4", "3"]
    assert {row.request_key for row in reader.requests(7, until_us=third)} <= {"0", "1", "2"}
    with pytest.raises(Unavailable):
        reader.requests(8)
    shards.close()


@pytest.mark.parametrize(
    "urls", [[], ["sqlite:////tmp/one.db"], ["sqlite:////tmp/a.db"] * 8, ["sqlite:////tmp/{shard}.db"] * 2]
)
def test_not_eight_databases_are_refused(urls: list[str]) -> None:
    """Seven, one for all, or the same twice."""
    with pytest.raises(InvalidInput, match=r"record\.sql\.urls"):
        Shards(urls)


@pytest.mark.slow
@pytest.mark.parametrize("schema", ["Bad", "a;drop", "a b"])
def test_a_schema_that_needs_quotes_is_refused(schema: str, postgres: DatabaseServer) -> None:
    """Its name goes into statements."""
    with pytest.raises(InvalidInput, match="not a schema"):
        Shards([f"{postgres.url('x')}?schema={schema}{{shard}}"])


def test_sinks_of_two_nodes_fill_the_same_shards(shards: Shards, tmp_path: Path) -> None:
    """Each has offsets of its own, though their logs name the same partitions."""
    for node in ("a", "b"):
        write(tmp_path / node, [f"{node}{i}" for i in range(3)], target(7))
        assert Sink(LmdbReader(tmp_path / node), shards, SOURCE + node, SystemClock()).turn() == 3
    assert sorted(keys_in(shards, 7)) == ["a0", "a1", "a2", "b0", "b1", "b2"]
