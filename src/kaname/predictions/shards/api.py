"""The prediction log in SQL over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.predictions.shards.log import SqlLog
from kaname.predictions.shards.types import RequestRow
from kaname.predictions.types import TraceId
from kaname.web.resources import Asked, Resource

Moment = Annotated[int, Meta(ge=0)] | None


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests."""

    model: Annotated[str, Meta(min_length=1, description="Name or number of a model.")]
    since_us: Annotated[Moment, Meta(description="Not before, µs since the Unix epoch.")] = None
    until_us: Annotated[Moment, Meta(description="Before, µs since the Unix epoch.")] = None
    trace_id: Annotated[TraceId | None, Meta(description="Of this trace, where requests are traced.")] = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="Most requests in the answer.")] = 100


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests, the newest first."""

    items: list[RequestRow]


def resources(log: SqlLog) -> list[Resource]:
    """The resource of the log."""

    def listed(asked: Asked) -> Requests:
        span = asked.query(Span)
        found = log.requests(
            span.model, since_us=span.since_us, until_us=span.until_us, trace_id=span.trace_id, limit=span.limit
        )
        return Requests(items=found)

    return [
        Resource(
            method="GET",
            path="/api/v1/inference-requests",
            summary="The newest requests of a model from the prediction log in SQL",
            description="Rows as the tables have them, from the one shard of the model.",
            handler=listed,
            scope="admin",
            query=Span,
            answer=Requests,
        )
    ]
