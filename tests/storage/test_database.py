"""The control plane's database: transactions, the journal's numbers, several processes, migrations."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.dialects import registry
from sqlalchemy.schema import CreateTable

import kaname.stores  # noqa: F401  (adds all tables to the metadata)
from kaname.errors import CorruptData, InvalidInput, Unavailable
from kaname.storage.sql import journal, upgrade
from kaname.storage.sql.database import Database
from kaname.storage.sql.schema import metadata
from tests.databases import Create, backend_at, open_at

SPAWN = multiprocessing.get_context("spawn")


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'control.db'}"


def change(database: Database, who: str = "test") -> int:
    with database.write() as conn:
        return journal.append(conn, at_us=1, who=who, action="test", subject="s", detail={"n": [1, "ü"]})


def append_many(address: str, who: str, count: int) -> None:
    database = open_at(address)
    for _ in range(count):
        change(database, who)
    database.close()


def open_and_die(address: str) -> None:
    @event.listens_for(Engine, "before_cursor_execute")
    def die(*arguments: object) -> None:
        if re.search(r"CREATE TABLE (IF NOT EXISTS )?promotions", str(arguments[2])):
            os.kill(os.getpid(), signal.SIGKILL)

    open_at(address)


def open_together(address: str, barrier: threading.Barrier) -> None:
    barrier.wait()
    open_at(address).close()


def test_a_change_reads_back_as_it_was_written(url: str) -> None:
    """A journal row keeps who, what, when and its detail."""
    database = open_at(url)
    assert change(database, "ann") == 1
    with database.read() as conn:
        assert journal.changes(conn) == [
            journal.Change(seq=1, at_us=1, who="ann", action="test", subject="s", detail={"n": [1, "ü"]})
        ]
        assert journal.changes(conn, after=1) == []
    database.close()


def test_a_failed_transaction_leaves_neither_row_nor_gap(url: str) -> None:
    """The number of a rolled back change is given to the next one."""
    database = open_at(url)
    change(database)

    def fail() -> None:
        with database.write() as conn:
            journal.append(conn, at_us=1, who="x", action="a", subject="s", detail={})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert database.journal_number() == 1
    assert change(database) == 2
    database.close()


def test_overlong_names_are_refused_before_a_strict_database_would(url: str) -> None:
    """SQLite ignores the length of a column; the journal does not."""
    database = open_at(url)
    with pytest.raises(InvalidInput, match="too long"):
        change(database, "w" * 129)
    assert database.journal_number() == 0
    database.close()


def test_readers_see_one_state_and_the_watch_sees_each_commit(url: str) -> None:
    """A read that began before a commit does not see it; the poll right after it does, from this process or another."""
    database, other = open_at(url), open_at(url)
    change(database)
    with database.read() as conn:
        assert journal.latest(conn) == 1
        change(other)
        assert journal.latest(conn) == 1
        assert database.journal_number() == 2
    for number in range(3, 30):
        change(other if number % 2 else database)
        assert (database.journal_number(), other.journal_number()) == (number, number)
    database.close()
    other.close()


@pytest.mark.slow
def test_processes_and_threads_number_their_changes_without_gap(url: str) -> None:
    """Three processes and two threads write at once: every change is there once, numbered 1 to n."""
    database = open_at(url)
    seen = [0]
    processes = [SPAWN.Process(target=append_many, args=(url, f"p{i}", 40)) for i in range(3)]
    threads = [threading.Thread(target=lambda: [change(database, "t") for _ in range(20)]) for _ in range(2)]
    workers: list[threading.Thread | multiprocessing.process.BaseProcess] = [*processes, *threads]
    for each in workers:
        each.start()
    while any(process.is_alive() for process in processes):
        number = database.journal_number()
        assert number >= seen[-1], "the journal went back"
        with database.read() as conn:
            assert [row.seq for row in journal.changes(conn, 0, 1000)][:number] == list(range(1, number + 1))
        seen.append(number)
    for each in workers:
        each.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with database.read() as conn:
        rows = journal.changes(conn, 0, 1000)
    assert [row.seq for row in rows] == list(range(1, 161))
    assert sorted({row.who for row in rows}) == ["p0", "p1", "p2", "t"]
    database.close()


def test_a_writer_that_waits_too_long_is_told_who_is_in_its_way(tmp_path: Path) -> None:
    """A foreign lock ends in Unavailable with a time to retry after, not in a driver's exception."""
    database = Database.open(sqlite(tmp_path), busy_s=0.05)
    blocker = sqlite3.connect(tmp_path / "control.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="another process holds it") as caught:
        change(database)
    assert caught.value.retry_after_s == 1.0
    blocker.execute("ROLLBACK")
    blocker.close()
    assert change(database) == 1
    database.close()


@pytest.mark.parametrize(
    "address",
    ["sqlite://", "sqlite:///:memory:", "postgresql://h", "postgresql:///d", "oracle://h/d", "", "sqlite:nonsense"],
)
def test_other_databases_are_refused_with_what_is_expected(address: str) -> None:
    """Only a file or a server can be shared by the processes of a project."""
    with pytest.raises(InvalidInput, match="sqlite:///PATH"):
        Database.open(address)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mariadb"])
def test_a_password_in_a_url_is_refused_and_not_shown(kind: str) -> None:
    """A URL is printed, logged and kept in files; the error says where a password belongs."""
    with pytest.raises(InvalidInput, match="KANAME_DATABASE__PASSWORD") as caught:
        Database.open(f"{kind}://me:hush@h/d")
    assert "hush" not in str(caught.value)


@pytest.mark.slow
def test_processes_that_open_a_new_project_at_once_migrate_it_once(create: Create) -> None:
    """A migration race has one winner and no loser."""
    address = create()
    barrier = SPAWN.Barrier(4)
    processes = [SPAWN.Process(target=open_together, args=(address, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    database = open_at(address)
    assert change(database) == 1
    database.close()


@pytest.mark.slow
def test_a_process_killed_while_it_migrates_leaves_nothing_in_the_way(create: Create) -> None:
    """After kill -9 between two tables the next process makes the rest; where a transaction can hold all of it, there
    was nothing left."""
    address = create()
    process = SPAWN.Process(target=open_and_die, args=(address,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    backend = backend_at(address)
    if not address.startswith("mariadb"):
        assert inspect(backend.engine).get_table_names() == []
    backend.engine.dispose()
    database = open_at(address)
    assert change(database) == 1
    database.close()


def test_the_revisions_are_one_numbered_line() -> None:
    """File numbers, which the quick check reads, agree with the chain that Alembic follows."""
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    chain = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert chain[::-1] == upgrade.revisions()


@pytest.mark.parametrize("name", ["postgresql", "mysql"])
def test_the_tables_are_sayable_in_other_databases(name: str) -> None:
    """No table uses a type that PostgreSQL or MariaDB cannot create."""
    dialect = registry.load(name)()
    for table in metadata.sorted_tables:
        statement = str(CreateTable(table).compile(dialect=dialect))
        assert "AUTOINCREMENT" not in statement
        # PostgreSQL knows TEXT without a length only.
        assert name != "postgresql" or "TEXT(" not in statement


def test_a_connection_enforces_foreign_keys_and_full_sync(tmp_path: Path) -> None:
    """Each pooled connection, the one that migrated included, has the safe settings."""
    database = Database.open(sqlite(tmp_path))
    for _ in range(2):
        with database.read() as conn:
            settings = [conn.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("foreign_keys", "synchronous")]
            assert [*settings, conn.execute(text("PRAGMA journal_mode")).scalar_one()] == [1, 2, "wal"]
    database.close()


def test_a_database_opened_later_is_never_made_anew(tmp_path: Path) -> None:
    """A worker that starts while the file is gone or damaged can be built; each use says why it cannot be used."""
    gone = Database.later(sqlite(tmp_path))
    with pytest.raises(Unavailable, match="gone"):
        gone.journal_number()
    assert not list(tmp_path.glob("*.db"))
    Database.open(sqlite(tmp_path)).close()
    assert gone.journal_number() == 0
    gone.close()
    for leftover in tmp_path.glob("*.db-*"):
        leftover.unlink()
    file = next(tmp_path.glob("*.db"))
    file.write_bytes(b"\xa5" * 8192)
    with pytest.raises(CorruptData, match="damaged"):
        Database.later(sqlite(tmp_path)).journal_number()
    with pytest.raises(CorruptData, match="damaged"):
        Database.open(sqlite(tmp_path))
