"""The trace of a request in its row, and tables from before there were traces."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text

from kaname.predictions.shards.reader import ShardReader
from kaname.predictions.shards.shard import Shards
from kaname.predictions.shards.tables import of_traces
from tests.predictions.shards.world import keys_in, open_shards, sink_of, target, write


def test_a_request_is_found_by_its_trace(shards: Shards, folder: Path) -> None:
    """Those that were not traced have none."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    write(folder, ["plain"], target(7))
    write(folder, ["traced"], target(7), trace_id=trace)
    assert sink_of(folder, shards).turn() == 2
    reader = ShardReader(shards)
    assert [row.request_key for row in reader.requests(7, trace_id=trace)] == ["traced"]
    assert [row.trace_id for row in reader.requests(7)] == [trace, None]


def test_tables_of_an_earlier_version_go_on(urls: list[str], folder: Path) -> None:
    """Their rows stay, the column and its index are added, also where that was interrupted half way; a writer that
    does not know the column goes on beside."""
    older = open_shards(urls)
    write(folder, ["before"], target(7))
    assert sink_of(folder, older).turn() == 1
    with older.all[7].transaction() as conn:
        of_traces.drop(conn)
        conn.execute(text("ALTER TABLE inference_requests DROP COLUMN trace_id"))
    with older.all[0].transaction() as conn:
        of_traces.drop(conn)
    older.close()
    newer = open_shards(urls)
    write(folder, ["after"], target(7), trace_id="a" * 32)
    assert sink_of(folder, newer).turn() == 1
    assert [(row.request_key, row.trace_id) for row in ShardReader(newer).requests(7)] == [
        ("after", "a" * 32),
        ("before", None),
    ]
    columns = "model_id, input_data, request_key, model_version, api_key_id, row_count"
    with newer.all[7].transaction() as conn:
        conn.execute(text(f"INSERT INTO inference_requests ({columns}) VALUES (7, '{{}}', 'beside', '3', 'k', 1)"))
    assert "beside" in keys_in(newer, 7)
    for shard in newer.all:
        with shard.transaction() as conn:
            assert "idx_trace_id" in {index["name"] for index in inspect(conn).get_indexes("inference_requests")}
    newer.close()
