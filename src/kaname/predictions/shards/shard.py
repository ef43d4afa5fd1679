"""The eight databases or schemas, opened: where a model's rows lie, and transactions on one of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import ArgumentError

from kaname.errors import InvalidInput
from kaname.predictions.shards.tables import metadata, upgrade
from kaname.predictions.shards.types import SHARDS
from kaname.storage.sql.address import backend_of
from kaname.storage.sql.explained import explained

WHERE = "record.sql.urls"
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Shard:
    """One of them. Its tables are made at its first use."""

    def __init__(self, url: str, password: str | None, timeout_s: float) -> None:
        """`url` may name a schema of a PostgreSQL database: `?schema=NAME`. Raises InvalidInput, MissingDependency."""
        parsed, self._schema = _with_schema(url)
        shown = parsed.render_as_string(hide_password=False)
        self._backend = backend_of(shown, password, busy_s=timeout_s, timeout_s=timeout_s)
        self.place = self._backend.place + (f" schema {self._schema}" if self._schema else "")
        self._prepared = False
        self._preparing = threading.Lock()

    @contextmanager
    def transaction(self, *, writing: bool = True) -> Iterator[Connection]:
        """Commits at the end. Raises Unavailable when the database cannot be used now."""
        with explained(self._backend):
            self._prepare()
            with self._backend.engine.connect() as conn:
                one = conn.begin() if self._backend.is_server else self._backend.begin(conn, writing=writing)
                with one:
                    yield conn

    def _prepare(self) -> None:
        with self._preparing:
            if not self._prepared:
                with self._backend.migrating() as conn:
                    if self._schema:
                        conn.execute(text(f"CREATE SCHEMA IF NOT EXISTS {self._schema}"))
                    if "models" not in inspect(conn).get_view_names():
                        metadata.create_all(conn, tables=metadata.sorted_tables)
                    else:
                        upgrade(conn)
                self._prepared = True

    def close(self) -> None:
        """Close all connections."""
        self._backend.engine.dispose()


class Shards:
    """All eight."""

    def __init__(self, urls: Sequence[str], password: str | None = None, *, timeout_s: float = 10.0) -> None:
        """`urls`: eight, or one with `{shard}` in it. Raises InvalidInput, MissingDependency."""
        self.all = [Shard(url, password, timeout_s) for url in _eight(urls)]

    def of(self, model_id: int) -> Shard:
        """Where a model's rows lie."""
        return self.all[model_id % SHARDS]

    def close(self) -> None:
        """Close all connections."""
        for shard in self.all:
            shard.close()


def _eight(urls: Sequence[str]) -> list[str]:
    found = [urls[0].replace("{shard}", str(n)) for n in range(SHARDS)] if len(urls) == 1 else list(urls)
    if len(found) != SHARDS or len(set(found)) != SHARDS:
        expected = f"{SHARDS} URLs that differ, or one with {{shard}} in it"
        raise InvalidInput("not eight databases", where=WHERE, found=f"{len(urls)} URLs", expected=expected)
    return found


def _with_schema(url: str) -> tuple[URL, str]:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInput("not a URL of a database", where=WHERE, found=url) from None
    schema = parsed.query.get("schema", "")
    if not schema:
        return parsed, ""
    if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema) or parsed.get_backend_name() != "postgresql":
        expected = "a lower-case name, of a PostgreSQL database"
        raise InvalidInput("not a schema", where=WHERE, found=str(schema), expected=expected)
    plain = parsed.difference_update_query(["schema"])
    return plain.update_query_dict({"options": f"-csearch_path={schema}"}), schema
