"""The prediction record over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.predictions.reader import PredictionReader, Query
from kaname.predictions.shown import shown
from kaname.predictions.types import Prediction, Status, Subject, TraceId
from kaname.web.resources import Asked, Resource

PATH = "/api/v1/predictions"


class Tail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the last events."""

    model: Annotated[str | None, Meta(description="Name of a model; all when absent.")] = None
    status: Annotated[Status | None, Meta(description="`ok` or `error`.")] = None
    since_us: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="Not before, µs since the Unix epoch.")] = (
        None
    )
    until_us: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="Before, µs since the Unix epoch.")] = None
    trace_id: Annotated[TraceId | None, Meta(description="Of this trace, where requests are traced.")] = None
    last: Annotated[int, Meta(ge=1, le=1000, description="Most events in the answer.")] = 100


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """Events, oldest first."""

    items: list[Prediction]


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion did."""

    deleted: int


def resources(reader: PredictionReader) -> list[Resource]:
    """The resources of the prediction record."""

    def tail(asked: Asked) -> Predictions:
        wanted = asked.query(Tail)
        query = Query(
            model=wanted.model,
            status=wanted.status,
            since_us=wanted.since_us,
            until_us=wanted.until_us,
            trace_id=wanted.trace_id,
        )
        return Predictions(items=[shown(event) for event in reader.tail(query, last=wanted.last)])

    def find(asked: Asked) -> Prediction:
        return shown(reader.find(asked.path["request_id"]))

    def delete(asked: Asked) -> Deleted:
        return Deleted(deleted=reader.delete(asked.body(Subject)))

    return [
        Resource(
            method="GET",
            path=PATH,
            summary="The last recorded predictions that match, oldest first",
            handler=tail,
            scope="admin",
            query=Tail,
            answer=Predictions,
        ),
        Resource(
            method="POST",
            path=PATH + "/delete",
            summary="Delete the recorded predictions of a subject for good",
            handler=delete,
            scope="admin",
            body=Subject,
            answer=Deleted,
            description="By request ids, by key, by the value of an input; several conditions must all hold.",
            example={"request_ids": ["client-7f3a"]},
        ),
        Resource(
            method="GET",
            path=PATH + "/{request_id}",
            summary="The recorded prediction of one request",
            handler=find,
            scope="admin",
            answer=Prediction,
        ),
    ]
