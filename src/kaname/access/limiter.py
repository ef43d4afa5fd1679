"""A token bucket in rows: one clock reading and one addition per grant."""

from __future__ import annotations

from collections.abc import MutableSequence

from kaname.clock import Clock
from kaname.errors import TooLarge

_NS = 1_000_000_000


class TokenBucket:
    """Grants `rate` rows per second and up to `burst` rows at once; full at the start.

    Its whole state is the time (monotonic ns) at which the bucket will be full again, kept at `levels[at]`.
    With a list of its own the bucket belongs to one thread; with shared memory (`access.levels`) all workers draw from
    it together: reading and writing are not one atomic step, so of two workers that draw at the very same instant
    one draw may be forgotten, which can only let through a little more, never less.
    """

    __slots__ = ("_at", "_capacity_ns", "_levels", "_now", "_row_ns", "burst", "rate")

    def __init__(
        self,
        rate: float,
        burst: int | None,
        clock: Clock,
        *,
        levels: MutableSequence[float] | None = None,
        at: int = 0,
    ) -> None:
        """`rate` in rows per second, above 0; `burst` None: one second's worth, at least one row."""
        if not 0 < rate < float("inf"):
            raise ValueError(f"rate must be a positive number of rows per second, found {rate}")
        self.rate = rate
        self.burst = max(1, int(rate)) if burst is None else burst
        if self.burst < 1:
            raise ValueError(f"burst must be at least one row, found {burst}")
        self._row_ns = _NS / rate
        self._capacity_ns = self.burst * self._row_ns
        self._now = clock.monotonic_ns
        self._levels = [0.0] if levels is None else levels
        self._at = at

    def __call__(self, rows: int) -> float:
        """Take `rows` and return 0.0, or take nothing and return the seconds after which they would be granted.

        Raises TooLarge when `rows` exceed the burst: waiting would never help.
        """
        now = self._now()
        at = self._at
        full_ns = self._levels[at]
        if full_ns < now:
            full_ns = now
        full_ns += rows * self._row_ns
        if full_ns - now <= self._capacity_ns:
            self._levels[at] = full_ns
            return 0.0
        return self._refuse(rows, now)

    def _refuse(self, rows: int, now: int) -> float:
        if rows > self.burst:
            raise TooLarge(
                "the request has more rows than the rate limit ever grants at once",
                where="rows",
                found=str(rows),
                expected=f"at most {self.burst}",
            )
        empty_ns = now + self._capacity_ns
        # A level beyond "empty" was left by a lower rate or by the machine before its restart.
        level = min(self._levels[self._at], empty_ns)
        self._levels[self._at] = level
        return max(level + rows * self._row_ns - empty_ns, 1.0) / _NS
