"""A circuit breaker, in the manner of Resilience4j: what fails is left alone for a while, then tried with care.

    closed     calls pass; the last `window` outcomes are kept. Once `least_calls` are known and the share of failures
               among them reaches `failure_share`, it opens
    open       nothing passes for `wait_ms`
    half open  `trials` calls pass; when all are known it closes, or opens again if the share of failures is too high

A call that took longer than `slow_ms` counts as a failure: whoever waits for it is not helped by its success.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from kaname.clock import Clock

State = Literal["closed", "open", "half open"]


class BreakerRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, and when it closes again."""

    window: int = 20
    least_calls: int = 5
    failure_share: float = 0.5
    slow_ms: float = 1_000.0
    wait_ms: float = 1_000.0
    trials: int = 2


class Breaker:
    """One per thing that may fail. May be used by several threads."""

    def __init__(
        self, clock: Clock, rule: BreakerRule | None = None, changed: Callable[[State], None] = lambda _: None
    ) -> None:
        """`changed` is told of every new state, by the thread that brought it about."""
        self.rule = rule or BreakerRule()
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._state: State = "closed"
        self._failures: deque[bool] = deque(maxlen=self.rule.window)
        self._until_ns = 0
        self._trials = 0

    @property
    def state(self) -> State:
        """What it does with calls; an open one says so until a call has asked `allows` after its wait."""
        return self._state

    @property
    def calm(self) -> bool:
        """Whether it is closed and knows of no call: who must be quick need neither ask nor tell of a success then."""
        return not self._failures and self._state == "closed"

    @property
    def due(self) -> bool:
        """Whether it is not closed, and a call would be let through to find out whether it may be."""
        state = self._state
        return state == "half open" or (state == "open" and self._clock.monotonic_ns() >= self._until_ns)

    def allows(self) -> bool:
        """Whether a call may pass now; each that may is followed by `succeeded` or `failed`."""
        if self.state == "closed":
            return True
        with self._lock:
            if self._state == "open" and self._clock.monotonic_ns() >= self._until_ns:
                self._become("half open")
            if self._state == "half open" and self._trials < self.rule.trials:
                self._trials += 1
                return True
            return self._state == "closed"

    def succeeded(self, took_ms: float = 0.0) -> None:
        """A call that was allowed has succeeded."""
        self._ended(failed=took_ms > self.rule.slow_ms)

    def failed(self) -> None:
        """A call that was allowed has failed."""
        self._ended(failed=True)

    def _ended(self, *, failed: bool) -> None:
        with self._lock:
            if self._state == "open":  # a call of before
                return
            outcomes, rule = self._failures, self.rule
            outcomes.append(failed)
            if len(outcomes) < (rule.least_calls if self._state == "closed" else rule.trials):
                return
            if sum(outcomes) / len(outcomes) >= rule.failure_share:
                self._until_ns = self._clock.monotonic_ns() + int(rule.wait_ms * 1e6)
                self._become("open")
            elif self._state == "half open":
                self._become("closed")

    def _become(self, state: State) -> None:
        self._state = state
        self._failures.clear()
        self._trials = 0
        self._changed(state)
