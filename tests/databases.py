"""Databases for tests: SQLite files, and databases of a real PostgreSQL and a real MariaDB.

Servers are started once per process, with a time zone and a collation that differ from what Kaname wants. Empty
databases of SQLite and PostgreSQL are copies of one that is migrated, which is many times faster.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

import psycopg
import pymysql
import pytest

from kaname.storage.sql.address import backend_of
from kaname.storage.sql.database import Database
from kaname.storage.sql.types import Backend
from tests.processes import stand_still
from tests.servers import RealServer, free_port, listens, program

PASSWORD = "p@ss/w:rd é"
USER = "kaname"


@cache
def _migrated() -> Path:
    """An empty database."""
    path = Path(tempfile.mkdtemp()) / "empty.db"
    atexit.register(shutil.rmtree, path.parent)
    Database.open(f"sqlite:///{path}").close()
    return path


def open_database(path: Path) -> Database:
    """The database at `path`, an empty one when there is none."""
    if not path.exists():
        shutil.copyfile(_migrated(), path)
    return Database.open(f"sqlite:///{path}")


def backend_at(url: str, timeout_s: float = 10.0) -> Backend:
    """What a Database at `url` stands on."""
    return backend_of(url, PASSWORD, busy_s=10.0, timeout_s=timeout_s)


def open_at(url: str, *, timeout_s: float = 10.0) -> Database:
    """The database at `url`, as the tests' user."""
    return Database.open(url, password=PASSWORD, timeout_s=timeout_s)


