"""Rows of relations and views on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from kaname.client.exchanged import Reply

Values = Mapping[str, object]
"""Values by attribute: of Python's types (datetime, Decimal, bytes, …), or as JSON has them."""
Row = dict[str, Any]
"""The same of an answer, as JSON has them: times, dates and decimals are text, bytes base64."""

BODY_BYTES = 4 * 1024 * 1024
"""Rows to insert are sent about so many together."""

T = TypeVar("T")
_VIEWS = "/api/v1/views"
_encode = msgspec.json.Encoder().encode


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute of a relation; rows are told apart by those of the key."""

    name: str
    type: str
    key: bool


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """A relation that the key may read."""

    name: str
    attributes: tuple[Attribute, ...]


class QueryResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement gave; `changed` counts the rows that it wrote or deleted, None for a query."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    changed: int | None = None


class ViewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that says of whom a view is read."""

    name: str
    type: str


class ViewFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A value that a view reads; `default` stands for one that is missing or older than `max_age_s`, unless the value
    is `required`."""

    name: str
    type: str
    attribute: str
    max_age_s: float | None
    required: bool
    default: Any = None


class ViewRead(msgspec.Struct, frozen=True, kw_only=True):
    """What a view reads of one relation: of the row with the `key`, by the names of the entity's keys, or of the newest
    one by the time `latest`."""

    relation: str
    key: dict[str, str]
    latest: str | None
    features: tuple[ViewFeature, ...]


class ViewColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column that is computed from others."""

    name: str
    type: str
    computed_by: str
    inputs: tuple[str, ...]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A view that the key may read."""

    name: str
    entity: tuple[ViewKey, ...]
    reads: tuple[ViewRead, ...]
    derived: tuple[ViewColumn, ...]


class _Relations(msgspec.Struct):
    items: list[Relation]
    next: str | None = None


class _Views(msgspec.Struct):
    items: list[View]
    next: str | None = None


class _Instances(msgspec.Struct):
    instances: list[Row]


class _Changed(msgspec.Struct):
    changed: int


class _Rows(msgspec.Struct):
    rows: list[Row | None]


class Ask(Protocol):
    """Sends one request, as often as it may be; raises a KanameError."""

    def __call__(self, method: str, path: str, body: bytes = b"", *, media: str = "application/json") -> Reply:
        """The answer."""


class Features:
    """What `Client.features` can ask. Raises the KanameError that the server raised."""

    def __init__(self, ask: Ask, lines: Callable[[str, bytes], Iterator[bytes]], decoded: Callable[..., Any]) -> None:
        """`lines` yields the lines that answer a body; `decoded` makes a Struct of a Reply."""
        self._ask = ask
        self._lines = lines
        self._decoded = decoded

    def relations(self) -> list[Relation]:
        """The relations that the key may read, by name."""
        return [each for page in self._pages("/api/v1/relations", _Relations) for each in page.items]

    def views(self) -> list[View]:
        """The views that the key may read, by name."""
        return [each for page in self._pages(_VIEWS, _Views) for each in page.items]

    def view(self, name: str) -> View:
        """What a view reads."""
        found: View = self._decoded(self._ask("GET", f"{_VIEWS}/{quote(name, safe='')}"), View)
        return found

    def read(self, view: str, entities: Sequence[Values]) -> list[Row]:
        """The columns of a view for these entities, in their order."""
        body = _encode({"entities": entities})
        reply = self._ask("POST", f"{_VIEWS}/{quote(view, safe='')}/read", body)
        found: _Instances = self._decoded(reply, _Instances)
        return found.instances

    def _pages(self, path: str, kind: type[Any]) -> Iterator[Any]:
        after: str | None = ""
        while after is not None:
            page = self._decoded(self._ask("GET", path + (f"?after={quote(after)}" if after else "")), kind)
            yield page
            after = page.next

    def query(self, sql: str, parameters: Sequence[object] | Values | None = None) -> QueryResult:
        """Answer one statement; `parameters` are the values of `?` or of `:name`."""
        result: QueryResult = self._decoded(
            self._ask("POST", "/api/v1/query", _statement(sql, parameters)), QueryResult
        )
        return result

    def rows(self, sql: str, parameters: Sequence[object] | Values | None = None) -> Iterator[Row]:
        """The rows of a query one after the other, however many; closing the iterator ends the request."""
        for line in self._lines("/api/v1/query/stream", _statement(sql, parameters)):
            yield msgspec.json.decode(line)

    def insert(self, relation: str, rows: Iterable[Values], *, at: datetime | str | None = None) -> int:
        """Write whole rows over those with the same keys, in batches, each durable before the next is sent; returns how
        many. When it raises some batches may have been written; the same call again is safe.

        `at`: when they became known: one moment, or the name under which each row holds its own; None: now."""
        written, path = 0, f"{_path(relation)}/stream{_known(at)}"
        for body in _bodies(rows):
            reply = self._ask("POST", path, body, media="application/x-ndjson")
            written += int(self._decoded(reply, _Changed).changed)
        return written

    def get(self, relation: str, keys: Sequence[Values], attributes: Sequence[str] | None = None) -> list[Row | None]:
        """The rows with these keys, in their order, or only some attributes of them; None: there is none."""
        body = _encode({"keys": keys, "attributes": attributes})
        found: _Rows = self._decoded(self._ask("POST", f"{_path(relation)}/get", body), _Rows)
        return found.rows

    def delete(self, relation: str, keys: Sequence[Values], *, at: datetime | None = None) -> None:
        """Delete the rows with these keys; what is not there is no error. `at`: when that became known; None: now."""
        self._ask("POST", f"{_path(relation)}/delete", _encode({"keys": keys, "at": at}))


def _path(relation: str) -> str:
    return f"/api/v1/relations/{quote(relation, safe='')}/rows"


def _known(at: datetime | str | None) -> str:
    if at is None:
        return ""
    return f"?at_column={quote(at)}" if isinstance(at, str) else f"?at={quote(at.isoformat())}"


def _statement(sql: str, parameters: Sequence[object] | Values | None) -> bytes:
    return _encode({"sql": sql, "parameters": parameters})


def _bodies(rows: Iterable[Values]) -> Iterator[bytes]:
    """Lines of JSON, about `BODY_BYTES` together."""
    lines: list[bytes] = []
    size = 0
    for row in rows:
        lines.append(_encode(row))
        size += len(lines[-1])
        if size >= BODY_BYTES:
            yield b"\n".join(lines)
            lines, size = [], 0
    if lines:
        yield b"\n".join(lines)
