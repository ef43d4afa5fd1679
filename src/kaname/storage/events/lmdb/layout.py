"""How the log lies in an LMDB database: one key space, four kinds of keys, big-endian so that they sort.

f                         format
s                         bytes kept, next sequence number
p <topic> 0 <shard>       partition number, next offset
b <partition> <offset>    a block: header and value
o <sequence>              the blocks in the order they were written, for retention
"""

from __future__ import annotations

import struct

from kaname.errors import InvalidInput
from kaname.storage.mapped.environment import Format

FORMAT = Format("event log", 1)
STATE_KEY = b"s"
PARTITION = b"p"
ORDER = b"o"
MAX_KEY_BYTES = 500
"""LMDB keys end at 511 bytes."""

EVENTS = 0
"""The block holds events that `append` packed."""
OPAQUE = 1
"""The block was encoded by its capability."""

PAGE = 4096
INLINE_BYTES = 2000
"""Values up to about this size share a page with others; larger ones take whole pages."""

_state = struct.Struct(">QQ")
_partition = struct.Struct(">IQ")
_block_key = struct.Struct(">cIQ")
_header = struct.Struct(">BIqqQ")
_order_key = struct.Struct(">cQ")
_order = struct.Struct(">IQQq")

pack_state, pack_partition, pack_order = _state.pack, _partition.pack, _order.pack
pack_header, header_of, HEADER_BYTES = _header.pack, _header.unpack_from, _header.size
"""Header of a block: encoding, count, first and last event time (µs), sequence number."""
state_of, partition_of, order_of = _state.unpack, _partition.unpack, _order.unpack


def block_key(partition: int, offset: int) -> bytes:
    """The key of the block that starts at `offset`."""
    return _block_key.pack(b"b", partition, offset)


def order_key(sequence: int) -> bytes:
    """The key under which the block written as number `sequence` is listed for retention."""
    return _order_key.pack(ORDER, sequence)


def offset_of(key: bytes) -> int:
    """The first offset of the block under `key`."""
    return int.from_bytes(key[5:], "big")


def partition_key(topic: str, shard: str) -> bytes:
    """The key of a partition; raises InvalidInput when the names are too long or hold a zero byte."""
    key = PARTITION + topic.encode() + b"\0" + shard.encode()
    if len(key) > MAX_KEY_BYTES or key.count(b"\0") != 1:
        raise InvalidInput(
            "no such partition can exist",
            where="shard",
            found=repr(shard[:80]),
            expected=f"no zero byte, at most {MAX_KEY_BYTES} bytes",
        )
    return key


def footprint(value_bytes: int) -> int:
    """Bytes that a block of this size takes on disk, its share of the keys included."""
    stored = HEADER_BYTES + value_bytes
    return stored + 96 if stored <= INLINE_BYTES else -(-(stored + 16) // PAGE) * PAGE + 96
