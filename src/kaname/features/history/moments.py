"""The moments at which writes became known.

That is not the time for which something was planned, nor the one at which it happened: a delay is a fact when the plane
has left, and may be known when the message about it has come. A history that says too early when something became
known teaches models with what nobody knew then. So a moment never lies in the future, and never before a time that its
row holds, unless the schema calls that time `planned`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from kaname.errors import InvalidInput
from kaname.features.refusing import refused, shown
from kaname.features.types import Relation, Row

At: TypeAlias = datetime | Sequence[datetime]
"""One moment for all rows, or one for each."""
Known: TypeAlias = datetime | str
"""One moment for all rows, or the name of the column that holds that of each."""

WRITTEN = "a time with its zone, as in 2026-01-31T12:00:00Z"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(0, 0, 1)


def moment_from(text: str, where: str) -> datetime:
    """The moment in a text. Raises InvalidInput."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput("not a moment", where=where, found=shown(text), expected=WRITTEN)
    return found


def known_from(at: str | None, column: str | None, where: str) -> Known | None:
    """What a person said of many rows, as a text or as the name of a column. Raises InvalidInput."""
    if at is not None and column is not None:
        raise InvalidInput(
            "a moment for all rows, and a column of moments", where=where, found=at, expected="one of the two"
        )
    return column if at is None else moment_from(at, where)


def moments_in(values: Sequence[object], column: str) -> list[datetime]:
    """The moments in the column of rows. Raises InvalidInput with `rows[i].column` where there is none."""
    found: list[datetime] = []
    for number, value in enumerate(values):
        if not isinstance(value, datetime):
            raise refused(f"rows[{number}].{column}", value, WRITTEN, "no moment at which the row became known")
        found.append(value)
    return found


def micros(moment: object, name: str = "at") -> int:
    """A moment as µs since 1970. Raises InvalidInput, with `name` as the place, for a time without a zone or before."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise refused(name, moment, "a datetime with a time zone", "not a moment")
    if moment < _EPOCH:
        raise refused(name, moment.isoformat(), "1970 or later", "not a moment at which something became known")
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(us: int) -> datetime:
    """The moment of µs since 1970."""
    return _EPOCH + timedelta(0, 0, us)


def known_at(relation: Relation, rows: Sequence[Row], at: At, now_us: int) -> list[int]:
    """When each row became known, as µs since 1970.

    Raises InvalidInput with `rows[i]` for a moment that is still to come, or at which the row could not be known.
    """
    moments = [at] * len(rows) if isinstance(at, datetime) else list(at)
    if len(moments) != len(rows):
        raise InvalidInput("not a moment for each row", where="at", found=str(len(moments)), expected=str(len(rows)))
    happened = [a.name for a in relation.attributes if a.type.name == "timestamp" and not a.planned]
    times: list[int] = []
    for number, (row, moment) in enumerate(zip(rows, moments, strict=True)):
        time_us = micros(moment)
        if time_us > now_us:
            raise InvalidInput(
                "known in the future",
                where=f"rows[{number}]",
                found=f"at={moment.isoformat()}",
                expected=f"at most now, {moment_of(now_us).isoformat()}",
            )
        for name in happened:
            _check_known(row, name, moment, number)
        times.append(time_us)
    return times


def _check_known(row: Row, name: str, moment: datetime, number: int) -> None:
    """A time in the row that lies behind the moment could not be known at it."""
    time = row.get(name)
    if isinstance(time, datetime) and time.tzinfo is not None and time > moment:
        raise InvalidInput(
            f"said to be known at {moment.isoformat()}, before it happened",
            where=f"rows[{number}].{name}",
            found=time.isoformat(),
            expected=f"a moment (at) not before it, or `{name} timestamp planned` in the schema",
        )
