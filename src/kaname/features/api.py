"""HTTP resources of rows: `/api/v1/relations…` and `/api/v1/query`; what is longer than memory is in `streams`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.errors import TooLarge
from kaname.features.bulk.loading import insert_columns
from kaname.features.history.moments import At, moment_from
from kaname.features.opened import Features
from kaname.features.shared import Shared
from kaname.features.shown import RelationView
from kaname.features.wire import key_reader, row_reader
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Resource

RELATIONS = "/api/v1/relations"
RELATION = RELATIONS + "/{relation}"
ROWS = RELATION + "/rows"
QUERY = "/api/v1/query"
MOST_ROWS = 10_000
"""In one answer or request; more are streamed."""

Document = Annotated[
    dict[str, object], Meta(description="Values by attribute; times in RFC 3339, bytes in base64, decimals as text.")
]
_Raw = Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_ROWS)]


Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_At = Annotated[
    Moment | list[Moment] | None, Meta(description="When they became known: one moment, or one for each; null: now.")
]


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One statement of SQL."""

    sql: Annotated[str, Meta(max_length=1 << 20, description="SELECT, INSERT, DELETE or EXPLAIN; see `queries`.")]
    parameters: Annotated[
        list[object] | dict[str, object] | None, Meta(description="Values for `?` in their order, or for `:name`.")
    ] = None


class QueryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement gave."""

    columns: list[str]
    rows: list[Document]
    changed: Annotated[int | None, Meta(description="Rows written or deleted; null for a query.")]


class NewRows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whole rows: what one does not name is null."""

    rows: Annotated[_Raw, Meta(description="Objects of values by attribute.")]
    at: _At = None


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of rows."""

    keys: Annotated[_Raw, Meta(description="Objects of the values of the key.")]


class Gone(Keys, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows to delete."""

    at: _At = None


class Wanted(Keys, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows to read."""

    attributes: Annotated[list[str] | None, Meta(description="Those to read; null: all.")] = None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were written, durably."""

    changed: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The rows with the keys that were asked for, in their order."""

    rows: Annotated[list[Document | None], Meta(description="Null: there is no such row.")]


def resources(features: Features) -> list[Resource]:
    """All resources over the relations of a project."""
    return [*_looking(features), *_rows(features), _query(features)]


def _looking(features: Features) -> list[Resource]:
    def listed(asked: Asked) -> Listed[RelationView]:
        shared = Shared(features, asked.principal)
        found = [RelationView.of(shared.relation(name, "read").placement) for name in shared.names()]
        return page(found, lambda relation: relation.name, asked.query(Page))

    def show(asked: Asked) -> RelationView:
        name = asked.path["relation"]
        return RelationView.of(Shared(features, asked.principal).relation(name, "read").placement)

    return [
        Resource(
            method="GET",
            path=RELATIONS,
            summary="List the relations that the key may read",
            handler=listed,
            scope="any",
            query=Page,
            answer=Listed[RelationView],
        ),
        Resource(
            method="GET", path=RELATION, summary="Show a relation", handler=show, scope="any", answer=RelationView,
            description="Needs `read:<relation>`.",
        ),
    ]  # fmt: skip


def _rows(features: Features) -> list[Resource]:
    def insert(asked: Asked) -> Changed:
        stored = Shared(features, asked.principal).relation(asked.path["relation"], "write")
        body = asked.body(NewRows)
        columns = row_reader(stored.relation).columns(body.rows)
        return Changed(changed=insert_columns(stored, columns, _moments(body.at)))

    def get(asked: Asked) -> Found:
        stored = Shared(features, asked.principal).relation(asked.path["relation"], "read")
        body = asked.body(Wanted)
        keys = key_reader(stored.relation).read(body.keys)
        return Found(rows=stored.get_many(keys, body.attributes))

    def delete(asked: Asked) -> Changed:
        stored = Shared(features, asked.principal).relation(asked.path["relation"], "write")
        body = asked.body(Gone)
        keys = key_reader(stored.relation).read(body.keys)
        stored.delete(keys, at=_moments(body.at))
        return Changed(changed=len(keys))

    wanted: Resource = Resource(
        method="POST",
        path=ROWS,
        summary="Write rows over those with the same keys",
        description="All of them are checked before the first is written. Needs `write:<relation>`.",
        handler=insert,
        scope="any",
        body=NewRows,
        answer=Changed,
        example={"rows": [{"user_id": "ann", "placed_at": "2026-01-31T12:00:00Z", "item": "tea"}]},
    )
    replace = msgspec.structs.replace
    return [
        wanted,
        replace(
            wanted,
            path=ROWS + "/get",
            summary="Read rows by their keys",
            description="Needs `read:<relation>`.",
            handler=get,
            body=Wanted,
            answer=Found,
            example={"keys": [{"user_id": "ann", "placed_at": "2026-01-31T12:00:00Z"}]},
        ),
        replace(
            wanted,
            path=ROWS + "/delete",
            summary="Delete rows by their keys",
            description="What is not there is no error. Needs `write:<relation>`.",
            handler=delete,
            body=Gone,
            example={"keys": [{"user_id": "ann", "placed_at": "2026-01-31T12:00:00Z"}]},
        ),
    ]


def _moments(said: str | list[str] | None) -> At | None:
    if isinstance(said, list):
        return [moment_from(text, f"body.at[{i}]") for i, text in enumerate(said)]
    return None if said is None else moment_from(said, "body.at")


def _query(features: Features) -> Resource:
    def ask(asked: Asked) -> QueryAnswer:
        body = asked.body(QueryRequest)
        answer = Shared(features, asked.principal).query(body.sql, body.parameters)
        rows = list(islice(iter(answer), MOST_ROWS + 1))
        if len(rows) > MOST_ROWS:
            expected = f"at most {MOST_ROWS}: a LIMIT, or {QUERY}/stream"
            raise TooLarge(
                "too many rows for one answer", where="sql", found=f"more than {MOST_ROWS}", expected=expected
            )
        return QueryAnswer(columns=list(answer.columns), rows=rows, changed=answer.changed)

    return Resource(
        method="POST",
        path=QUERY,
        summary="Answer a statement of SQL over a relation",
        description=f"At most {MOST_ROWS} rows. Needs `read:<relation>`, to change rows `write:<relation>`.",
        handler=ask,
        scope="any",
        body=QueryRequest,
        answer=QueryAnswer,
        example={"sql": "SELECT * FROM order WHERE user_id = ?", "parameters": ["ann"]},
    )
