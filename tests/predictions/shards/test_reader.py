"""Rows go: when they are old, and when a person asks for it."""

from __future__ import annotations

from pathlib import Path

from kaname.predictions.shards.reader import AT_ONCE, ShardReader
from kaname.predictions.shards.shard import Shards
from kaname.predictions.types import Subject
from tests.predictions.shards.world import keys_in, sink_of, target, write


def test_rows_of_a_subject_are_deleted_in_every_shard(shards: Shards, folder: Path) -> None:
    """By request, by the value of an input, by key; the others stay."""
    for number in (7, 8):
        write(folder, [f"{number}-1", f"{number}-22", f"{number}-333"], target(number, f"m{number}"))
    while sink_of(folder, shards).turn():
        pass
    reader = ShardReader(shards)
    assert reader.erase(Subject(request_ids=("7-1", "8-333", "none"))) == 2
    assert reader.erase(Subject(inputs={"length": 4.0, "colour": "red"})) == 2
    assert reader.erase(Subject(inputs={"length": 4.0, "colour": "blue"})) == 0
    assert (keys_in(shards, 7), keys_in(shards, 0)) == (["7-333"], ["8-1"])
    assert reader.erase(Subject(key_id="another")) == 0
    assert reader.erase(Subject(key_id="key-9")) == 2


def test_rows_older_than_agreed_are_deleted(shards: Shards, folder: Path) -> None:
    """However many there are; those of the moment itself stay."""
    many = AT_ONCE + 10
    write(folder, [f"{i}" for i in range(many)], target(7))
    write(folder, ["young"], target(7))
    sink = sink_of(folder, shards)
    while sink.turn():
        pass
    reader = ShardReader(shards)
    newest = int(reader.requests(7, limit=1)[0].created_at.timestamp() * 1_000_000 + 0.5)
    assert reader.retire(newest) == many
    assert keys_in(shards, 7) == ["young"]