class DatabaseServer:
    """A real server, as tests use it; each `create` makes one more empty database without tables."""

    def __init__(self, kind: str, server: RealServer, port: int) -> None:
        self.kind = kind
        self.server = server
        self.port = port
        self._names = (f"t{number}" for number in count())
        self._template: str | None = None

    def url(self, name: str) -> str:
        """Without the password."""
        return f"{self.kind}://{USER}@127.0.0.1:{self.port}/{name}"

    def create(self) -> str:
        """The URL of a new database without tables."""
        name = next(self._names)
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def migrated(self) -> str:
        """The URL of a new database with the tables of the present schema."""
        if self.kind != "postgresql":
            url = self.create()
            open_at(url).close()
            return url
        if self._template is None:
            url = self.create()
            open_at(url).close()
            self._template = url.rpartition("/")[2]
        name = next(self._names)
        self.run(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self.url(name)

    def stop(self) -> None:
        """End it in an orderly way, whoever is connected."""
        self.server.stop(signal.SIGINT if self.kind == "postgresql" else signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of every process of it."""
        self._signal(signal.SIGKILL)
        self.server.kill()

    def freeze(self) -> None:
        """Connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)
        for pid in self._pids():
            stand_still(pid)

    def thaw(self) -> None:
        """The end of `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):  # a connection may end at any moment, and its process with it
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """The server and its children: PostgreSQL has a process for each connection."""
        assert self.server.process is not None
        first = self.server.process.pid
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    def run(self, statement: str, name: str | None = None) -> list[tuple[object, ...]]:
        """Run one statement outside of Kaname and of any transaction; returns its rows."""
        if self.kind == "postgresql":
            with psycopg.connect(
                host="127.0.0.1",
                port=self.port,
                user=USER,
                password=PASSWORD,
                dbname=name or "postgres",
                autocommit=True,
            ) as conn:
                found = conn.execute(statement.encode())
                return found.fetchall() if found.description else []
        with (
            pymysql.connect(
                host="127.0.0.1", port=self.port, user=USER, password=PASSWORD.encode(), database=name, autocommit=True
            ) as conn,
            conn.cursor() as cursor,
        ):
            cursor.execute(statement)
            return list(cursor.fetchall())


@contextmanager
def postgres_server(*options: str) -> Iterator[DatabaseServer]:
    """A PostgreSQL of its own, in Japan's time zone and with a collation that ignores case when it sorts."""
    initdb, postgres = program("initdb", "postgresql"), program("postgres", "postgresql")
    with _folder("postgres") as folder:
        (folder / "password").write_text(PASSWORD)
        data = folder / "data"
        make = [initdb, "-D", str(data), "-U", USER, "-E", "UTF8", "--no-sync", "--auth=scram-sha-256", "--locale=C"]
        make += ["--locale-provider=icu", "--icu-locale=en-US", f"--pwfile={folder / 'password'}"]
        _as_user("postgres", make, folder)
        port = free_port()
        settings = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off"]
        settings += ["timezone=Asia/Tokyo", "max_connections=200", "shared_buffers=32MB", *options]
        command = [postgres, "-D", str(data), *(part for one in settings for part in ("-c", one))]

        def ready() -> bool:
            try:
                psycopg.connect(
                    host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres", connect_timeout=2
                ).close()
            except psycopg.OperationalError:
                return False
            return True

        with RealServer(command, folder, ready, user="postgres") as server:
            yield DatabaseServer("postgresql", server, port)
            server.kill()


@contextmanager
def standby_of(primary: DatabaseServer) -> Iterator[DatabaseServer]:
    """A hot standby of a PostgreSQL, which streams what that commits."""
    backup, postgres = program("pg_basebackup", "postgresql"), program("postgres", "postgresql")
    with _folder("postgres") as folder:
        data, port = folder / "data", free_port()
        _as_user(
            "postgres",
            [backup, "-D", str(data), "-h", "127.0.0.1", "-p", str(primary.port), "-U", USER, "-R", "-c", "fast"],
            folder,
            PGPASSWORD=PASSWORD,
        )
        settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
        command = [postgres, "-D", str(data), *(part for one in settings for part in ("-c", one))]
        with RealServer(command, folder, lambda: listens(port), user="postgres") as server:
            yield DatabaseServer("postgresql", server, port)
            server.kill()


@contextmanager
def mariadb_server() -> Iterator[DatabaseServer]:
    """A MariaDB of its own, in Japan's time zone and with a collation that ignores case and accents."""
    mariadbd, install = program("mariadbd", "mariadb-server"), program("mariadb-install-db", "mariadb-server")
    with _folder("mysql") as folder:
        data, init = folder / "data", folder / "init.sql"
        _as_user("mysql", [install, f"--datadir={data}", "--skip-test-db", "--skip-name-resolve"], folder)
        init.write_text(
            f"CREATE USER IF NOT EXISTS {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO {USER}@'127.0.0.1';\n"
        )
        port = free_port()
        command = [mariadbd, "--no-defaults", f"--datadir={data}", f"--socket={folder / 's'}", f"--port={port}"]
        command += ["--bind-address=127.0.0.1", f"--init-file={init}", f"--pid-file={folder / 'pid'}"]
        command += ["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"]
        command += ["--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--skip-name-resolve"]
        command += ["--default-time-zone=+09:00", "--transaction-isolation=READ-UNCOMMITTED", "--sql-mode="]
        command += ["--max-connections=200"]
        with RealServer(command, folder, lambda: listens(port), user="mysql") as server:
            yield DatabaseServer("mariadb", server, port)
            server.kill()  # it would write everything out first


@contextmanager
def _folder(user: str) -> Iterator[Path]:
    """A folder that the user of a server may enter: pytest's own are closed to others. In memory where that can be:
    what a killed server has written is kept there, too, and nobody waits for a disk."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    folder = Path(tempfile.mkdtemp(prefix=f"kaname-{user}-", dir=memory if roomy else None))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user(user: str, command: list[str], folder: Path, **environ: str) -> None:
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environ},
        user=user if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="session")
def postgres() -> Iterator[DatabaseServer]:
    """The PostgreSQL that the tests of this process share: they neither stop nor freeze it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """The MariaDB that the tests of this process share: they neither stop nor freeze it."""
    with mariadb_server() as server:
        yield server


KINDS = ["sqlite", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("postgresql", "mariadb"))]
"""The quick tests are content with SQLite; nothing but their number makes the others slow."""
Create = Callable[[], str]


@pytest.fixture(params=KINDS)
def create(request: pytest.FixtureRequest, tmp_path: Path) -> Create:
    """Makes empty databases without tables, on each kind of database; returns their URLs."""
    if request.param == "sqlite":
        numbers = count()
        return lambda: f"sqlite:///{tmp_path / f'control{next(numbers)}.db'}"
    name = {"postgresql": "postgres"}.get(request.param, request.param)
    server: DatabaseServer = request.getfixturevalue(name)
    return server.create


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database with all tables, on each kind of database."""
    if request.param == "sqlite":
        shutil.copyfile(_migrated(), tmp_path / "control.db")
        return f"sqlite:///{tmp_path / 'control.db'}"
    name = {"postgresql": "postgres"}.get(request.param, request.param)
    server: DatabaseServer = request.getfixturevalue(name)
    return server.migrated()
