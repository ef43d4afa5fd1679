"""Migrations on each kind of database: forward, back, and beside code of the release before."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, delete, insert, inspect, select, text, update

import kaname.stores  # noqa: F401  (adds all tables to the metadata)
from kaname.errors import Conflict, InvalidInput
from kaname.storage.sql import journal, upgrade
from kaname.storage.sql.schema import metadata, schema_rule
from tests.databases import Create, backend_at, open_at
from tests.storage.rows import row_for

FIRST_SHARED = "0004"
"""The oldest revision whose code works beside newer one on one database."""
BEFORE = [revision for revision in upgrade.revisions() if revision >= FIRST_SHARED]


def test_the_migrations_make_exactly_the_declared_tables(url: str) -> None:
    """What the stores declare and what the migrations create is the same, to the column and index."""
    backend = backend_at(url)
    with backend.engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    backend.engine.dispose()


def test_every_migration_goes_back_and_forth(create: Create) -> None:
    """Down to nothing one by one, and up again: the tables are those of a new database."""
    backend = backend_at(create())
    upgrade.to_revision(backend, upgrade.revisions()[-1])
    for revision in [*upgrade.revisions()[-2::-1], "base"]:
        upgrade.to_revision(backend, revision)
    assert inspect(backend.engine).get_table_names() == ["alembic_version"]
    upgrade.to_revision(backend, upgrade.revisions()[-1])
    with backend.engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    backend.engine.dispose()


def test_an_older_database_is_brought_up_step_by_step_with_its_rows(create: Create) -> None:
    """A database at the first revision keeps its journal when the later ones arrive."""
    address = create()
    backend = backend_at(address)
    upgrade.to_revision(backend, "0001")
    with backend.engine.begin() as conn:
        journal.append(conn, at_us=1, who="old", action="a", subject="s", detail={})
    backend.engine.dispose()
    database = open_at(address)
    with database.read() as conn:
        assert [row.who for row in journal.changes(conn)] == ["old"]
        assert upgrade.revision_of(conn) == upgrade.revisions()[-1]
    database.close()


def test_what_is_left_to_do_is_known_before_it_is_done() -> None:
    """Each migration says in a sentence what it brings."""
    steps = upgrade.steps_from("0003")
    assert [step.revision for step in steps] == [one for one in upgrade.revisions() if one > "0003"]
    assert steps[0].what == "Batch jobs."
    assert all(step.what.endswith(".") for step in upgrade.steps_from(None))
    assert upgrade.steps_from("9999") == []


def test_an_unknown_revision_is_refused(url: str) -> None:
    """A slip of the pen moves nothing."""
    backend = backend_at(url)
    with pytest.raises(InvalidInput, match="no such schema revision"):
        upgrade.to_revision(backend, "0404")
    backend.engine.dispose()


@pytest.mark.parametrize("oldest", ["9999", None])
def test_a_database_that_is_too_new_is_refused_and_left_alone(url: str, oldest: str | None) -> None:
    """Old code in front of a schema that no longer has what it needs says so and touches nothing."""
    with _Newer(url) as conn:
        if oldest is None:
            conn.execute(text("DROP TABLE schema_rule"))
        else:
            conn.execute(update(schema_rule).values(oldest=oldest))
    with pytest.raises(Conflict, match=r"newer version of kaname.*found schema 9999"):
        open_at(url)


def test_code_of_the_release_before_works_on_the_next_schema(url: str) -> None:
    """A database that was migrated by the next release is opened, read and written while its rule allows it."""
    with _Newer(url) as conn:
        conn.execute(text("CREATE TABLE of_the_next_release (id INTEGER)"))
    database = open_at(url)
    with database.write() as conn:
        assert journal.append(conn, at_us=1, who="w", action="a", subject="s", detail={}) == 1
        assert upgrade.revision_of(conn) == "9999"
    database.close()


@pytest.mark.parametrize("before", BEFORE)
def test_statements_of_the_release_before_run_on_the_present_schema(create: Create, before: str) -> None:
    """For each table as it was at that revision: a row with those columns alone is written, read, changed, deleted on
    the database of today. A migration that breaks this raises `schema_rule.oldest`."""
    old = _tables_at(create(), before)
    database = open_at(create())
    with database.read() as conn:
        oldest = conn.execute(select(schema_rule.c.oldest)).scalar_one()
    if oldest <= before or before == FIRST_SHARED:
        with database.write() as conn:
            conn.execute(delete(schema_rule))
            for name in ("journal_head", "switches"):
                if name in old.tables:
                    conn.execute(delete(old.tables[name]))
            for table in old.sorted_tables:
                if table.name != "alembic_version":
                    _use(conn, table)
    database.close()


def _tables_at(address: str, revision: str) -> MetaData:
    backend = backend_at(address)
    upgrade.to_revision(backend, revision)
    found = MetaData()
    found.reflect(backend.engine)
    backend.engine.dispose()
    return found


def _use(conn: Connection, table: Table) -> None:
    row: dict[str, Any] = row_for(table, 1)
    conn.execute(insert(table).values(**row))
    found = conn.execute(select(table)).one()
    assert {name: getattr(found, name) for name in row} == row
    changed = conn.execute(update(table).values(**{name: row[name] for name in row}))
    assert changed.rowcount in (0, 1)  # MariaDB counts rows that differ


class _Newer:
    """A connection to a database that claims to be at a revision which this code does not know."""

    def __init__(self, url: str) -> None:
        self._backend = backend_at(url)

    def __enter__(self) -> Connection:
        self._conn = self._backend.engine.connect()
        self._conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        return self._conn

    def __exit__(self, *_: object) -> None:
        self._conn.commit()
        self._conn.close()
        self._backend.engine.dispose()
