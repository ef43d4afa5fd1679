"""The table of batch jobs, and rows as facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Row, String, Table, func, insert, select, update

from kaname.batch.types import Options
from kaname.errors import NotFound
from kaname.storage.sql.schema import LongText, metadata

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[JobStatus, ...] = ("done", "failed", "cancelled")
GOING: tuple[JobStatus, ...] = ("queued", "running")

batch_jobs = Table(
    "batch_jobs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("owner", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("version_id", Integer, nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("input", LongText, nullable=False),
    Column("options", LongText, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bad", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("error", LongText, nullable=True),
    Column("created_us", BigInteger, nullable=False),
    Column("started_us", BigInteger, nullable=True),
    Column("ended_us", BigInteger, nullable=True),
    Column("node", String(32), nullable=True),
    Index("ix_batch_jobs_owner", "owner", "created_us"),
    sqlite_autoincrement=True,
)
"""`input`: a path inside the project's `data/`, or empty for a file that came with the request. `node`: whose files
they are."""


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed."""

    code: str
    detail: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job. `done` of `total` is how far the input is read: bytes, or rows of a Parquet file."""

    id: str
    number: int
    owner: str
    """The API key's id; `cli:…` for a job made at the command line."""
    model: str
    version: str
    version_id: int
    status: JobStatus
    input: str
    """Path below the project's `data/`; empty for a file that came with the request."""
    options: Options
    rows: int
    bad: int
    done: int
    total: int
    error: JobError | None
    created_us: int
    started_us: int | None
    ended_us: int | None
    node: str | None = None
    """The node that has the job's files and does it; None: whichever looks."""


def add(conn: Connection, values: dict[str, Any]) -> JobInfo:
    """Insert a job; `options` as a Struct."""
    fresh = {"status": "queued", "rows": 0, "bad": 0, "done": 0, "total": 0}
    text = msgspec.json.encode(values["options"]).decode()
    conn.execute(insert(batch_jobs).values(**fresh, **values | {"options": text}))
    return find(conn, values["id"])


def find(conn: Connection, job_id: str) -> JobInfo:
    """One job. Raises NotFound."""
    row = conn.execute(select(batch_jobs).where(batch_jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise NotFound("no such batch job", where="job", found=job_id)
    return _info(row)


def newest(conn: Connection, owner: str | None, before: int | None, limit: int) -> list[JobInfo]:
    """Jobs with numbers below `before`, the newest first; of one owner, or of all."""
    query = select(batch_jobs).order_by(batch_jobs.c.number.desc()).limit(limit)
    if owner is not None:
        query = query.where(batch_jobs.c.owner == owner)
    if before is not None:
        query = query.where(batch_jobs.c.number < before)
    return [_info(row) for row in conn.execute(query)]


def unfinished(conn: Connection, node: str) -> list[JobInfo]:
    """Jobs of a node that have not ended, in the order they were made."""
    here = batch_jobs.c.node.is_(None) | (batch_jobs.c.node == node)
    going = batch_jobs.c.status.in_(GOING)
    query = select(batch_jobs).where(going & here).order_by(batch_jobs.c.number)
    return [_info(row) for row in conn.execute(query)]


def ended_before(conn: Connection, at_us: int) -> list[str]:
    """Ids of the jobs that ended before a moment."""
    return [row.id for row in conn.execute(select(batch_jobs.c.id).where(batch_jobs.c.ended_us < at_us))]


def created_since(conn: Connection, owner: str, at_us: int) -> tuple[int, int | None]:
    """How many jobs an owner made after a moment, and when the first of them."""
    mine = (batch_jobs.c.owner == owner) & (batch_jobs.c.created_us > at_us)
    count, first = conn.execute(select(func.count(), func.min(batch_jobs.c.created_us)).where(mine)).one()
    return int(count), first


def change(conn: Connection, job_id: str, *, only: Sequence[JobStatus] = GOING, **values: Any) -> bool:
    """Set columns of a job whose status is one of `only`, in one statement; whether it was. Of a job that has ended
    nothing changes any more."""
    if "error" in values and values["error"] is not None:
        values["error"] = msgspec.json.encode(values["error"]).decode()
    there = (batch_jobs.c.id == job_id) & batch_jobs.c.status.in_(only)
    return conn.execute(update(batch_jobs).where(there).values(**values)).rowcount == 1


def _info(row: Row[Any]) -> JobInfo:
    values = dict(row._mapping)
    values["options"] = msgspec.json.decode(values["options"], type=Options)
    values["error"] = None if values["error"] is None else msgspec.json.decode(values["error"], type=JobError)
    return JobInfo(**values)
