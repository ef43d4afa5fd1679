"""The prediction record as it is read back: one event per request, its rows under the names of the signature."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Status = Literal["ok", "error"]
TraceId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
"""The id of a trace as W3C Trace Context writes it."""
TOPIC = "predictions"
"""The event log's topic; its shards are the models' names."""


class Digest(msgspec.Struct, frozen=True):
    """What is kept of a tensor that was larger than `record.max_bytes`."""

    hash: str
    """BLAKE3 of the tensor's binary form, hexadecimal (for a feature: of its values in MessagePack)."""
    datatype: str
    shape: tuple[int, ...]


class RecordedError(msgspec.Struct, frozen=True):
    """Why a request was refused or failed; what was found in the request is not kept."""

    code: str
    message: str
    where: str | None = None


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what came of it.

    A value in `inputs` (by feature, or by input for models that take plain tensors) and in `outputs` is a list
    with one entry per row, a `Digest`, or None when it is redacted. `outputs` is empty when the status is `error`.
    """

    partition: str
    offset: int
    request_id: str
    time_us: int
    """When the request arrived, microseconds since the Unix epoch, UTC."""
    latency_us: int
    """From its arrival to its outcome."""
    model: str
    model_id: int
    version: str
    version_id: int
    key_id: str
    rows: int
    status: Status
    cached: bool = False
    """Whether the answer was computed for another request that asked the same."""
    trace_id: str | None = None
    """The trace that the request belongs to (32 hexadecimal digits), where it was traced."""
    error: RecordedError | None = None
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}


class Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events to delete: those of these requests, of this key, or with this value in a row of an input.

    Several conditions must all hold; at least one is required.
    """

    request_ids: tuple[str, ...] = ()
    key_id: str | None = None
    inputs: dict[str, str | int | float | bool] = {}

    def test(self) -> Callable[[Prediction], bool]:
        """Whether an event belongs to the subject."""
        ids, key_id = frozenset(self.request_ids), self.key_id
        inputs = {name: _forms(value) for name, value in self.inputs.items()}

        def belongs(event: Prediction) -> bool:
            return (
                (not ids or event.request_id in ids)
                and (key_id is None or event.key_id == key_id)
                and all(_holds(event.inputs.get(name), forms) for name, forms in inputs.items())
            )

        return belongs


def _forms(value: str | float) -> tuple[object, ...]:
    """A value as the record may hold it: text as bytes, a number as rounded to single precision."""
    if isinstance(value, str):
        return value, value.encode()
    try:
        return value, struct.unpack("<f", struct.pack("<f", value))[0]
    except (OverflowError, struct.error):  # beyond single precision
        return (value,)


def _holds(column: object, forms: tuple[object, ...]) -> bool:
    """Whether a column, however nested, has one of `forms` in it."""
    if isinstance(column, list):
        return any(_holds(item, forms) for item in column)
    return column in forms
