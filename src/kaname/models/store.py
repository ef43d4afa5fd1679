"""The registry's tables, and rows as facts."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    Row,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)

from kaname.models.names import unknown
from kaname.models.types import RuntimeChoice, VersionInfo
from kaname.runtimes.types import Profile
from kaname.signature import Signature
from kaname.storage.sql.schema import LongText, metadata

T = TypeVar("T")

models = Table(
    "models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("loaded", Boolean, nullable=False),
    Column("overrides", LongText, nullable=False),
    Column("next_version", Integer, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""`overrides`: settings that differ from the defaults. `changed`: journal number of the last change. A number is never
given twice, nor is a version number that was counted (`next_version`), even after deletion."""

versions = Table(
    "versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", Integer, ForeignKey("models.id"), nullable=False),
    Column("version", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("artefact", String(64), nullable=False, index=True),
    Column("source", String(32), nullable=False),
    Column("runtime", String(32), nullable=False),
    Column("signature", LongText, nullable=False),
    Column("profile", LongText, nullable=False),
    Column("choices", LongText, nullable=False),
    Column("sample", LongText, nullable=False),
    Column("metrics", LongText, nullable=False),
    Column("tags", LongText, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    UniqueConstraint("model_id", "version"),
    sqlite_autoincrement=True,
)
"""`artefact`, `source`, `signature`, `sample`, `metrics` and `created_us` never change."""

promotions = Table(
    "promotions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", Integer, ForeignKey("models.id"), nullable=False, index=True),
    Column("version_id", Integer, ForeignKey("versions.id"), nullable=False, index=True),
    sqlite_autoincrement=True,
)
"""A stack per model: the last row answers, `rollback` removes it."""

declarations = Table(
    "declarations",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("applied", LongText, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
"""What was last applied from a model's declaration."""

_DIGITS = 18  # a longer number does not fit a database integer
_HISTORY = (
    select(promotions.c.id, promotions.c.model_id, promotions.c.version_id, versions.c.version)
    .join(versions, versions.c.id == promotions.c.version_id)
    .order_by(promotions.c.id.desc())
)
JSON_COLUMNS = ("signature", "profile", "choices", "sample", "metrics", "tags")


def encode(value: object) -> str:
    """JSON text for a column."""
    return msgspec.json.encode(value).decode()


def decode(text: str, of: type[T]) -> T:
    """What `encode` was given."""
    return msgspec.json.decode(text, type=of)


def model_row(conn: Connection, ref: str | int) -> Row[Any]:
    """The model with this name or number. Raises NotFound with names that are near."""
    by_number = isinstance(ref, int) or (ref.isdecimal() and len(ref) <= _DIGITS)
    where = models.c.id == int(ref) if by_number else models.c.name == ref
    row = conn.execute(select(models).where(where)).one_or_none()
    if row is None:
        raise unknown("model", ref, conn.execute(select(models.c.name)).scalars())
    return row


def version_row(conn: Connection, model: Row[Any], version: str) -> Row[Any]:
    """One version of a model. Raises NotFound with versions that are near."""
    row = find_version(conn, model.id, version)
    if row is None or row.version != version:
        known = conn.execute(select(versions.c.version).where(versions.c.model_id == model.id)).scalars()
        raise unknown("version", version, known, where=model.name)
    return row


def find_model(conn: Connection, name: str) -> Row[Any] | None:
    """The model whose name is `name` when case is ignored (some databases cannot tell `Iris` from `iris`)."""
    return conn.execute(select(models).where(func.lower(models.c.name) == name.lower())).one_or_none()


def find_version(conn: Connection, model_id: int, version: str) -> Row[Any] | None:
    """The version of that name when case is ignored, or None."""
    same = func.lower(versions.c.version) == version.lower()
    return conn.execute(select(versions).where(versions.c.model_id == model_id, same)).one_or_none()


def insert_model(conn: Connection, name: str, created_us: int) -> int:
    """A new model without versions; returns its number."""
    values = {"name": name, "loaded": True, "overrides": "{}", "next_version": 1, "changed": 0}
    return _inserted(conn, models, values | {"created_us": created_us})


def insert_version(conn: Connection, info: VersionInfo) -> int:
    """A new version; returns its number. `info.id` is ignored."""
    columns = msgspec.structs.asdict(info)
    del columns["id"], columns["model"]
    return _inserted(conn, versions, columns | {name: encode(columns[name]) for name in JSON_COLUMNS})


def _inserted(conn: Connection, table: Table, values: dict[str, Any]) -> int:
    key = conn.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def version_info(row: Row[Any], model: str) -> VersionInfo:
    """A row of `versions` as a fact."""
    return VersionInfo(
        id=row.id,
        model=model,
        model_id=row.model_id,
        version=row.version,
        status=row.status,
        artefact=row.artefact,
        source=row.source,
        runtime=row.runtime,
        signature=decode(row.signature, Signature),
        profile=decode(row.profile, Profile),
        choices=decode(row.choices, tuple[RuntimeChoice, ...]),
        sample=msgspec.json.decode(row.sample),
        metrics=decode(row.metrics, dict[str, float]),
        tags=decode(row.tags, tuple[str, ...]),
        created_us=row.created_us,
    )


def versions_of(conn: Connection, model: Row[Any]) -> list[VersionInfo]:
    """The versions of a model, oldest first."""
    query = select(versions).where(versions.c.model_id == model.id).order_by(versions.c.id)
    return [version_info(row, model.name) for row in conn.execute(query)]


def running_versions(conn: Connection) -> dict[int, list[VersionInfo]]:
    """The versions of all models that are not archived, by the model's number, oldest first."""
    names = {row.id: row.name for row in conn.execute(select(models.c.id, models.c.name))}
    found: dict[int, list[VersionInfo]] = {number: [] for number in names}
    query = select(versions).where(versions.c.status != "archived").order_by(versions.c.id)
    for row in conn.execute(query):
        found[row.model_id].append(version_info(row, names[row.model_id]))
    return found


def version_counts(conn: Connection) -> dict[int, int]:
    """How many versions each model has, archived ones too, by the model's number."""
    query = select(versions.c.model_id, func.count()).group_by(versions.c.model_id)
    return {row[0]: row[1] for row in conn.execute(query)}


def history(conn: Connection, model_id: int) -> list[Row[Any]]:
    """The model's promotions, the one that answers first; rows of `id` (the promotion's), `version_id`, `version`."""
    return list(conn.execute(_HISTORY.where(promotions.c.model_id == model_id)))


def answers(conn: Connection, model_id: int | None = None) -> dict[int, list[str]]:
    """For one model or all, by number: the version that answers, then those that rollbacks would return to."""
    query = _HISTORY if model_id is None else _HISTORY.where(promotions.c.model_id == model_id)
    found: dict[int, list[str]] = {}
    for row in conn.execute(query):
        found.setdefault(row.model_id, []).append(row.version)
    return found


def push(conn: Connection, model_id: int, version_id: int) -> None:
    """Let a version answer, over the one that answered before."""
    conn.execute(insert(promotions).values(model_id=model_id, version_id=version_id))
    conn.execute(update(versions).where(versions.c.id == version_id).values(status="deployed"))


def forget(conn: Connection, model_id: int, version_id: int) -> None:
    """Take a version out of the history; what then lies next to itself is one promotion again."""
    conn.execute(delete(promotions).where(promotions.c.version_id == version_id))
    newer: int | None = None
    for row in history(conn, model_id):
        if row.version_id == newer:
            conn.execute(delete(promotions).where(promotions.c.id == row.id))
        newer = row.version_id
