"""What a process thinks that a kept row takes."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kaname.clock import ManualClock
from kaname.features.schemas import schemas_in
from kaname.features.views.sources import Source
from kaname.features.views.types import Feature, Read
from kaname.storage.cells.memory import MemoryCells
from kaname.storage.cells.types import Family, Table

SCHEMA = """
define relation r { a string key, x float64, t string, b bytes, v vector<float64, 100>, j json };
define schema s for r on cells("main") { table "t", row a, family "f", qualifier "", value pack[] };
"""
ROW: dict[str, Any] = {
    "a": "one",
    "x": 1.5,
    "t": "t" * 5000,
    "b": b"b" * 3000,
    "v": [0.5] * 100,
    "j": {"k": ["word"] * 900},
}


@pytest.mark.parametrize("without", [[], ["t"], ["j"], ["t", "b", "v", "j"]])
def test_a_row_counts_for_what_its_values_take(without: list[str]) -> None:
    """Text, numbers of a vector and what JSON holds count: the bound of a cache is one of memory."""
    layout = schemas_in(SCHEMA).layouts["r"][0]
    features = [Feature(name=a.name, attribute=a.name, type=a.type) for a in layout.relation.attributes if not a.key]
    store = MemoryCells(ManualClock())
    store.define(Table("t", {"f": Family()}))
    store.write(layout.put({name: value for name, value in ROW.items() if name not in without}))
    source = Source(Read(relation="r", key={"a": "a"}, features=tuple(features)), features, layout, store)
    [found] = source.fetch([source.key({"a": "one"})], 0, stamped=True)
    assert found is not None
    taken = sum(map(_taken, found.values))
    assert taken / 2 < source.size(found) < 3 * taken + 60 * len(features)


def _taken(value: Any) -> int:
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(map(_taken, value.values()))
    if isinstance(value, list | tuple):
        return sys.getsizeof(value) + sum(map(_taken, value))
    return sys.getsizeof(value)
