"""The change journal: who changed what and when, numbered in commit order without gaps.

The number comes from a locked row that is updated in the same transaction as the change itself. So a change that is
rolled back leaves no gap, a reader that has seen number n has seen every change up to n, and a poller misses none (a
database sequence would promise neither).
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from kaname.errors import InvalidInput
from kaname.storage.sql.schema import journal, journal_head

_TAKEN = "kaname_change"
_LIMITS = {"who": 128, "action": 64, "subject": 255}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the control plane."""

    seq: int
    at_us: int
    """Microseconds since the Unix epoch, UTC."""
    who: str
    action: str
    """What was done: `model.promote`, `version.add`, `key.create`, …"""
    subject: str
    """What it was done to: `iris`, `iris/3`, a key's id."""
    detail: dict[str, Any]


def append(conn: Connection, *, at_us: int, who: str, action: str, subject: str, detail: dict[str, Any]) -> int:
    """Write one change within the transaction of `conn` and return its number, the first being 1.

    Raises InvalidInput when `who`, `action` or `subject` is longer than its column.
    """
    for field, value in (("who", who), ("action", action), ("subject", subject)):
        if len(value) > _LIMITS[field]:
            raise InvalidInput(
                "too long for the change journal",
                where=field,
                found=f"{len(value)} characters",
                expected=f"at most {_LIMITS[field]}",
            )
    conn.execute(update(journal_head).where(journal_head.c.id == 1).values(number=journal_head.c.number + 1))
    seq = latest(conn)
    row = {"seq": seq, "at_us": at_us, "who": who, "action": action, "subject": subject}
    conn.execute(insert(journal).values(**row, detail=msgspec.json.encode(detail).decode()))
    conn.info[_TAKEN] = seq
    return seq


def taken(conn: Connection) -> int | None:
    """The number of the last change written over `conn` since this was last asked; None: there was none."""
    found = conn.info.pop(_TAKEN, None)
    return None if found is None else int(found)


def latest(conn: Connection) -> int:
    """The number of the last change that this connection sees; 0 before the first."""
    return int(conn.execute(select(journal_head.c.number).where(journal_head.c.id == 1)).scalar_one())


def touched(conn: Connection, after: int, *, but: str) -> bool:
    """Whether there are changes with numbers above `after` whose action does not begin with `but`."""
    query = select(journal.c.seq).where(journal.c.seq > after, journal.c.action.not_like(f"{but}%")).limit(1)
    return conn.execute(query).first() is not None


def changes(conn: Connection, after: int = 0, limit: int = 100) -> list[Change]:
    """Up to `limit` changes with numbers above `after`, oldest first."""
    query = select(journal).where(journal.c.seq > after).order_by(journal.c.seq).limit(limit)
    return [
        Change(
            seq=row.seq,
            at_us=row.at_us,
            who=row.who,
            action=row.action,
            subject=row.subject,
            detail=msgspec.json.decode(row.detail),
        )
        for row in conn.execute(query)
    ]
