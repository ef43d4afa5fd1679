"""`/api/v1/relations` and `/api/v1/query`: rows in and out, for those who were given the relation."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from kaname.access import scopes
from kaname.access.answers import KeptAnswers
from kaname.call import Principal
from kaname.clock import ManualClock, SystemClock
from kaname.errors import Unauthenticated
from kaname.features import api, streams
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.ids import counting_ids
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.web import endpoints, openapi
from kaname.web.endpoints import Site
from tests.databases import open_at
from tests.web.asking import Asker
from tests.web.test_openapi import check_document

TEXT = """
define relation order {
  user_id string key, at timestamp key, item string, price float64, total decimal(9, 2), raw bytes, tags json,
  v vector<float32, 2>, day date, count int32
};
define schema by_user for order on cells("main") {
  table "by_user", row size{user_id}:desc{at}, family "f", value pack[]
};
define relation user { user_id string key, name string };
define schema users for user on cells("main") { table "users", row hash(1)[user_id]:user_id, family "f", value pack[] };
define relation unplaced { k string key };
"""
ROW = {
    "user_id": "ann", "at": "2026-01-31T12:00:00Z", "item": "tea", "price": 2.5, "total": "2.50", "raw": "AAE=",
    "tags": {"hot": [True, None]}, "v": [0.5, 1.0], "day": "2026-01-31", "count": -3,
}  # fmt: skip
KEY = {"user_id": "ann", "at": "2026-01-31T12:00:00Z"}
KEYS = {
    "admin": ["admin"],
    "shop": ["read:order", "write:order"],
    "model": ["read:order"],
    "all": ["read:*"],
    "none": ["predict:*", "read", "write"],
}
ORDERS = "/api/v1/relations/order"


@pytest.fixture
def features(tmp_path: Path) -> Iterator[Features]:
    """The relations above."""
    opened = Features(lambda: schemas_in(TEXT), lambda _: LmdbCells(tmp_path, SystemClock()), SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def ask(features: Features, tmp_path: Path) -> Iterator[Asker]:
    """Asks as admin; a key is the name of its scopes above."""
    database = open_at(f"sqlite:///{tmp_path}/control.db")

    def who(header: bytes | None) -> Principal:
        name = (header or b"").decode().removeprefix("Bearer ")
        if name not in KEYS:
            raise Unauthenticated("no such key")
        right = scopes.grant(KEYS[name])
        return Principal(name, name, may_predict=right.may_predict, scopes=right.scopes)

    site = Site(authenticate=who, ids=counting_ids(), answers=KeptAnswers(database, ManualClock()), spool=tmp_path)
    listed = [*api.resources(features), *streams.resources()]
    routes = [*streams.RowStreams(features, site).routes(), *endpoints.routes(listed, site)]
    yield Asker(Starlette(routes=routes, exception_handlers=endpoints.exception_handlers(site.ids)), "admin")
    database.close()


def test_relations_are_listed_and_shown(ask: Asker) -> None:
    """With their attributes, and what the layouts begin with; those without a place for rows are not."""
    listed = ask("GET", "/api/v1/relations").json()["items"]
    assert [relation["name"] for relation in listed] == ["order", "user"]
    shown = ask("GET", "/api/v1/relations/user").json()
    assert shown == listed[1]
    assert shown["attributes"][0] == {"name": "user_id", "type": "string", "key": True}
    assert shown["layouts"] == [
        {
            "name": "users",
            "store": 'cells("main")',
            "table": "users",
            "begins_with": ["hash[user_id]", "user_id"],
            "attributes": ["user_id", "name"],
        }
    ]


def test_a_row_of_every_type_comes_back_as_it_went_in(ask: Asker) -> None:
    """Written, read whole and in part, deleted."""
    assert ask("POST", f"{ORDERS}/rows", json={"rows": [ROW, {**KEY, "user_id": "bob"}]}).json() == {"changed": 2}
    assert ask("POST", f"{ORDERS}/rows/get", json={"keys": [KEY, {**KEY, "user_id": "eve"}]}).json() == {
        "rows": [ROW, None]
    }
    found = ask("POST", f"{ORDERS}/rows/get", json={"keys": [KEY], "attributes": ["price", "tags"]}).json()
    assert found == {"rows": [{"price": 2.5, "tags": {"hot": [True, None]}}]}
    assert ask("POST", f"{ORDERS}/rows/delete", json={"keys": [KEY]}).json() == {"changed": 1}
    assert ask("POST", f"{ORDERS}/rows/get", json={"keys": [KEY]}).json() == {"rows": [None]}


def test_a_query_takes_parameters_as_json_has_them(ask: Asker) -> None:
    """Times are text there."""
    sql = "INSERT INTO order (user_id, at, total, raw, day) VALUES (?, ?, ?, ?, ?)"
    given = ["ann", "2026-01-31T13:00:00+01:00", "2.5", "AAE=", "2026-01-31"]
    assert ask("POST", "/api/v1/query", json={"sql": sql, "parameters": given}).json()["changed"] == 1
    sql = "SELECT user_id AS who, total, raw, day FROM order WHERE user_id = :who AND at = :at"
    named = {"who": "ann", "at": "2026-01-31T12:00:00Z"}
    answer = ask("POST", "/api/v1/query", json={"sql": sql, "parameters": named}).json()
    assert answer == {
        "columns": ["who", "total", "raw", "day"],
        "rows": [{"who": "ann", "total": "2.50", "raw": "AAE=", "day": "2026-01-31"}],
        "changed": None,
    }
    refused = ask("POST", "/api/v1/query", json={"sql": sql, "parameters": {"who": "ann", "at": "noon"}})
    assert refused.status_code == 400
    assert refused.json()["where"] == "query:1:82"


def test_rows_stream_in_and_out(ask: Asker) -> None:
    """Empty lines and a last line without its end count, too."""
    lines = [json.dumps({**ROW, "count": i, "user_id": f"u{i:04}"}) for i in range(2500)]
    done = ask("POST", f"{ORDERS}/rows/stream", content="\n\n".join(lines), headers={"content-type": streams.NDJSON})
    assert done.json() == {"changed": 2500}
    out = ask("GET", f"{ORDERS}/rows")
    assert out.headers["content-type"] == streams.NDJSON
    assert [json.loads(line) for line in out.text.splitlines()] == [json.loads(line) for line in lines]
    assert len(ask("GET", f"{ORDERS}/rows?limit=3").text.splitlines()) == 3
    query = {"sql": "SELECT count FROM order WHERE user_id = 'u0007'"}
    assert ask("POST", "/api/v1/query/stream", json=query).text == '{"count":7}\n'
    nothing = ask("POST", "/api/v1/query/stream", json={"sql": "SELECT count FROM order WHERE user_id = 'x'"})
    assert (nothing.status_code, nothing.text) == (200, "")


def test_rows_stream_in_as_csv(ask: Asker) -> None:
    """With their moments, if a column says so."""
    text = 'user_id,at,item,told\nann,2026-01-31T12:00:00Z,"a,b",2026-02-01T00:00:00Z\n'
    headers = {"content-type": "text/csv; charset=utf-8"}
    done = ask("POST", f"{ORDERS}/rows/stream?at_column=told", content=text, headers=headers)
    assert done.json() == {"changed": 1}
    found = ask("POST", f"{ORDERS}/rows/get", json={"keys": [KEY], "attributes": ["item"]}).json()
    assert found == {"rows": [{"item": "a,b"}]}


def test_rows_say_when_they_became_known(ask: Asker, features: Features) -> None:
    """In a body, in a stream and in a statement, for all rows or for each: the older row loses."""
    first, later = "2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"
    rows = [{**KEY, "item": "late"}, {**KEY, "user_id": "bob", "item": "late"}]
    assert ask("POST", f"{ORDERS}/rows", json={"rows": rows, "at": [later, later]}).json() == {"changed": 2}
    older = {**KEY, "item": "old"}
    asked: dict[str, dict[str, Any]] = {
        f"{ORDERS}/rows": {"json": {"rows": [older], "at": first}},
        f"{ORDERS}/rows/delete": {"json": {"keys": [KEY], "at": first}},
        f"{ORDERS}/rows/stream?at=2026-02-01T00:00Z": {"content": json.dumps(older)},
        f"{ORDERS}/rows/stream?at_column=t": {"content": json.dumps({**older, "t": first})},
        "/api/v1/query": {
            "json": {
                "sql": "INSERT INTO order (user_id, at, item) VALUES (?, ?, 'old') KNOWN AT ?",
                "parameters": [*KEY.values(), first],
            }
        },
    }
    for path, given in asked.items():
        assert ask("POST", path, **given).json()["changed"] == 1
    assert [row["item"] for row in features.query("SELECT item FROM order ALLOW FILTERING")] == ["late", "late"]


MOMENTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no time": ("rows", {"json": {"rows": [ROW], "at": "noon"}}, "body.at"),
    "no zone": ("rows", {"json": {"rows": [ROW], "at": "2026-02-01T00:00:00"}}, "body.at"),
    "a number": ("rows", {"json": {"rows": [ROW], "at": 5}}, "body.at"),
    "one of many": ("rows", {"json": {"rows": [ROW], "at": ["2026-02-01"]}}, "body.at[0]"),
    "too many": ("rows", {"json": {"rows": [ROW], "at": ["2026-02-01T00:00:00Z"] * 2}}, "at"),
    "the future": ("rows", {"json": {"rows": [ROW], "at": "2999-02-01T00:00:00Z"}}, "rows[0]"),
    "before it happened": ("rows", {"json": {"rows": [ROW], "at": "2026-01-01T00:00:00Z"}}, "rows[0].at"),
    "of what is deleted": ("rows/delete", {"json": {"keys": [KEY], "at": "noon"}}, "body.at"),
    "of a stream": ("rows/stream?at=noon", {"content": json.dumps(ROW)}, "query.at"),
    "two ways": ("rows/stream?at=2026-02-01T00:00:00Z&at_column=t", {"content": json.dumps(ROW)}, "query.at"),
    "of a line": ("rows/stream?at_column=t", {"content": json.dumps({**ROW, "t": "noon"})}, "line 1.t"),
    "a line without": ("rows/stream?at_column=t", {"content": json.dumps(ROW)}, "line 1.t"),
}


@pytest.mark.parametrize("case", MOMENTS)
def test_a_moment_that_is_none_is_refused(ask: Asker, features: Features, case: str) -> None:
    """With its place; nothing is written."""
    path, given, where = MOMENTS[case]
    refused = ask("POST", f"{ORDERS}/{path}", **given)
    assert (refused.status_code, refused.json()["where"]) == (400, where)
    assert features.query("SELECT at FROM order ALLOW FILTERING").all() == []


def test_more_rows_than_an_answer_holds_are_refused(ask: Asker, features: Features) -> None:
    """The error says how to have them."""
    features.relation("user").insert({"user_id": f"u{i}"} for i in range(api.MOST_ROWS + 1))
    sql = "SELECT user_id FROM user ALLOW FILTERING"
    refused = ask("POST", "/api/v1/query", json={"sql": sql})
    assert refused.status_code == 413
    assert "/api/v1/query/stream" in refused.json()["expected"]
    assert len(ask("POST", "/api/v1/query/stream", json={"sql": sql}).text.splitlines()) == api.MOST_ROWS + 1


QUERY: dict[str, Any] = {"sql": "SELECT * FROM order WHERE user_id = 'x'"}
DELETE = {"sql": "DELETE FROM order WHERE user_id = 'x'"}
ASKED: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "show": ("GET", ORDERS, None),
    "get": ("POST", f"{ORDERS}/rows/get", {"keys": [KEY]}),
    "scan": ("GET", f"{ORDERS}/rows", None),
    "query": ("POST", "/api/v1/query", QUERY),
    "explain": ("POST", "/api/v1/query", {"sql": f"EXPLAIN {QUERY['sql']}"}),
    "query stream": ("POST", "/api/v1/query/stream", QUERY),
    "insert": ("POST", f"{ORDERS}/rows", {"rows": [ROW]}),
    "insert stream": ("POST", f"{ORDERS}/rows/stream", None),
    "delete": ("POST", f"{ORDERS}/rows/delete", {"keys": [KEY]}),
    "delete by query": ("POST", "/api/v1/query", DELETE),
    "insert by query": ("POST", "/api/v1/query", {"sql": "INSERT INTO order (user_id, at) VALUES ('x', 'x')"}),
}
WRITES = {"insert", "insert stream", "delete", "delete by query", "insert by query"}


@pytest.mark.parametrize("what", ASKED)
def test_a_key_reaches_only_the_relations_that_it_was_given(ask: Asker, what: str) -> None:
    """To read, to write, or neither; scopes for models and for the server itself do not count."""
    method, path, body = ASKED[what]

    def status(key: str, where: str = "order") -> int:
        text = json.dumps(body).replace("FROM order", f"FROM {where}").replace("INTO order", f"INTO {where}")
        given = {} if body is None else {"json": json.loads(text)}
        return ask.as_(key)(method, path.replace("order", where), **given).status_code

    expected = "write:order" if what in WRITES else "read:order"
    refused = ask.as_("none")(method, path, **({} if body is None else {"json": body}))
    assert (refused.status_code, refused.json()["expected"]) == (403, expected)
    may = {"admin", "shop"} if what in WRITES else {"admin", "shop", "model", "all"}
    assert {key for key in KEYS if status(key) != 403} == may
    assert status("shop", "user") == 403
    assert status("shop", "nosuch") == 403
    assert status("admin", "nosuch") == 404
    assert status("nobody") == 401


def test_a_list_holds_what_the_key_may_read(ask: Asker) -> None:
    """And nothing of the others, not even their names."""
    names = {key: [one["name"] for one in ask.as_(key)("GET", "/api/v1/relations").json()["items"]] for key in KEYS}
    both = ["order", "user"]
    assert names == {"admin": both, "shop": ["order"], "model": ["order"], "all": both, "none": []}


ROWS: dict[str, tuple[Any, str, str]] = {
    "no list": ({}, "rows[0]", "not a row"),
    "a list": ([[1]], "rows[0]", "not a row"),
    "null": ([None], "rows[0]", "not a row"),
    "a number": ([ROW, 5], "rows[1]", "not a row"),
    "without a key": ([{"user_id": "x"}], "rows[0].at", "a key attribute is missing"),
    "null in the key": ([{**ROW, "at": None}], "rows[0].at", "not a value of this attribute"),
    "an attribute that is not there": ([{**ROW, "prise": 1}], "rows[0].prise", "no such attribute"),
    "a number for a text": ([{**ROW, "item": 5}], "rows[0].item", "not a value of this attribute"),
    "a text for a number": ([ROW, {**ROW, "price": "1"}], "rows[1].price", "not a value of this attribute"),
    "a fraction": ([{**ROW, "count": 1.5}], "rows[0].count", "not a value of this attribute"),
    "a number out of range": ([{**ROW, "count": 1 << 31}], "rows[0].count", "not a value of this attribute"),
    "digits too many": ([{**ROW, "total": "1.005"}], "rows[0].total", "not a value of this attribute"),
    "a decimal that is none": ([{**ROW, "total": "x"}], "rows[0].total", "not a value of this attribute"),
    "a decimal without an end": ([{**ROW, "total": "Infinity"}], "rows[0].total", "not a value of this attribute"),
    "a time without a zone": ([{**ROW, "at": "2026-01-31T12:00:00"}], "rows[0].at", "not a value of this attribute"),
    "a time that is a number": ([{**ROW, "at": 1769860800}], "rows[0].at", "not a value of this attribute"),
    "a day that is none": ([{**ROW, "day": "2026-02-30"}], "rows[0].day", "not a value of this attribute"),
    "text that is no base64": ([{**ROW, "raw": "?"}], "rows[0].raw", "not a value of this attribute"),
    "a vector too short": ([{**ROW, "v": [1]}], "rows[0].v", "not a value of this attribute"),
    "a vector too long": ([{**ROW, "v": [1, 2, 3]}], "rows[0].v", "not a value of this attribute"),
    "a text in a vector": ([{**ROW, "v": [1, "2"]}], "rows[0].v[1]", "not a value of this attribute"),
    "null in a vector": ([{**ROW, "v": [1, None]}], "rows[0].v[1]", "not a value of this attribute"),
    "a number that float32 has not": ([{**ROW, "v": [1, 1e39]}], "rows[0].v", "not a value of this attribute"),
    "a key too long": ([{**ROW, "user_id": "x" * 600}], "rows[0].user_id", "the row key is too long"),
    "a whole number that JSON has not": ([{**ROW, "tags": 1 << 70}], "rows[0].tags", "not a value of this attribute"),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_does_not_fit_is_refused_with_its_place(ask: Asker, features: Features, case: str) -> None:
    """By itself or among others, in one body or as a line; of one body nothing is written."""
    rows, where, message = ROWS[case]
    rows = rows if isinstance(rows, list) else [rows]
    if case == "no list":
        rows = ["x"]
    refused = ask("POST", f"{ORDERS}/rows", json={"rows": rows})
    problem = refused.json()
    assert (refused.status_code, problem["where"]) == (400, where)
    assert problem["detail"].startswith(message)
    assert list(features.query("SELECT at FROM order ALLOW FILTERING")) == []
    lines = "\n".join(map(json.dumps, rows))
    problem = ask("POST", f"{ORDERS}/rows/stream", content=lines, headers={"content-type": streams.NDJSON}).json()
    number = int(where[5])
    assert problem["where"] == where.replace(f"rows[{number}]", f"line {number + 1}")


LINES: dict[str, tuple[bytes, str]] = {
    "half an object": (b'{"user_id": "x"', "line 1"),
    "two objects": (b'{"user_id": "x", "at": "2026-01-31T12:00:00Z"} {}', "line 1"),
    "a comma between lines": (b'\n{"user_id": "x", "at": "2026-01-31T12:00:00Z"},', "line 2"),
    "no text": (b"\xff\xfe", "line 1"),
    "half a character": (b'{"user_id": "\xc3", "at": "2026-01-31T12:00:00Z"}', "line 1"),
    "CSV": (b"user_id,at\nx,y", "line 1"),
    "too deep": (b'{"tags": ' + b"[" * 5000 + b"]" * 5000 + b"}", "line 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_line_that_is_no_row_is_refused_with_its_number(ask: Asker, case: str) -> None:
    """Counted as an editor counts."""
    text, where = LINES[case]
    refused = ask("POST", f"{ORDERS}/rows/stream", content=text, headers={"content-type": streams.NDJSON})
    assert (refused.status_code, refused.json()["where"]) == (400, where)


def test_lines_before_a_bad_one_stay(ask: Asker, features: Features) -> None:
    """The error says how many, so that the rest can be sent again."""
    good = [json.dumps({**ROW, "user_id": f"u{i}", "tags": "x" * 1000}) for i in range(2000)]
    text = "\n".join([*good, '{"user_id": 5}'])
    refused = ask("POST", f"{ORDERS}/rows/stream", content=text, headers={"content-type": streams.NDJSON}).json()
    assert refused["where"] == "line 2001.user_id"
    written = int(refused["detail"].split("; ")[1].split(" ")[0])
    assert written == 2000
    assert len(features.query("SELECT at FROM order ALLOW FILTERING").all()) == written


def test_a_stream_is_never_held_whole(ask: Asker, features: Features) -> None:
    """40 MB of lines go in and are counted out within a few pieces of memory."""
    line = json.dumps({**ROW, "tags": "x" * 4000}).encode() + b"\n"

    async def body() -> Any:
        for _ in range(100):
            yield line * 100

    tracemalloc.start()
    done = ask("POST", f"{ORDERS}/rows/stream", content=body(), headers={"content-type": streams.NDJSON})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.json() == {"changed": 10_000}
    assert peak < 20e6


BODIES: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "no rows": (f"{ORDERS}/rows", {"json": {"rows": []}}, 400, "body.rows"),
    "rows that are no list": (f"{ORDERS}/rows", {"json": {"rows": {}}}, 400, "body.rows"),
    "another field": (f"{ORDERS}/rows", {"json": {"row": [ROW]}}, 400, "body"),
    "no body": (f"{ORDERS}/rows", {}, 400, "body"),
    "another media type": (
        f"{ORDERS}/rows", {"content": b"x", "headers": {"content-type": "text/csv"}}, 415, "Content-Type",
    ),
    "a key with more": (f"{ORDERS}/rows/get", {"json": {"keys": [ROW]}}, 400, "rows[0].item"),
    "a key with less": (f"{ORDERS}/rows/delete", {"json": {"keys": [{"user_id": "x"}]}}, 400, "rows[0].at"),
    "an attribute to read": (f"{ORDERS}/rows/get", {"json": {"keys": [KEY], "attributes": ["x"]}}, 400, "x"),
    "a statement that is none": ("/api/v1/query", {"json": {"sql": "hello"}}, 400, "query:1:1"),
    "a statement that is no text": ("/api/v1/query", {"json": {"sql": 5}}, 400, "body.sql"),
    "parameters that are one": ("/api/v1/query", {"json": {**QUERY, "parameters": "x"}}, 400, "body.parameters"),
    "parameters too many": ("/api/v1/query", {"json": {**QUERY, "parameters": ["x"]}}, 400, "parameters"),
    "a stream of a statement that is none": ("/api/v1/query/stream", {"json": {"sql": "hello"}}, 400, "query:1:1"),
    "lines of another media type": (
        f"{ORDERS}/rows/stream", {"content": b"x", "headers": {"content-type": "text/html"}}, 415, "Content-Type",
    ),
    "CSV without a key": (
        f"{ORDERS}/rows/stream", {"content": b"item\nx", "headers": {"content-type": "text/csv"}}, 400, "line 1",
    ),
    "packed lines": (
        f"{ORDERS}/rows/stream", {"content": b"x", "headers": {"content-encoding": "gzip"}}, 415, "Content-Encoding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_none_is_refused_with_its_place(ask: Asker, case: str) -> None:
    """Before anything of it is written."""
    path, given, status, where = BODIES[case]
    refused = ask("POST", path, **given)
    assert (refused.status_code, refused.json()["where"]) == (status, where)


@pytest.mark.parametrize("limit", ["-1", "x", "1.5", ""])
def test_a_limit_that_is_none_is_refused(ask: Asker, limit: str) -> None:
    """As a parameter of the URL."""
    refused = ask("GET", f"{ORDERS}/rows?limit={limit}")
    assert (refused.status_code, refused.json()["where"]) == (400, "query.limit")


def test_the_document_describes_all_of_it(features: Features) -> None:
    """And holds what every document must."""
    listed = [*api.resources(features), *streams.resources()]
    document = openapi.document(listed, title="t", version="1")
    check_document(document)
    assert document["paths"]["/api/v1/query/stream"]["post"]["requestBody"]
