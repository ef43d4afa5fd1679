"""The tables of one shard: requests, the models that they name, and how far the event log is in them.

The columns that the design names come first (`request_id` to `created_at`, `model_id` to `created_at`), with its
indexes; what else is worth having stands behind them. Times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    event,
    func,
    inspect,
    text,
)
from sqlalchemy.dialects.mysql import TIMESTAMP
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

metadata = MetaData()


class Json(UserDefinedType[str]):
    """JSON, given as text."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Its name, the same everywhere."""
        return "JSON"


class Moment(TypeDecorator[datetime]):
    """A time to the microsecond, UTC whatever the database makes of zones."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """MariaDB keeps whole seconds unless told otherwise."""
        of_mysql = dialect.name in ("mysql", "mariadb")
        return dialect.type_descriptor(TIMESTAMP(fsp=6) if of_mysql else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Without its zone where the database has none."""
        return value if value is None or dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """With its zone."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


registered_models = Table(
    "registered_models",
    metadata,
    Column("model_id", BigInteger, primary_key=True, autoincrement=False),
    Column("model_name", String(200), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("model_path", String(500), nullable=False),
    Column("model_type", String(32), nullable=False),
    Column("status", String(16), nullable=False, server_default="training"),
    Column("accuracy", Numeric(10, 6), nullable=True),
    Column("created_at", Moment, nullable=False, server_default=func.current_timestamp()),
    Index("idx_model_name_version", "model_name", "model_version"),
    Index("idx_status", "status"),
)
"""What the view `models` shows."""

inference_requests = Table(
    "inference_requests",
    metadata,
    Column("request_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("model_id", BigInteger, ForeignKey("registered_models.model_id"), nullable=False),
    Column("input_data", Json, nullable=False),
    Column("output_data", Json, nullable=True),
    Column("latency_ms", Integer, nullable=True),
    Column("created_at", Moment, nullable=False, server_default=func.current_timestamp()),
    Column("request_key", String(128), nullable=False, index=True),
    Column("model_version", String(64), nullable=False),
    Column("api_key_id", String(64), nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("error", Json, nullable=True),
    Column("trace_id", String(32), nullable=True),
)
Index("idx_model_id_created_at", inference_requests.c.model_id, inference_requests.c.created_at.desc())
of_traces = Index("idx_trace_id", inference_requests.c.trace_id)

sink_offsets = Table(
    "sink_offsets",
    metadata,
    Column("source", String(32), primary_key=True),
    Column("log_partition", String(255), primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)
"""Up to where the events of a partition of a node's log are in these tables; moved in the transaction that writes the
rows, so that each is there once."""

_VIEW = (
    "CREATE VIEW models AS SELECT model_id, model_name, model_version, model_path, model_type, status, accuracy, "
    "created_at FROM registered_models"
)


@event.listens_for(metadata, "after_create")
def _create_view(_: MetaData, conn: Connection, **options: Any) -> None:
    if registered_models in (options.get("tables") or ()):
        conn.execute(text(_VIEW))


def upgrade(conn: Connection) -> None:
    """Give tables of an earlier version what they lack. Those who write to them meanwhile go on: it may be empty."""
    there = inspect(conn)
    if "trace_id" not in {column["name"] for column in there.get_columns("inference_requests")}:
        conn.execute(text("ALTER TABLE inference_requests ADD COLUMN trace_id VARCHAR(32)"))
    if of_traces.name not in {index["name"] for index in there.get_indexes("inference_requests")}:
        of_traces.create(conn)
