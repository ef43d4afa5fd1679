"""The stored form of a block: columns over many requests, as MessagePack arrays.

Fields are only ever added at the end; a change that older readers would misread raises `FORMAT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from kaname.call import Target
from kaname.predictions.types import RecordedError

FORMAT = 1


class Cells(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """One entry per row, over all requests of the block."""

    values: Sequence[Any]


class Packed(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Rows of one shape in binary form, over all requests of the block."""

    datatype: str
    row_shape: tuple[int, ...]
    data: bytes


class Whole(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """One request's tensor in binary form."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes


class Hashed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """What is kept of one request's large tensor."""

    hash: str
    datatype: str
    shape: tuple[int, ...]


class Each(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """One value per request of the block; None where the request has none."""

    values: list[Cells | Whole | Hashed | None]


class Numbers(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """One FP64 per row in binary form, over all requests of the block; NaN where the cell was null.

    `whole`: the feature takes whole numbers.
    """

    data: bytes
    whole: bool = False


Column = Cells | Packed | Each | Numbers


class Body(msgspec.Struct, frozen=True, array_like=True):
    """A block. None in the place of a column: redacted. Empty lists: see the fields."""

    format: int
    target: Target
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    request_ids: Sequence[str]
    times_ns: Sequence[int]
    latencies_ns: Sequence[int]
    keys: list[str]
    key_of: list[int]
    """Position in `keys`, per request; empty when there is one key."""
    rows: Sequence[int]
    """Per request; empty when each has one."""
    inputs: list[Column | None]
    outputs: list[Column | None]
    errors: dict[int, RecordedError]
    """By position in the block."""
    places: list[int]
    """Positions that the requests had when written; empty when none has been deleted since."""
    cached: Sequence[int] = ()
    """Positions in the block of answers that were not computed for their request."""
    traces: dict[int, str] = {}
    """Ids of the traces of those that were traced, by position in the block."""
