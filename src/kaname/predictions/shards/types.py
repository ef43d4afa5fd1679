"""Facts about the prediction log as SQL sees it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

SHARDS = 8
"""A model's rows lie in shard `model_id % 8`."""


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model with the version that answers, or its newest."""

    model_id: int
    model_name: str
    model_version: str
    model_path: str
    model_type: str
    status: str
    accuracy: Decimal | None
    created_at: datetime


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the tables have it."""

    request_id: Annotated[int, Meta(description="Its number in the shard.")]
    model_id: int
    input_data: dict[str, Any]
    output_data: dict[str, Any] | None
    latency_ms: int | None
    created_at: Annotated[datetime, Meta(description="When it arrived, UTC.")]
    request_key: Annotated[str, Meta(description="The request's id in the prediction record.")]
    model_version: str
    api_key_id: str
    row_count: int
    error: dict[str, Any] | None
    trace_id: Annotated[str | None, Meta(description="The trace that it belongs to, where it was traced.")] = None
