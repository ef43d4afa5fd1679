"""The two layouts of figure 1.2.4 load as they are written there, and write the bytes of figure 1.2.1."""

from __future__ import annotations

from blake3 import blake3

from kaname.features.schemas import schemas_in
from kaname.storage.cells.types import Put

FIGURE = """
define relation order {
 key1 string key,
 key2 string key,
 value1 string,
 value2 string
};
define schema layout_1 for order
 on hbase("localhost") {
 table "s1",
 row hash[key1]:size{key1}key1
  :size{key2}:key2
 family attr_name[key1, key2],
 value attr_value[key1,key2]
};
define schema layout_2 for order
 on hbase("localhost") {
 table "s2",
 row suffix(,){key1}:key2,
 family "f",
 qualifier "",
 value suffix(","){value1}:value2
};
"""
ROW = {"key1": "abc", "key2": "de", "value1": "x", "value2": "yz"}


def test_the_layout_with_separators_writes_one_cell() -> None:
    """`suffix(,){key1}:key2` is key1, a comma, key2; the value likewise."""
    _, layout = schemas_in(FIGURE).layouts["order"]
    assert layout.put(ROW) == [Put("s2", b"abc,de", "f", {b"": b"x,yz"})]


def test_the_layout_with_a_hash_spreads_rows_and_names_families_by_attribute() -> None:
    """Three bytes of hash, then each key behind its size; the size and the value written apart are the same thing."""
    layout, _ = schemas_in(FIGURE).layouts["order"]
    key = blake3(b"\0\0\0\3abc").digest(length=3) + b"\0\3abc" + b"\0\2de"
    assert layout.put(ROW) == [Put("s1", key, "key1", {b"": b"abc"}), Put("s1", key, "key2", {b"": b"de"})]
    assert layout.attributes == ("key1", "key2")
    joined = schemas_in(FIGURE.replace("{key1}key1", "{key1}:key1")).layouts["order"][0]
    assert joined.put(ROW) == layout.put(ROW)
