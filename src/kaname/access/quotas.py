"""What a tenant's keys may ask together: rows per second, and rows per day that all workers of a node count."""

from __future__ import annotations

from collections.abc import Callable

from kaname.access.drawing import Drawing, day_of, seconds_left
from kaname.access.limiter import Cells, TokenBucket, too_many
from kaname.clock import Clock
from kaname.errors import KanameError, RateLimited

SLOTS = 256
"""Cells of a tenant: one for each worker of a node that may count, and the last one for who counts beside requests."""
BESIDE = SLOTS - 1
_DAY = 2**38
"""A cell holds its day times this, and the day's rows: exact in a float64 for every day and number that may come."""
Bucket = TokenBucket | Drawing


class DayCount:
    """Rows of one day (UTC) in cells that the workers of a node share: each writes its own and reads all of them, so
    none is lost. What was counted is still there after a restart."""

    def __init__(self, most: int, clock: Clock, cells: Cells, at: int, slot: int, slots: int, *more: int) -> None:
        """`at`: the first of the tenant's cells; `slot` is this worker's; the first `slots` and `more` are read."""
        self.most = most
        self._clock = clock
        self._cells = cells
        self._mine = at + slot
        self._all = (*range(at, at + slots), *(at + each for each in more))

    def used(self) -> int:
        """Rows of today so far."""
        return int(self._since(float(day_of(self._clock) * _DAY)))

    def _since(self, base: float) -> float:
        cells, used = self._cells, 0.0
        for at in self._all:
            if cells[at] > base:
                used += cells[at] - base
        return used

    def take(self, rows: int) -> float:
        """Take rows and return 0.0, or none and return the seconds until midnight; negative ones are given back."""
        if rows > self.most:
            raise too_many(rows, self.most)
        cells, base = self._cells, float(day_of(self._clock) * _DAY)
        if rows > 0 and self._since(base) + rows > self.most:
            return seconds_left(self._clock)
        cells[self._mine] = max(base, cells[self._mine]) + rows
        return 0.0

    def add(self, rows: int) -> float:
        """Count rows that were computed before anybody asked; the seconds until midnight when the day is spent."""
        base = float(day_of(self._clock) * _DAY)
        self._cells[self._mine] = max(base, self._cells[self._mine]) + rows
        return 0.0 if self._since(base) < self.most else seconds_left(self._clock)


class Quota:
    """The limits of one tenant: any of them may be missing."""

    def __init__(self, name: str, bucket: Bucket | None, day: DayCount | Drawing | None, day_rows: int = 0) -> None:
        self._name = name
        self._bucket = bucket
        self._day = day
        self._day_rows = day_rows
        self.drawings = tuple(one for one in (bucket, day) if isinstance(one, Drawing))

    def take(self, rows: int) -> None:
        """Take rows; raises RateLimited, which names what is spent, or TooLarge. Nothing is taken then."""
        if self._bucket is not None:
            wait_s = self._bucket.take(rows)
            if wait_s:
                raise self._spent("rate limit", f"at most {self._bucket.rate:g} rows per second", wait_s)
        if self._day is None:
            return
        try:
            wait_s = self._day.take(rows)
        except KanameError:
            self._give_back(rows)
            raise
        if wait_s:
            self._give_back(rows)
            raise self._spent("daily quota", f"at most {self._day_rows:,} rows per day (UTC)", wait_s)

    def _give_back(self, rows: int) -> None:
        if self._bucket is not None:
            self._bucket.take(-rows)

    def _spent(self, what: str, expected: str, wait_s: float) -> RateLimited:
        message = f"the {what} of this tenant is spent"
        return RateLimited(message, where=f"tenant {self._name}", expected=expected, retry_after_s=wait_s)


class SharedLimiter:
    """What limits a key: its own bucket, and its tenant's quota. `drawings` are those of them that a fleet shares."""

    __slots__ = ("_own", "_quota", "drawings")

    def __init__(self, own: Bucket | None, quota: Quota | None) -> None:
        self._own = None if own is None else own.take
        self._quota = None if quota is None else quota.take
        mine = (own,) if isinstance(own, Drawing) else ()
        self.drawings = mine if quota is None else mine + quota.drawings

    def __call__(self, rows: int) -> float:
        """As a TokenBucket does, but that a tenant's refusals are raised, with their names."""
        own, quota = self._own, self._quota
        wait_s = 0.0 if own is None else own(rows)
        if wait_s or quota is None:
            return wait_s
        try:
            quota(rows)
        except KanameError:
            if own is not None:
                own(-rows)
            raise
        return 0.0


def limiter_of(own: Bucket | None, quota: Quota | None) -> Callable[[int], float] | None:
    """What limits a key, as cheap as it can be."""
    if quota is None and not isinstance(own, Drawing):
        return None if own is None else own.take
    return SharedLimiter(own, quota)
