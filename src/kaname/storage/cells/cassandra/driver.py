"""The one module that knows the driver: connections, prepared statements, what is tried again, errors."""

from __future__ import annotations

import atexit
import contextlib
import logging
import re
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast
from weakref import WeakSet

import msgspec

from kaname.errors import DeadlineExceeded, InvalidInput, KanameError, MissingDependency, NotFound, Unavailable
from kaname.secret import Secret

try:
    import cassandra
    from cassandra import ConsistencyLevel, WriteType
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.connection import ConnectionException, ConnectionShutdown
    from cassandra.policies import (
        ConstantReconnectionPolicy,
        ConstantSpeculativeExecutionPolicy,
        DCAwareRoundRobinPolicy,
        RetryPolicy,
        TokenAwarePolicy,
    )
    from cassandra.query import BatchStatement, BatchType, tuple_factory
except ImportError as error:
    raise MissingDependency.of("cassandra-driver", "cassandra", "cells in Cassandra") from error

RETRIES = 2
"""How often a statement is sent to a further node after one has failed it."""
HEARTBEAT_S = 2.0
"""How often an idle connection is tried, how long it may take to answer, and how long to wait before another try."""
NO_TABLE = re.compile(r"unconfigured table|\btable \S+ does not exist")
"""What nodes say of a table that was dropped, or that another process is about to make."""

FAULTS = (
    cassandra.DriverException, cassandra.UnresolvableContactPoints, NoHostAvailable, ConnectionException, OSError,
)  # fmt: skip

for _name in ("cassandra.cluster", "cassandra.pool", "cassandra.connection"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # what a caller should know, the caller is told


class Nodes(msgspec.Struct, frozen=True, kw_only=True):
    """Where a cluster is, and how it is asked."""

    addresses: tuple[tuple[str, int], ...]
    """Host and port of nodes to begin with; they name the others."""
    datacenter: str | None = None
    """Whose nodes are asked; None: that of the first host that answers."""
    consistency: str = "local_quorum"
    timeout_s: float = 2.0
    """Longest wait for the answer to one statement, with all that is tried again."""
    hedge_s: float = 0.1
    """Another node is asked as well when one has not answered so long; 0: never."""
    user: str | None = None
    password: Secret | None = None
    ca_file: str | None = None
    """Authorities that vouch for the nodes, with TLS; None: without TLS."""
    settings: str = "cells.NAME"
    """Where all this is said, for errors."""


class Answer(Protocol):
    """A statement on its way."""

    def rows(self) -> list[tuple[object, ...]]:
        """Its rows, when they are there. Raises NotFound, Unavailable, DeadlineExceeded."""


class Statement(NamedTuple):
    """A prepared statement with its values."""

    prepared: object
    values: Sequence[object]


class _Again(RetryPolicy):  # type: ignore[misc]  # the driver has no types
    """Whatever is idempotent goes to the next node, a few times; nothing else does. Nothing does once a session closes:
    the driver would not send it, and not say so."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing

    def on_read_timeout(self, query: object, *of: object, retry_num: int, **_: object) -> tuple[int, None]:
        return self._next(retry_num)

    def on_write_timeout(
        self, query: object, consistency: int, write_type: int, *of: object, retry_num: int, **_: object
    ) -> tuple[int, None]:
        return self._next(retry_num) if write_type != WriteType.CAS else (self.RETHROW, None)

    def on_unavailable(self, query: object, *of: object, retry_num: int, **_: object) -> tuple[int, None]:
        return self._next(retry_num)

    def on_request_error(self, query: object, consistency: int, error: Exception, retry_num: int) -> tuple[int, None]:
        return self._next(retry_num) if getattr(query, "is_idempotent", False) else (self.RETHROW, None)

    def _next(self, tried: int) -> tuple[int, None]:
        again = tried < RETRIES and not self._closing.is_set()
        return (self.RETRY_NEXT_HOST if again else self.RETHROW), None


class _Sent:
    """An `Answer` of the driver."""

    def __init__(self, future: object, where: str) -> None:
        self._future = future
        self._where = where

    def rows(self) -> list[tuple[object, ...]]:
        with telling(self._where):
            return cast("list[tuple[object, ...]]", self._future.result().all())  # type: ignore[attr-defined]  # a ResponseFuture


class Session:
    """Connections to a cluster, for all threads of a process. Raises Unavailable when no node answers."""

    def __init__(self, nodes: Nodes) -> None:
        self.where = ", ".join(f"{host}:{port}" for host, port in nodes.addresses)
        self._closing = threading.Event()
        self._cluster = _cluster(nodes, self._closing)
        try:
            self._session = self._cluster.connect()
        except BaseException as error:
            self._cluster.shutdown()
            if isinstance(error, FAULTS):
                raise _refusal(error, nodes) or _told(error, self.where) from error
            raise
        _open.add(self)

    @property
    def nodes(self) -> int:
        """How many nodes the cluster has, as far as it is known."""
        return len(self._cluster.metadata.all_hosts())

    def prepare(self, text: str, *, once: bool = False) -> object:
        """A statement for `start`; `once`: one that must not be sent twice."""
        with telling(self.where):
            prepared = self._session.prepare(text)
        prepared.is_idempotent = not once
        return prepared

    def run(self, text: str, *values: object) -> list[tuple[object, ...]]:
        """Have a statement run that is seldom run."""
        with telling(self.where):
            found = self._session.execute(text, values or None)
            return cast("list[tuple[object, ...]]", found.all())

    def start(self, statement: Statement) -> Answer:
        """Send a statement."""
        with telling(self.where):
            return _Sent(self._session.execute_async(statement.prepared, statement.values), self.where)

    def ask(self, prepared: object, *values: object) -> list[tuple[object, ...]]:
        """Send a statement and wait for its rows."""
        return self.start(Statement(prepared, values)).rows()

    def start_together(self, statements: Sequence[Statement]) -> Answer:
        """Send statements on one partition, which applies all of them or none."""
        if len(statements) == 1:
            return self.start(statements[0])
        batch = BatchStatement(BatchType.UNLOGGED)
        for statement in statements:
            batch.add(statement.prepared, statement.values)
        batch.is_idempotent = True
        with telling(self.where):
            return _Sent(self._session.execute_async(batch), self.where)

    def close(self) -> None:
        """Let go of the connections. Whoever waits for an answer is told."""
        self._closing.set()
        self._cluster.shutdown()


_open: WeakSet[Session] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Before the driver ends its threads."""
    for session in list(_open):
        session.close()


def _cluster(nodes: Nodes, closing: threading.Event) -> Cluster:
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(nodes.datacenter or "")),
        retry_policy=_Again(closing),
        consistency_level=ConsistencyLevel.name_to_value[nodes.consistency.upper()],
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=nodes.timeout_s,
        row_factory=tuple_factory,
        speculative_execution_policy=ConstantSpeculativeExecutionPolicy(nodes.hedge_s, 1) if nodes.hedge_s else None,
    )
    password = "" if nodes.password is None else nodes.password.reveal()
    return Cluster(
        nodes.addresses,
        port=nodes.addresses[0][1],  # of nodes that are named by others
        auth_provider=None if nodes.user is None else PlainTextAuthProvider(nodes.user, password),
        ssl_context=None if nodes.ca_file is None else _trusting(nodes.ca_file, nodes.settings),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ConstantReconnectionPolicy(HEARTBEAT_S / 2, max_attempts=None),
        connect_timeout=nodes.timeout_s,
        control_connection_timeout=nodes.timeout_s,
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=HEARTBEAT_S,
    )


