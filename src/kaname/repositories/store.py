"""The tables of repositories: what was last taken of each model, and what became of it."""

from __future__ import annotations

import msgspec
from blake3 import blake3
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Integer,
    String,
    Table,
    UniqueConstraint,
    delete,
    insert,
    select,
    update,
)

from kaname.models.declared import Desired
from kaname.models.store import decode, encode
from kaname.repositories.types import ModelReport
from kaname.storage.sql.schema import LongText, metadata

repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("path", LongText, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("fault", LongText, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""One row per folder that models were taken from. `hash`: of its path, which may be longer than a key. `fault`: why it
could not be read when it was last looked at, or nothing."""

repository_models = Table(
    "repository_models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository_id", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("model", String(255), nullable=False),
    Column("applied", LongText, nullable=False),
    Column("report", LongText, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("repository_id", "model"),
    sqlite_autoincrement=True,
)
"""What was last taken of a model (`Desired`, or null), and what was said of it (`ModelReport`)."""


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that models were taken from."""

    id: int
    path: str
    kind: str
    fault: str
    """Why it could not be read when it was last looked at; empty: it could."""
    looked_us: int
    """When something was last taken or found wrong; microseconds since the Unix epoch, UTC."""
    models: tuple[ModelReport, ...]


def entered(conn: Connection, path: str, kind: str, at_us: int, fault: str = "") -> int:
    """The number of the repository at `path`, written down as of now."""
    digest = _hash(path)
    values = {"kind": kind, "fault": fault, "at_us": at_us}
    number = conn.execute(select(repositories.c.id).where(repositories.c.hash == digest)).scalar_one_or_none()
    if number is None:
        key = conn.execute(insert(repositories).values(hash=digest, path=path, **values)).inserted_primary_key
        assert key is not None
        return int(key[0])
    conn.execute(update(repositories).where(repositories.c.id == number).values(**values))
    return int(number)


def _hash(path: str) -> str:
    return blake3(path.encode(errors="surrogateescape")).hexdigest()


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one model."""

    applied: Desired | None
    """What was last taken; None: nothing yet, or it was withdrawn."""
    report: ModelReport


def kept(conn: Connection, path: str) -> dict[str, Kept]:
    """What is remembered of each model of the repository at `path`, by its name."""
    both = repository_models.join(repositories, repositories.c.id == repository_models.c.repository_id)
    query = select(repository_models).select_from(both).where(repositories.c.hash == _hash(path))
    return {
        row.model: Kept(
            applied=msgspec.json.decode(row.applied, type=Desired | None), report=decode(row.report, ModelReport)
        )
        for row in conn.execute(query)
    }


def remember(conn: Connection, repository: int, report: ModelReport, applied: Desired | None, at_us: int) -> None:
    """Write down what was taken of a model and what is said of it."""
    here = (repository_models.c.repository_id == repository) & (repository_models.c.model == report.model)
    values = {"applied": encode(applied), "report": encode(report), "at_us": at_us}
    if conn.execute(select(repository_models.c.id).where(here)).first() is not None:
        conn.execute(update(repository_models).where(here).values(**values))
    else:
        conn.execute(insert(repository_models).values(repository_id=repository, model=report.model, **values))


def forget(conn: Connection, repository: int, model: str) -> None:
    """Say no more of a model of which nothing was taken."""
    here = (repository_models.c.repository_id == repository) & (repository_models.c.model == model)
    conn.execute(delete(repository_models).where(here))


def listed(conn: Connection) -> list[Repository]:
    """All repositories with what is said of their models, in the order in which they came."""
    query = select(repository_models).order_by(repository_models.c.model)
    reports: dict[int, list[ModelReport]] = {}
    for row in conn.execute(query):
        reports.setdefault(row.repository_id, []).append(decode(row.report, ModelReport))
    return [
        Repository(
            id=row.id,
            path=row.path,
            kind=row.kind,
            fault=row.fault,
            looked_us=row.at_us,
            models=tuple(reports.get(row.id, ())),
        )
        for row in conn.execute(select(repositories).order_by(repositories.c.id))
    ]
