"""The tables of this capability: API keys, tenants, and answers kept for requests with an Idempotency-Key."""

from __future__ import annotations

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Row

from kaname.access.types import KeyInfo, TenantInfo
from kaname.storage.sql.schema import LongText, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("name", String(128), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("rate_rows_per_s", Float, nullable=True),
    Column("burst_rows", BigInteger, nullable=True),
    Column("priority", String(16), nullable=False, server_default="normal"),
    Column("tenant", String(64), nullable=True),
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger, nullable=True),
    sqlite_autoincrement=True,
)
"""Rows are never deleted, so that a number or id in a record always names the same key."""

tenants = Table(
    "tenants",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("rate_rows_per_s", Float, nullable=True),
    Column("burst_rows", BigInteger, nullable=True),
    Column("rows_per_day", BigInteger, nullable=True),
    Column("created_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

kept_answers = Table(
    "kept_answers",
    metadata,
    Column("owner", String(16), primary_key=True),
    Column("key_hash", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False, index=True),
    Column("status", Integer, nullable=True),
    Column("headers", LongText, nullable=True),
    Column("body", LongText, nullable=True),
)
"""One row per (API key, hash of the Idempotency-Key); `status` is null while the first request is in progress."""


def add(conn: Connection, key: KeyInfo) -> KeyInfo:
    """Insert `key`; the same with the number it got."""
    values = msgspec.structs.asdict(key) | {"scopes": " ".join(key.scopes)}
    del values["number"]
    conn.execute(insert(api_keys).values(**values))
    number = conn.execute(select(api_keys.c.number).where(api_keys.c.id == key.id)).scalar_one()
    return msgspec.structs.replace(key, number=number)


def find(conn: Connection, key_id: str) -> KeyInfo | None:
    """The key of this id, revoked or not."""
    row = conn.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
    return None if row is None else _key(row)


def all_keys(conn: Connection, *, active: bool) -> list[KeyInfo]:
    """Every key in the order they were made; with `active` without the revoked ones."""
    query = select(api_keys).order_by(api_keys.c.number)
    if active:
        query = query.where(api_keys.c.revoked_us.is_(None))
    return [_key(row) for row in conn.execute(query)]


def mark_revoked(conn: Connection, key_id: str, at_us: int) -> None:
    """Say when the key stopped being valid."""
    conn.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_us=at_us))


def add_tenant(conn: Connection, tenant: TenantInfo) -> TenantInfo:
    """Insert `tenant`; the same with the number it got."""
    conn.execute(insert(tenants).values(name=tenant.name, created_us=tenant.created_us))
    found = find_tenant(conn, tenant.name)
    assert found is not None
    return found


def change_tenant(conn: Connection, tenant: TenantInfo) -> None:
    """Store the limits of a tenant."""
    limits = {
        "rate_rows_per_s": tenant.rate_rows_per_s,
        "burst_rows": tenant.burst_rows,
        "rows_per_day": tenant.rows_per_day,
    }
    conn.execute(update(tenants).where(tenants.c.name == tenant.name).values(**limits))


def remove_tenant(conn: Connection, name: str) -> None:
    """Delete a tenant's row."""
    conn.execute(delete(tenants).where(tenants.c.name == name))


def find_tenant(conn: Connection, name: str) -> TenantInfo | None:
    """The tenant of this name."""
    row = conn.execute(select(tenants).where(tenants.c.name == name)).one_or_none()
    return None if row is None else TenantInfo(**row._mapping)


def all_tenants(conn: Connection) -> list[TenantInfo]:
    """Every tenant, by name."""
    return [TenantInfo(**row._mapping) for row in conn.execute(select(tenants).order_by(tenants.c.name))]


def _key(row: Row[tuple[object, ...]]) -> KeyInfo:
    values = dict(row._mapping)
    return KeyInfo(**values | {"scopes": tuple(values["scopes"].split())})