def _trusting(ca_file: str, settings: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # of ssl, too
        raise InvalidInput("unusable certificates", where=f"{settings}.ca_file", found=f"{ca_file}: {error}") from error


def _refusal(error: Exception, nodes: Nodes) -> Unavailable | None:
    """Why nodes do not let us in, by the setting that should be another; None: it is something else."""
    said = getattr(error, "errors", None)
    for reason in said.values() if isinstance(said, dict) else [error]:
        found = " ".join(str(reason).split())[:300]
        if (setting := _setting(reason, found, nodes)) is not None:
            name, message, expected = setting
            return Unavailable(message, where=f"{nodes.settings}.{name}", found=found, expected=expected)
    return None


def _setting(reason: Exception, found: str, nodes: Nodes) -> tuple[str, str, str] | None:
    if isinstance(reason, cassandra.AuthenticationFailed):
        expected = "a role of Cassandra that may log in, and its password"
        if nodes.user is None:
            return "user", "Cassandra wants to know who asks", expected
        return "password", "Cassandra refuses this user or password", expected
    if "CERTIFICATE_VERIFY_FAILED" in found:
        expected = "the authorities of the nodes' certificates, and in these the nodes' addresses"
        return "ca_file", "nobody vouches for a node of Cassandra", expected
    if isinstance(reason, ConnectionResetError | ConnectionShutdown) and nodes.ca_file is None:
        return (
            "ca_file",
            "a node of Cassandra hangs up before it is asked",
            "the authorities of the nodes, if they want TLS",
        )
    if "SSL" in found:
        return "ca_file", "a node of Cassandra does not speak TLS", "TLS there, or no ca_file"
    return None


@contextmanager
def telling(where: str) -> Iterator[None]:
    """Errors of the driver as those of the platform."""
    try:
        yield
    except FAULTS as error:
        raise _told(error, where) from error


def _told(error: Exception, where: str) -> KanameError:
    found = " ".join(_said(error).split())[:300]
    if isinstance(error, cassandra.OperationTimedOut | cassandra.Timeout):
        return DeadlineExceeded("Cassandra did not answer in time", where=where, found=found)
    if isinstance(error, cassandra.InvalidRequest) and NO_TABLE.search(found):
        return NotFound("the table is not there yet, or no longer", where=where, found=found)
    if isinstance(error, cassandra.Unauthorized):
        expected = "CREATE, ALTER, DROP, SELECT and MODIFY on the keyspace for the role that asks"
        return Unavailable("Cassandra does not allow this", where=where, found=found, expected=expected)
    if _only_late(error):
        return DeadlineExceeded("no node of Cassandra answered in time", where=where, found=found)
    return Unavailable("Cassandra cannot answer", where=where, found=found)


def _said(error: Exception) -> str:
    """What the nodes said; of none of which there was another answer, each node's reason."""
    return "; ".join(f"{node}: {reason}" for node, reason in _reasons(error).items()) or str(error)


def _reasons(error: Exception) -> dict[object, Exception]:
    """Why each node that was asked gave no answer; empty where it was one that said no."""
    errors = getattr(error, "errors", None)
    return errors if isinstance(error, NoHostAvailable) and isinstance(errors, dict) else {}


def _only_late(error: Exception) -> bool:
    reasons = _reasons(error).values()
    return bool(reasons) and all(isinstance(one, cassandra.OperationTimedOut) for one in reasons)


def settle(pending: Iterable[Answer]) -> None:
    """Wait for what is still on its way after an error, whatever comes of it: nothing follows the error."""
    for answer in pending:
        with contextlib.suppress(KanameError):
            answer.rows()
