"""An allowance that the nodes of a fleet share, as one worker sees it: it grants only rows that it has drawn before.

Rows are drawn in the background, a few more than are needed, so that most requests find theirs at hand. What a fleet
grants in a time is therefore never more than the allowance gave in that time and what its workers held at the start of
it: `AHEAD_S` seconds of the rate each, nothing for rates below 20 rows per second, which draw row by row.

While the store does not answer, a bucket of the node alone decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kaname.access.limiter import too_many
from kaname.clock import Clock
from kaname.storage.shared.types import Draw, Drawn

Take = Callable[[int], float]
AHEAD_S = 0.05
MOST_AHEAD_OF_DAY = 1_000
DAY_S = 86_400
_BLIND_NS = 100_000_000
"""How long a worker decides by itself after a question that nobody answered."""
_FRESH_NS = 20_000_000
"""How long a worker refuses by what it has seen, without asking again."""
_AT_LEAST_S = 1e-6


class Shares(Protocol):
    """Where allowances are drawn from; asked on the loop, answered by callback within a short time."""

    @property
    def answers(self) -> bool:
        """Whether it is worth asking."""

    def draw(self, draw: Draw, then: Callable[[Drawn | None], None], /) -> None:
        """Tell `then` what came of a draw; None: not known."""


class Drawing:
    """With a `rate` a bucket of `burst` rows, else `burst` rows per day (UTC). All methods belong to the loop."""

    def __init__(self, name: str, rate: float, burst: int, shares: Shares, clock: Clock, alone: Take) -> None:
        """`alone` decides while the shares do not answer."""
        self.rate = rate
        self.burst = burst
        self._name = name
        self._shares = shares
        self._clock = clock
        self._alone = alone
        self._ahead = min(int(rate * AHEAD_S), burst) if rate else min(burst // 1_000, MOST_AHEAD_OF_DAY)
        self._held = 0
        self._owed = 0
        self._missing, self._seen_ns = 0.0, clock.monotonic_ns()
        self._blind_ns = 0
        self._day = 0
        self._drawing = False
        self._wanted = 0
        self._waiting: list[Callable[[], None]] = []
        self.take: Take = self._take

    def ready(self, rows: int) -> bool:
        """Whether `take` can decide about so many rows now; if not, `wait` first."""
        self._turn_day()
        if self._is_alone() or rows <= self._held or rows > self.burst:
            return True
        fresh = self._clock.monotonic_ns() - self._seen_ns < _FRESH_NS
        return fresh and self._wait_s(rows) > 0.0

    def wait(self, rows: int, then: Callable[[], None]) -> None:
        """Draw `rows` and call `then`, which asks `ready` again: others may have taken them."""
        self._wanted += rows
        self._waiting.append(then)
        if not self._drawing:
            self._draw(rows - self._held)

    def _take(self, rows: int) -> float:
        """As a TokenBucket does; negative rows are given back."""
        self._turn_day()
        if self._is_alone():
            wait_s = self._alone(rows)
            if not wait_s and not self.rate:
                self._owed += rows
            return wait_s
        if rows <= self._held:
            self._held -= rows
            if self._held < self._ahead >> 1 and not self._drawing:
                self._draw(0)
            return 0.0
        if rows > self.burst:
            raise too_many(rows, self.burst)
        return max(self._wait_s(rows), _AT_LEAST_S)

    def _is_alone(self) -> bool:
        return not self._shares.answers or self._clock.monotonic_ns() < self._blind_ns

    def _wait_s(self, rows: int) -> float:
        """Seconds until the allowance has so many rows, by what was last seen of it and if nobody else takes any."""
        missing = self._missing
        if self.rate:
            missing = max(0.0, missing - (self._clock.monotonic_ns() - self._seen_ns) / 1e9 * self.rate)
        short = missing + rows - self._held - self.burst
        if short <= 1e-6:
            return 0.0
        return short / self.rate if self.rate else seconds_left(self._clock)

    def _draw(self, need: int) -> None:
        self._drawing = True
        want = max(need, self._wanted - self._held) + self._ahead - max(self._held, 0)
        owed, self._owed, self._wanted = self._owed, 0, 0
        need, want = max(need, 0), max(want, need, 0)
        if owed:  # what was granted without asking is taken from what is left
            self._shares.draw(Draw(self._key(), 0, owed, self.rate, self.burst, 2 * DAY_S * 1000), lambda _: None)
        draw = Draw(self._key(), need, min(want, self.burst), self.rate, self.burst, 2 * DAY_S * 1000)
        day = self._day
        self._shares.draw(draw, lambda drawn: self._drawn(day, drawn))

    def _drawn(self, day: int, drawn: Drawn | None) -> None:
        self._drawing = False
        waiting, self._waiting = self._waiting, []
        if drawn is None:
            self._blind_ns = self._clock.monotonic_ns() + _BLIND_NS
        elif day == self._day:
            self._held += drawn.granted
            self._missing, self._seen_ns = drawn.missing, self._clock.monotonic_ns()
        for then in waiting:
            then()

    def _key(self) -> str:
        return self._name if self.rate else day_key(self._name, self._day)

    def _turn_day(self) -> None:
        """At midnight what is held, owed and missing belongs to the past."""
        if not self.rate:
            day = day_of(self._clock)
            if day != self._day:
                self._day, self._held, self._owed, self._missing = day, 0, 0, 0.0


def day_of(clock: Clock) -> int:
    """Days since the Unix epoch, UTC."""
    return clock.time_ns() // (DAY_S * 1_000_000_000)


def day_key(name: str, day: int) -> str:
    """What a day's allowance is called."""
    return f"{name}:{day}"


def seconds_left(clock: Clock) -> float:
    """Until midnight UTC."""
    return DAY_S - clock.time_ns() / 1e9 % DAY_S
