"""Rows by HTTP that need not fit into memory: lines of JSON in and out, at the pace of whoever is slower."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from kaname.features.api import MOST_ROWS, QUERY, ROWS, Changed, Document, Moment, QueryRequest
from kaname.features.bulk.csv_rows import CsvRows
from kaname.features.bulk.inserting import Insertion
from kaname.features.bulk.lines import JsonLines, pieces
from kaname.features.history.moments import known_from
from kaname.features.opened import Features
from kaname.features.shared import Shared
from kaname.features.types import Row
from kaname.web import bodies, decoding
from kaname.web.endpoints import Site
from kaname.web.resources import Nothing, Resource, Upload

NDJSON, CSV = "application/x-ndjson", "text/csv"
LINES = (NDJSON, "application/jsonl", "application/octet-stream")


class Limited(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many rows are asked for."""

    limit: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="Most rows; all without it.")] = None


class KnownAt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When rows became known."""

    at: Annotated[Moment | None, Meta(description="One moment for all rows; now without it.")] = None
    at_column: Annotated[str | None, Meta(description="The field of each row that holds its moment.")] = None


class RowStreams:
    """The endpoints. Stores are read and written on threads, never on the loop."""

    def __init__(self, features: Features, site: Site) -> None:
        self._features = features
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """Their URLs; other methods of these are refused where they are described."""
        return [
            Route(ROWS, self.rows, methods=["GET"]),
            Route(ROWS + "/stream", self.insert, methods=["POST"]),
            Route(QUERY + "/stream", self.query, methods=["POST"]),
        ]

    async def insert(self, request: Request) -> Response:
        """Lines in. Reading waits for writing: a sender that is faster is held up by its connection."""
        bodies.check_media_type(request, (*LINES, CSV))
        shared, name = self._shared(request), request.path_params["relation"]
        asked = decoding.decode_query(request.query_params.multi_items(), KnownAt)
        assert isinstance(asked, KnownAt)
        at = known_from(asked.at, asked.at_column, "query.at")
        stored = await run_in_threadpool(shared.relation, name, "write")
        form = CsvRows if _is_csv(request) else JsonLines
        insertion = Insertion(stored, form(stored.relation, at), at)
        try:
            async for chunk in request.stream():
                await run_in_threadpool(insertion.feed, chunk)
        except ClientDisconnect:
            return Response(status_code=499)
        changed = await run_in_threadpool(insertion.finish)
        return self._answer(Response(msgspec.json.encode(Changed(changed=changed)), media_type="application/json"))

    async def rows(self, request: Request) -> Response:
        """All rows out, or the first ones."""
        shared, name = self._shared(request), request.path_params["relation"]
        asked = decoding.decode_query(request.query_params.multi_items(), Limited)
        assert isinstance(asked, Limited)
        limit = "" if asked.limit is None else f" LIMIT {asked.limit}"
        await run_in_threadpool(shared.relation, name, "read")  # which also says that this is a name
        return await self._lines(lambda: shared.query(f'SELECT * FROM "{name}"{limit} ALLOW FILTERING', None))  # noqa: S608

    async def query(self, request: Request) -> Response:
        """The rows of a query out."""
        shared = self._shared(request)
        bodies.check_media_type(request, ("application/json", *LINES))
        raw = await bodies.read(request, self._site.max_body_bytes)
        asked = decoding.decode(raw, QueryRequest)
        assert isinstance(asked, QueryRequest)
        return await self._lines(lambda: shared.query(asked.sql, asked.parameters))

    def _shared(self, request: Request) -> Shared:
        header = request.headers.get("authorization")
        return Shared(self._features, self._site.authenticate(None if header is None else header.encode("latin-1")))

    async def _lines(self, ask: Callable[[], Iterable[Row]]) -> Response:
        """The answer as soon as its first rows are there: what is wrong with the question is said with its status.

        What goes wrong later breaks the connection, so that nobody takes a part for the whole.
        """
        rest, first = await run_in_threadpool(_begun, ask)
        return self._answer(StreamingResponse(_following(first, rest), media_type=NDJSON))

    def _answer(self, response: Response) -> Response:
        response.headers["x-request-id"] = self._site.ids()
        return response


def _is_csv(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == CSV


def _begun(ask: Callable[[], Iterable[Row]]) -> tuple[Iterator[bytes], bytes]:
    rest = pieces(ask())
    return rest, next(rest, b"")


async def _following(first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The next rows are read when those before have gone out."""
    piece = first
    while piece:
        yield piece
        piece = await run_in_threadpool(next, rest, b"")


def resources() -> list[Resource]:
    """What is described of them."""
    out = Resource(
        method="GET",
        path=ROWS,
        summary="Read all rows of a relation",
        description="A row on each line, in the order of a layout that holds all attributes. Needs `read:<relation>`.",
        handler=None,
        scope="any",
        query=Limited,
        answer=Document,
        media=NDJSON,
    )
    replace = msgspec.structs.replace
    return [
        out,
        Resource(
            method="POST",
            path=ROWS + "/stream",
            summary="Write rows line by line",
            description="A row on each line, or CSV. They are written as they come, in many batches: those before a "
            "bad line stay, and the answer names the line. The same again is safe. Needs `write:<relation>`.",
            handler=None,
            scope="any",
            query=KnownAt,
            body=Upload((*LINES, CSV), "Lines of JSON, each a row; or CSV with a header."),
            answer=Changed,
        ),
        replace(
            out,
            method="POST",
            path=QUERY + "/stream",
            summary="Answer a query with any number of rows",
            description=f"A row on each line, also when there are more than {MOST_ROWS}; nothing else. Needs "
            "`read:<relation>`.",
            body=QueryRequest,
            query=Nothing,
            example={"sql": "SELECT * FROM order WHERE user_id = ?", "parameters": ["ann"]},
        ),
    ]
