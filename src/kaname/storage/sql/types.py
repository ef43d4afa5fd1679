"""What the control plane's database needs of the program behind it: a file (SQLite) or a server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection, Engine

from kaname.errors import KanameError


class Watch(Protocol):
    """Answers one question often: has the journal moved?"""

    def number(self) -> int:
        """The number of the last committed change."""

    def close(self) -> None:
        """Give back what it holds; `number` is not called afterwards."""


class Backend(Protocol):
    """One kind of database, opened at one place."""

    engine: Engine
    place: str
    """Where the database is, for people; never with a password."""
    is_server: bool
    """Whether it answers over a connection, to other machines as well; else it is a file of this machine."""

    def is_gone(self) -> bool:
        """Whether what was there before is there no more, as far as can be seen without a connection."""

    def begin(self, conn: Connection, *, writing: bool) -> AbstractContextManager[object]:
        """A transaction on a fresh connection: one that sees one state throughout, or one that no other writer
        overlaps and that sees what they committed."""

    def is_prepared(self, conn: Connection) -> bool:
        """Whether the database as a whole, its tables aside, is set up as it should be."""

    def migrating(self) -> AbstractContextManager[Connection]:
        """A connection that may change the schema, alone among all processes; one transaction where there are such."""

    def explain(self, error: Exception) -> KanameError | None:
        """What disk, network or another process did to us, in words; None when it was none of them."""

    def watch(self) -> Watch:
        """A fresh watch."""
