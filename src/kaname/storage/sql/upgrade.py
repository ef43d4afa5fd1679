"""Bring a database to the schema of this code, or back; safe when several processes open a new project at once.

A migration is a file `migrations/versions/NNNN_what.py` whose revision is `NNNN`: numbered in one line, so that the
newest is known without loading Alembic, which only a process that has something to migrate pays for.

Nodes are upgraded one after the other, so code of the release before works on the schema of the next one: a migration
adds (tables, columns that may be absent), and takes away only what the release before no longer uses. It then says so
in `schema_rule`: the oldest revision whose code still works with the database.
"""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
from sqlalchemy import Connection, inspect, select, text

from kaname.errors import Conflict, InvalidInput
from kaname.storage.sql.schema import schema_rule
from kaname.storage.sql.types import Backend

MIGRATIONS = Path(__file__).parent / "migrations"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One migration, as a person reads it."""

    revision: str
    what: str


def revisions() -> list[str]:
    """All schema revisions that this code knows, oldest first."""
    return sorted(_files())


def steps_from(revision: str | None) -> list[Step]:
    """What is left to do on a database of that revision; nothing where newer code has been."""
    return [
        Step(revision=each, what=_summary(file)) for each, file in sorted(_files().items()) if each > (revision or "")
    ]


def revision_of(conn: Connection) -> str | None:
    """The revision of a database; None when it is empty."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def to_head(backend: Backend) -> None:
    """Migrate the database, unless it is at the newest revision already.

    In SQLite and PostgreSQL all of it is one transaction: a process killed half way leaves the schema as it was; in
    MariaDB the next one goes on from there. Raises Conflict when the database was written by code so much newer that
    this code does not work with it.
    """
    known = revisions()
    with backend.engine.connect() as conn:
        if _settled(backend, conn, known):
            return
    with backend.migrating() as conn:
        if not _settled(backend, conn, known):
            _run(conn, known[-1])


def to_revision(backend: Backend, revision: str) -> None:
    """Migrate forward or back to one revision; `base`: to no tables. Raises InvalidInput for an unknown one."""
    check(revision)
    with backend.migrating() as conn:
        _run(conn, revision)


def check(revision: str) -> None:
    """Raise InvalidInput for a revision that this code does not know."""
    if revision not in (*revisions(), "base"):
        raise InvalidInput("no such schema revision", where="revision", found=revision, expected=", ".join(revisions()))


def _settled(backend: Backend, conn: Connection, known: list[str]) -> bool:
    """Whether nothing is left to do."""
    found = revision_of(conn)
    if found is not None and found not in known and _oldest_of(conn) > known[-1]:
        raise Conflict(
            "the database was written by a newer version of kaname: upgrade this one, or open another project",
            where=backend.place,
            found=f"schema {found}",
            expected=f"at most {known[-1]}",
        )
    return backend.is_prepared(conn) and found is not None and found >= known[-1]


def _oldest_of(conn: Connection) -> str:
    """The oldest revision whose code works with the database."""
    if not inspect(conn).has_table(schema_rule.name):
        return "9999"
    return str(conn.execute(select(schema_rule.c.oldest).where(schema_rule.c.id == 1)).scalar_one())


def _run(conn: Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = conn
    if revision == "base" or revision < (revision_of(conn) or ""):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def _files() -> dict[str, Path]:
    return {file.name[:4]: file for file in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")}


def _summary(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
