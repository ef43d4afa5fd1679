"""What every table shares: one `MetaData`, names for all constraints, and column types that each database has.

A capability's `store.py` adds its tables to `metadata`; the migrations create them. Rules for both, so that the same
statements run on SQLite, PostgreSQL and MariaDB: strings have a length, JSON is text written by msgspec, times are
microseconds since the Unix epoch in a `BigInteger`, constraints are named. A migration may be cut short in MariaDB,
which commits every statement: one that does more than create tables looks what is there already.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.dialects.mysql.base import MySQLDDLCompiler
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, CreateTable

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)
"""The tables of all capabilities."""

LongText = Text().with_variant(LONGTEXT(), "mysql", "mariadb")
"""Text that may pass 64 KiB, where MariaDB's plain TEXT ends."""

journal_head = Table(
    "journal_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
"""One row (id 1): the number of the last change. Its lock is what serialises all writers."""

journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("who", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("detail", LongText, nullable=False),
)
"""One row per change of the control plane, never updated."""

schema_rule = Table(
    "schema_rule",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("oldest", String(4), nullable=False),
)
"""One row (id 1): the oldest revision whose code still works with the database, see `upgrade`."""


@compiles(CreateTable, "mysql", "mariadb")
def _create_table(create: CreateTable, compiler: MySQLDDLCompiler, **options: Any) -> str:
    """Names differ by case and accent, as in the other databases; and tables of a migration cut short may be there."""
    create.if_not_exists = True
    made = compiler.visit_create_table(create, **options)  # type: ignore[no-untyped-call]  # SQLAlchemy's is untyped
    return f"{made} ENGINE=InnoDB CHARSET=utf8mb4 COLLATE=utf8mb4_bin"


@compiles(CreateIndex, "mariadb")
def _create_index(create: CreateIndex, compiler: MySQLDDLCompiler, **options: Any) -> str:
    """Likewise (MySQL cannot say it)."""
    create.if_not_exists = True
    return str(compiler.visit_create_index(create, **options))
