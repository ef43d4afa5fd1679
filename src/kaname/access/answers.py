"""Answers to requests with an Idempotency-Key, kept in SQL so that a retry may reach any worker."""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import ColumnElement, and_, delete, insert, select, update

from kaname.access.store import kept_answers as table
from kaname.clock import Clock
from kaname.errors import Conflict
from kaname.storage.sql.database import Database
from kaname.web.idempotency import ABANDONED_S, KEEP_S, StoredAnswer

_US = 1_000_000


class KeptAnswers:
    """Implements `web.idempotency.Answers`. Bodies are JSON text; of the caller's key only a hash is stored."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def begin(self, owner: str, key: str, fingerprint: str) -> StoredAnswer | None:
        """Claim the key, or return the answer kept for it; raises Conflict (see the Protocol)."""
        now_us = self._clock.time_ns() // 1000
        mine = _mine(owner, key)
        with self._database.write() as conn:
            expired = table.c.at_us < now_us - KEEP_S * _US
            abandoned = table.c.status.is_(None) & (table.c.at_us < now_us - ABANDONED_S * _US)
            conn.execute(delete(table).where(expired | abandoned))
            row = conn.execute(select(table).where(mine)).one_or_none()
            if row is None:
                values = {"owner": _owner(owner), "key_hash": _hash(key), "fingerprint": fingerprint, "at_us": now_us}
                conn.execute(insert(table).values(**values))
                return None
        if row.fingerprint != fingerprint:
            raise Conflict("the key was used for another request", where="Idempotency-Key", expected="a new key")
        if row.status is None:
            raise Conflict("the first request with this key is still in progress", where="Idempotency-Key")
        headers = msgspec.json.decode(row.headers, type=tuple[tuple[str, str], ...])
        return StoredAnswer(row.status, headers, row.body.encode())

    def finish(self, owner: str, key: str, fingerprint: str, answer: StoredAnswer) -> None:
        """Keep `answer` for the claimed key."""
        values = {
            "status": answer.status,
            "headers": msgspec.json.encode(answer.headers).decode(),
            "body": answer.body.decode(),
        }
        with self._database.write() as conn:
            conn.execute(update(table).where(_claimed(owner, key, fingerprint)).values(**values))

    def forget(self, owner: str, key: str, fingerprint: str) -> None:
        """Give the claimed key back."""
        with self._database.write() as conn:
            conn.execute(delete(table).where(_claimed(owner, key, fingerprint)))


def _mine(owner: str, key: str) -> ColumnElement[bool]:
    return and_(table.c.owner == _owner(owner), table.c.key_hash == _hash(key))


def _owner(name: str) -> str:
    """The name of an owner as the table has room for it: an API key's id, or 64 bits of a hash."""
    return name if len(name) < 16 else _hash(name)[:16]


def _claimed(owner: str, key: str, fingerprint: str) -> ColumnElement[bool]:
    """The claim of this very request: one that took longer than `ABANDONED_S` may have lost its key to another."""
    return and_(_mine(owner, key), table.c.fingerprint == fingerprint, table.c.status.is_(None))


def _hash(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=32).hexdigest()
