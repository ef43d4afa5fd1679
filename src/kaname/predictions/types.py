"""The prediction record as it is read back: one event per request, its rows under the names of the signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Status = Literal["ok", "error"]
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
        ids, key_id, inputs = frozenset(self.request_ids), self.key_id, self.inputs

        def belongs(event: Prediction) -> bool:
            return (
                (not ids or event.request_id in ids)
                and (key_id is None or event.key_id == key_id)
                and all(_holds(event.inputs.get(name), value) for name, value in inputs.items())
            )

        return belongs


def _holds(column: object, value: object) -> bool:
    """Whether a column, however nested, has `value` in it; text may be kept as bytes."""
    if isinstance(column, list):
        return any(_holds(item, value) for item in column)
    return column == value or (isinstance(value, str) and column == value.encode())
